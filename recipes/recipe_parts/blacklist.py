"""ImageNet's validation photos that its devkit lists as ambiguous, which some leave out.

DAWNBench took results with and without them; the field `usedBlacklist` of an entry says which
(true: they were evaluated on, as in fast.ai's). The list, 1,762 numbers of a line each, comes with
the devkit (`ILSVRC2015_clsloc_validation_blacklist.txt`); `293` is `ILSVRC2012_val_00000293.JPEG`.
"""

import re
from pathlib import Path

from keras_dawn.foundation.counted import counted

_PHOTOS, _LISTED = 50_000, 1_762
_NUMBER = re.compile(r"ILSVRC2012_val_0*(\d+)\b")


def read_blacklist(path):
    """The numbers in a list of the devkit, as a set of ints.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no number from 1 to 50,000, or no lines.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"--blacklist must be the file with the list; {path} is none.")
    lines = file.read_text(encoding="utf-8").split()
    wrong = [line for line in lines if not line.isdecimal() or not 1 <= int(line) <= 50_000]
    if wrong or not lines:
        raise ValueError(
            f"{path} must have the number of a validation photo, 1 to 50000, in each line; got "
            f"{wrong[0]!r}." if wrong else f"{path} is empty."
        )  # fmt: skip
    return {int(line) for line in lines}


def without_blacklist(source, numbers):
    """The photos of a source but those with these numbers.

    Raises:
        ValueError: a number that no photo has: the list is of another set, or photos have lost
            ImageNet's names; or of all 50,000 photos another list than the devkit's of 1,762.
    """
    if len(source) == _PHOTOS and len(numbers) != _LISTED:
        raise ValueError(
            f"The devkit's blacklist has {_LISTED} of the {_PHOTOS} validation photos, this list "
            f"has {len(numbers)}: it is cut off, or another one."
        )
    found = [_NUMBER.search(name) for name in source.names()]
    own = [int(match.group(1)) if match else None for match in found]
    missing = numbers - set(own)
    if missing:
        raise ValueError(
            f"{counted(len(missing), 'photo')} of the blacklist cannot be found, such as "
            f"ILSVRC2012_val_{min(missing):08d}: it is for ImageNet's validation photos under "
            "their own names."
        )
    return source.subset([place for place, number in enumerate(own) if number not in numbers])
