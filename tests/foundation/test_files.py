"""Files that are written whole or not at all."""

from keras_dawn.foundation.files import written_whole

import pytest


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_takes_its_place_when_it_is_whole(durable, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with written_whole(path, durable=durable) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_if_the_writing_fails(error, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), written_whole(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_link_that_lies_in_its_way_is_not_written_through(tmp_path):
    other, path = tmp_path / "other", tmp_path / "run.json"
    other.write_bytes(b"precious")
    (tmp_path / ".run.json.partial").symlink_to(other)
    with written_whole(path) as file:
        file.write(b"new")
    assert other.read_bytes() == b"precious"
    assert path.read_bytes() == b"new" and not path.is_symlink()
