"""Where the files of a plain tar archive lie, found ten times as fast as by `tarfile`."""

import zlib

BLOCK = 512


def plain_members(file, start, end):
    """The files of an archive that lies in a larger file, where all of its headers are plain ones.

    ImageNet's 1.28 million headers, which each process of a training reads, take `tarfile` half a
    minute. What it alone understands (long names, links, sparse files, damage) is left to it.

    Args:
        file: file, open for reading bytes.
        start, end: int, the archive's place in it.

    Returns:
        list of `(name, offset, size)`, or `None` where `tarfile` must read it.
    """
    found, place = [], start
    while place + BLOCK <= end:
        file.seek(place)
        header = file.read(BLOCK)
        if not header.strip(b"\0"):  # what an archive ends with
            return found
        member = _member(header)
        if member is None:
            return None
        name, size = member
        place += BLOCK
        found.append((name, place, size))
        place += -(-size // BLOCK) * BLOCK
    return None  # it is cut off


def _member(header):
    """`(name, size)` of the plain file that a header is of, or `None`."""
    name, prefix = header[:100].partition(b"\0")[0], header[345:346]
    if len(header) < BLOCK or header[257:262] != b"ustar" or prefix != b"\0":
        return None
    if header[156:157] not in (b"0", b"\0") or not name.isascii() or name.endswith(b"/"):
        return None
    try:
        size, said = int(header[124:135], 8), int(header[148:154], 8)
    except ValueError:
        return None
    # A header's sum counts its own field as blanks. The low half of Adler-32 is 1 and the sum of
    # the bytes modulo 65521, a hundred times as fast as adding them up in Python.
    summed = zlib.adler32(header[:148] + b" " * 8 + header[156:]) & 0xFFFF
    return (name.decode("ascii"), size) if summed == (1 + said) % 65521 else None
