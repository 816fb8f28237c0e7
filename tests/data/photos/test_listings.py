"""Names in little memory, and tar archives whose headers are read without `tarfile`."""

import io
import tarfile
import tracemalloc

from keras_dawn.data.photos import ImageNetTar
from keras_dawn.data.photos.names import Names
from keras_dawn.data.photos.plain_tar import plain_members

import pytest


def test_names_are_those_of_a_list():
    given = ["n1/a.JPEG", "", "n2/ä 雨.jpg", "n2/\udcff.png"]  # the last is no letter to the disk
    names = Names.joined([Names(given[:2]), Names(), Names(given[2:])])
    assert list(names) == given and names[-1] == given[-1] and len(names) == 4
    assert names.index("n2/ä 雨.jpg") == 2
    assert list(names[1:3]) == given[1:3] and list(names[::-2]) == given[::-2]
    with pytest.raises(IndexError):
        names[4]


def test_names_take_their_letters_and_eight_bytes():
    tracemalloc.start()
    names = Names.joined(
        Names([f"n{number:08}/n{number:08}_{photo}.JPEG" for photo in range(1000)])
        for number in range(10)
    )
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(names) == 10_000 and held < 10_000 * 48  # a list of `Path` takes ten times that


def archive(members, **options):
    """A tar file's bytes, of `(name or TarInfo, content)`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as made:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file.getvalue()


PHOTOS = [(f"n1_{number}.JPEG", bytes(number)) for number in (1, 511, 512, 513, 0, 40_000)]


def folder():
    made = tarfile.TarInfo("inner")
    made.type = tarfile.DIRTYPE
    return made, b""


def of_an_unreadable_size():
    """A header in the form for files of 8 GiB and more."""
    made = bytearray(archive(PHOTOS))
    made[124:136] = b"\x80" + bytes(10) + b"\x01"
    header = made[:148] + b" " * 8 + made[156:512]
    made[148:156] = b"%06o\0 " % sum(header)
    return bytes(made)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_plain_archives_are_read_as_tarfile_reads_them(form):
    data = b"before" * 99 + archive(PHOTOS, format=form) + b"after"
    found = plain_members(io.BytesIO(data), 594, len(data) - 5)
    assert [(name, data[start : start + size]) for name, start, size in found] == PHOTOS


UNUSUAL = {
    "long names": archive([("n" * 150 + ".JPEG", b"photo"), *PHOTOS], format=tarfile.GNU_FORMAT),
    "other letters": archive([("ä.JPEG", b"photo"), *PHOTOS], format=tarfile.GNU_FORMAT),
    "folders": archive([folder(), *PHOTOS]),
    "sizes of another form": of_an_unreadable_size(),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_what_is_not_plain_is_left_to_tarfile(what, tmp_path):
    inner = UNUSUAL[what]
    assert plain_members(io.BytesIO(inner), 0, len(inner)) is None
    (tmp_path / "train.tar").write_bytes(archive([("n1.tar", inner), ("n2.tar", archive(PHOTOS))]))
    source = ImageNetTar(tmp_path / "train.tar")
    with tarfile.open(fileobj=io.BytesIO(inner)) as expected:
        members = [member for member in expected if member.isfile()]
        contents = [(expected.extractfile(member).read(), 0) for member in members]
    assert source.names()[: len(members)] == [f"n1/{member.name}" for member in members]
    assert [source[i] for i in range(len(members))] == contents
    assert source.labels.tolist() == [0] * len(members) + [1] * len(PHOTOS)


def damaged(damage, content):
    content = bytearray(content)
    if damage == "cut off":
        del content[2048:]  # where a file ends: `tarfile` takes it for the archive's end
    else:
        content[1024 + 3] ^= 1  # the second name: it does the same
    return bytes(content)


@pytest.mark.parametrize("damage", ["a bit in a header", "cut off"])
@pytest.mark.parametrize("whose", ["a class's", "all"])
def test_a_damaged_archive_is_said_to_be_one(damage, whose, tmp_path):
    inner = archive(PHOTOS)
    if whose == "a class's":
        whole = archive([("n1.tar", damaged(damage, inner)), ("n2.tar", inner)])
    else:
        whole = damaged(damage, archive([("n1.tar", archive([])[:512]), ("n2.tar", inner)]))
    (tmp_path / "train.tar").write_bytes(whole)
    with pytest.raises(ValueError, match="no whole tar file"):
        ImageNetTar(tmp_path / "train.tar")


def test_a_damaged_archive_of_validation_images_is_said_to_be_one(tmp_path):
    (tmp_path / "val.tar").write_bytes(damaged("cut off", archive(PHOTOS)))
    (tmp_path / "labels.csv").write_text("n1_1,n1 1 2 3 4\nn1_511,n1 1 2 3 4\n", encoding="utf-8")
    with pytest.raises(ValueError, match="cut off at byte 2048"):
        ImageNetTar(tmp_path / "val.tar", tmp_path / "labels.csv")


def test_a_compressed_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w:gz") as made:
        made.addfile(tarfile.TarInfo("n1.tar"), io.BytesIO())
    with pytest.raises(ValueError, match="compressed must be unpacked"):
        ImageNetTar(tmp_path / "train.tar")
