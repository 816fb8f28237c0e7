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
        `(paths, skipped)`: sorted `Path`s, and a dict from the paths of files that look like photos
        and cannot be read to the reason.

    Raises:
        ValueError: a link that leads to a folder above it.
    """
    found, skipped = [], {}
    _collect(Path(folder), (os.path.realpath(folder),), found, skipped)
    return sorted(found), skipped


def hidden(path):
    """Whether a file or folder is hidden, or was left there by a program."""
    return path.name.startswith(".") or path.name in _OF_PROGRAMS


def _collect(folder, above, found, skipped):
    for path in sorted(folder.iterdir()):
        if hidden(path):
            continue
        suffix = path.suffix.lower()
        if os.path.isdir(path):
            real = os.path.realpath(path)
            # Followed on, a link to a folder above would never end.
            if real in above:
                raise ValueError(f"{path} is a link to {real}, which it lies in: remove the link.")
            _collect(path, (*above, real), found, skipped)
        elif suffix in HEIF_SUFFIXES and not reads_heif():
            skipped[path] = f"{suffix} needs a decoder: pip install pillow-heif, or convert it"
        elif suffix in _NOT_READ:
            skipped[path] = f"no decoder for {suffix} files: convert it to JPEG or PNG"
        elif suffix in SUFFIXES + HEIF_SUFFIXES:
            if os.path.isfile(path):
                found.append(path)
            else:
                skipped[path] = "a link that leads nowhere" if path.is_symlink() else "no file"
