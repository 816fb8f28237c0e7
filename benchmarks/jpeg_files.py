"""The photos of a folder that benchmarks of decoding take."""

from pathlib import Path

from absl import app

SUFFIXES = (".jpg", ".jpeg")


def jpeg_files(folder):
    """Sorted list of the paths of all JPEG files in a folder and in those inside it.

    Raises:
        app.UsageError: there are none.
    """
    found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise app.UsageError(f"--photos={folder} holds no files *{' or *'.join(SUFFIXES)}.")
    return found
