"""Photos and files that are packed for a machine without a network."""

import re
import subprocess

import numpy as np
import pack
import packed_images
import pytest


def test_packed_batches_are_the_official_files_again(tiny_cifar10, tmp_path):
    packed_images.pack_batches(tiny_cifar10.parent, tmp_path / "packed")
    assert (tmp_path / "packed" / "test_batch.webp").exists()
    packed_images.unpack_batches(tmp_path / "packed", tmp_path / "again")
    for name in packed_images.NAMES:
        assert (tmp_path / "again" / name).read_bytes() == (tiny_cifar10 / name).read_bytes()
    other = (tmp_path / "packed" / "test_batch.webp").read_bytes()
    (tmp_path / "packed" / "data_batch_1.webp").write_bytes(other)  # a part of another pack
    with pytest.raises(ValueError, match="data_batch_1 is not the file that was packed"):
        packed_images.unpack_batches(tmp_path / "packed", tmp_path / "again")


def test_parts_are_full_and_give_all_files_again(tmp_path):
    random = np.random.default_rng(0)
    sizes = {"a/small": 700, "empty": 0, "b/half": 500_000, "c/most": 700_000, "d/large": 2_500_000}
    files = []
    for name, size in sizes.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.bytes(size))
        files.append((name, path))
    parts = pack.write(pack.split(files, pack.MIB), tmp_path / "pack")
    assert all(part.stat().st_size <= pack.MIB for part in parts) and len(parts) == 4
    (tmp_path / "there").mkdir()
    for part in parts:
        subprocess.run(["tar", "xf", str(part), "-C", str(tmp_path / "there")], check=True)
    subprocess.run(["bash", "-c", pack.JOIN], cwd=tmp_path / "there", check=True)
    there = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert len(there) == len(files)
    for name, path in files:
        assert (tmp_path / "there" / name).read_bytes() == path.read_bytes()


def test_what_is_packed_is_what_the_package_needs_beside_torch():
    names = [re.match(r"[\w-]+", each)[0] for each in pack.required()]
    assert {"keras", "simplejpeg", "cloudpickle", "pillow"} <= set(names)
    assert not {"torch", "torchvision", "numpy", "tensorflow-datasets"} & set(names)
