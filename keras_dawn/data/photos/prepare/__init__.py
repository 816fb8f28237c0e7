"""Smaller copies of a photo set: read once at full size, trained on many times.

On the command line it is `python -m keras_dawn.data.photos.prepare`, in `__main__.py`: a module
that its package imports would be run a second time, with a warning.
"""

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
from pathlib import Path

from keras_dawn.data.photos.jpeg import decode_crop
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.prepared import INDEX, LABEL_BYTES, PreparedImages, sha256, shard_path
from keras_dawn.data.photos.shards import new_suffix, open_writer
from keras_dawn.data.photos.unreadable import UnreadablePhotoError
from keras_dawn.data.source_labels import has_several_labels, held_labels
from keras_dawn.foundation.files import written_whole

import numpy as np
import simplejpeg


def prepare(source, output, short_side, *, quality=90, shard_images=1024, processes=None):
    """Writes copies whose short side has so many pixels, as shards of array_record files.

    Where there is no array_record (there are no wheels for Windows), the shards are plain files,
    which every machine reads.

    Aspect ratios are kept, EXIF orientations applied; a smaller photo keeps its size. Can be
    interrupted: whole shards are kept and not made again. Several processes work on shards.

    Args:
        source: `ImageFolder` or the like: `source[i]` is `(bytes, class number)`.
        output: folder; a new one, or that of an interrupted run with the same settings.
        short_side: int, pixels.
        quality: int 1–100, of the JPEG files.
        shard_images: int, photos a shard.
        processes: int; by default one for each core.

    Returns:
        `PreparedImages`.

    Raises:
        ValueError: settings that do not fit, or a folder made with others, or of other photos:
            their names and class numbers are compared.
    """
    if short_side < 8 or not 1 <= quality <= 100 or shard_images < 1:
        raise ValueError(
            "Expected short_side ≥ 8, quality from 1 to 100 and shard_images ≥ 1, got "
            f"{short_side}, {quality}, {shard_images}."
        )
    if has_several_labels(source):
        raise ValueError("Copies keep one label a photo; these have several.")
    output = Path(output).expanduser()
    settings = {
        "images": len(source),
        "class_names": list(source.class_names),
        "short_side": short_side,
        "quality": quality,
        "shard_images": shard_images,
    }
    _same_settings(output, settings, source)
    suffix = next((path.suffix for path in output.glob("shard-*[!n]")), new_suffix())
    starts = range(0, len(source), shard_images)
    shards = [output / f"shard-{n:05}-of-{len(starts):05}{suffix}" for n in range(len(starts))]
    missing = [n for n, path in enumerate(shards) if not _report(path).exists()]
    jobs = [(source, shards[n], starts[n], settings) for n in missing]
    _run(jobs, processes or os.cpu_count())
    reports = [json.loads(_report(path).read_text(encoding="utf-8")) for path in shards]
    document = {
        **settings,
        "shards": [
            {"file": path.name, **report} for path, report in zip(shards, reports, strict=True)
        ],
        "finished": True,
    }
    _write(output / INDEX, json.dumps(document, indent=1))
    for path in shards:  # after the index, which holds them now: killed before, they are kept
        _report(path).unlink(missing_ok=True)
    return PreparedImages(output)


def shrink(data, short_side, quality):
    """A photo's copy, bytes of a JPEG file; see `prepare`."""
    photo = read_header(data)
    ratio = min(1.0, short_side / min(photo.width, photo.height))
    size = max(round(photo.height * ratio), 1), max(round(photo.width * ratio), 1)
    pixels = decode_crop(photo, (0, 0, photo.width, photo.height), size)
    pixels = np.ascontiguousarray(pixels.numpy())
    # 4:2:0, as nearly all photos are stored: finer colour would cost bytes and bring nothing back.
    return simplejpeg.encode_jpeg(pixels, quality, colorsubsampling="420")


def _run(jobs, processes):
    from rich.progress import track

    workers = min(processes, len(jobs))
    if workers <= 1:
        for job in track(jobs, "preparing"):
            _write_shard(*job)
        return
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=_context()) as pool:
        futures = [pool.submit(_write_shard, *job) for job in jobs]
        finished = concurrent.futures.as_completed(futures)
        for future in track(finished, "preparing", total=len(futures)):
            future.result()


def _context():
    # Not forked from this process, which may have threads of torch's.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, not in each worker
    return context


def _write_shard(source, path, start, settings):
    labels, names, problems = [], [], {}
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with contextlib.closing(open_writer(partial, path.suffix)) as writer:
        for index in range(start, min(start + settings["shard_images"], len(source))):
            data, label = source[index]
            name = source.name(index)
            try:
                data = shrink(data, settings["short_side"], settings["quality"])
            # Left out of the copies and named in the index: hours of work do not end at one bad
            # file.
            except UnreadablePhotoError as error:
                problems[name] = f"left out: {error}"
                continue
            writer.write(label.to_bytes(LABEL_BYTES, "little") + data)
            labels.append(label)
            names.append(name)
    report = {
        "labels": labels,
        "names": names,
        "problems": problems,
        "bytes": partial.stat().st_size,
        "sha256": sha256(partial),
    }
    os.replace(partial, path)  # first: a shard counts as done once its report is there
    _write(_report(path), json.dumps(report))


def _same_settings(output, settings, source):
    index = output / INDEX
    if index.exists():
        before = json.loads(index.read_text(encoding="utf-8"))
        changed = [name for name in settings if before.get(name) != settings[name]]
        if changed:
            raise ValueError(
                f"{output} was begun with other settings ({', '.join(changed)}); give another "
                "folder, or delete it."
            )
        for file, report in _reports(output, before):
            _check_same_photos(source, file, report, settings["shard_images"])
        if before.get("finished"):  # each shard's report is part of the index then
            for shard in before["shards"]:
                path = shard_path(output, shard.pop("file"))
                if path.exists() and path.stat().st_size == shard["bytes"]:
                    _write(_report(path), json.dumps(shard))
    elif output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} holds other files; give a new folder.")
    output.mkdir(parents=True, exist_ok=True)
    _write(index, json.dumps({**settings, "finished": False}, indent=1))


def _reports(output, index):
    """`(name of a shard, its report)` of those that an earlier call has made."""
    if index.get("finished"):
        return [(shard_path(output, shard["file"]).name, shard) for shard in index["shards"]]
    paths = sorted(output.glob("shard-*.json"))
    return [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def _check_same_photos(source, file, report, shard_images):
    """Refuses to go on with copies of photos that are others by now, or of another class."""
    start = int(file.split("-")[1]) * shard_images
    places = range(start, min(start + shard_images, len(source)))
    places = [i for i in places if source.name(i) not in report["problems"]]
    labels = held_labels(source)
    names = [source.name(i) for i in places]
    same = names == report["names"]
    if not same or (labels is not None and np.asarray(labels)[places].tolist() != report["labels"]):
        raise ValueError(
            f"{file} holds copies of other photos than these, or of other classes: the source has "
            "changed. Give another folder, or delete it."
        )


def _report(path):
    return path.with_name(f"{path.name}.json")


def _write(path, text):
    with written_whole(path) as file:
        file.write(text.encode())
