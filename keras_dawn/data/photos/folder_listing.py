"""Which files of a folder are photos, as people's folders are."""

import os
from pathlib import Path

from keras_dawn.data.photos.pillow_reader import HEIF_SUFFIXES, SUFFIXES, reads_heif

# What file managers and archives leave beside photos; names with a dot are hidden anyway.
_OF_PROGRAMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
# Photos that Pillow does not read by itself: nobody should wonder where they are.
_NOT_READ = (
    ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2",
    ".psd", ".svg",
)  # fmt: skip


def folders_in(folder):
    """The folders in a folder (`Path`s, links followed), but hidden ones, sorted by name."""
    return sorted(path for path in Path(folder).iterdir() if path.is_dir() and not hidden(path))


def photos_below(folder):
    """All photos in a folder and in those below it, links followed.

    Returns:
        `(names, skipped)`: the files' paths under the folder, sorted, with slashes, and a dict from
        those of files that look like photos and cannot be read to the reason.

    Raises:
        ValueError: a link that leads to a folder above it.
    """
    found, skipped = [], {}
    _collect(os.fspath(folder), "", (os.path.realpath(folder),), found, skipped)
    return found, skipped


def hidden(path):
    """Whether a file or folder is hidden, or was left there by a program."""
    return path.name.startswith(".") or path.name in _OF_PROGRAMS


def _collect(folder, under, above, found, skipped):
    # A million `Path`s that each ask the disk again would take a quarter of a minute.
    with os.scandir(folder) as entries:
        entries = sorted(entries, key=lambda entry: os.path.normcase(entry.name))
    for entry in entries:
        if hidden(entry):
            continue
        name, suffix = under + entry.name, os.path.splitext(entry.name)[1].lower()
        if _answered(entry.is_dir):
            real = os.path.realpath(entry.path)
            # Followed on, a link to a folder above would never end.
            if real in above:
                raise ValueError(
                    f"{entry.path} is a link to {real}, which it lies in: remove the link."
                )
            _collect(entry.path, f"{name}/", (*above, real), found, skipped)
        elif suffix in HEIF_SUFFIXES and not reads_heif():
            skipped[name] = f"{suffix} needs a decoder: pip install pillow-heif, or convert it"
        elif suffix in _NOT_READ:
            skipped[name] = f"no decoder for {suffix} files: convert it to JPEG or PNG"
        elif suffix in SUFFIXES + HEIF_SUFFIXES:
            if _answered(entry.is_file):
                found.append(name)
            else:
                skipped[name] = "a link that leads nowhere" if entry.is_symlink() else "no file"


def _answered(question):
    """The answer, and `False` where there is none: a link to itself."""
    try:
        return question()
    except OSError:
        return False
