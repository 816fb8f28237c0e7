"""Copies of photos on a machine without array_record."""

import multiprocessing
import sys

from keras_dawn.data.photos import ImageFolder, PreparedImages, prepare, shards

import pytest


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_without_array_record_copies_are_the_same_and_made_by_processes_that_spawn(
    processes, photo_folder, monkeypatch
):
    source, folder = ImageFolder(photo_folder / "train"), photo_folder / "Kopien für später"
    monkeypatch.setitem(sys.modules, "array_record", None)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    copies = prepare(source, folder, 32, shard_images=13, processes=processes)
    assert {path.suffix for path in copies.folder.glob("shard-*")} == {".records"}
    copies.verify()
    monkeypatch.undo()
    theirs = prepare(source, photo_folder / "copies", 32, shard_images=13, processes=1)
    assert {path.suffix for path in theirs.folder.glob("shard-*")} == {".array_record"}
    assert [copies[i] for i in range(24)] == [theirs[i] for i in range(24)]
    assert [copies[i] for i in (23, 0)] == [theirs[i] for i in (23, 0)]
    # whoever has array_record goes on with plain files, and reads them
    assert len(prepare(source, copies.folder, 32, shard_images=13, processes=1)) == 24
    assert {path.suffix for path in copies.folder.glob("shard-*")} == {".records"}


def test_copies_from_a_machine_with_array_record_say_what_they_need(photo_folder, monkeypatch):
    source = ImageFolder(photo_folder / "train")
    folder = prepare(source, photo_folder / "copies", 32, processes=1).folder
    monkeypatch.setitem(sys.modules, "array_record", None)
    with pytest.raises(ImportError, match=r"needs array_record.*Prepare copies in another folder"):
        PreparedImages(folder)[0]


def test_plain_files_hold_records_of_any_length(tmp_path):
    records = [b"", b"one", bytes(range(256)) * 9, b""]
    writer = shards.PlainWriter(tmp_path / "a.records")
    for record in records:
        writer.write(record)
    writer.close()
    reader = shards.PlainReader(tmp_path / "a.records")
    assert reader.read([3, 1, 2, 0]) == [records[i] for i in (3, 1, 2, 0)]
    assert (tmp_path / "a.records").stat().st_size == 3 + 256 * 9 + 8 * 6
