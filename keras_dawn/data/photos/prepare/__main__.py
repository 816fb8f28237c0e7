"""Makes smaller copies of a photo set: read once at full size, trained on many times.

    python -m keras_dawn.data.photos.prepare --source=imagenet/train --output=imagenet/train-160 \\
        --short_side=160

The source is a folder with one folder a class, or what `photos_of` reads: `FOLDER/train` or
`FOLDER/val` of a folder with ImageNet's tar files.
"""

from pathlib import Path

from keras_dawn.data.photos.prepare import prepare
from keras_dawn.data.photos.sources import photos_of
from keras_dawn.foundation.counted import counted


def _main(argv):
    flags = app_flags.FLAGS
    if argv[1:]:
        raise app.UsageError(f"Not a flag: {' '.join(argv[1:])}.")
    source = Path(flags.source).expanduser()
    try:
        copies = prepare(
            photos_of(source.parent, source.name), flags.output, flags.short_side,
            quality=flags.quality, processes=flags.processes,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from None
    print(f"{counted(len(copies), 'image')} in {flags.output}")
    for name, problem in copies.problems.items():
        print(f"{name}: {problem}")


if __name__ == "__main__":
    from absl import app
    from absl import flags as app_flags

    app_flags.DEFINE_string("source", None, "folder with one folder a class", required=True)
    app_flags.DEFINE_string("output", None, "folder to write to", required=True)
    app_flags.DEFINE_integer("short_side", 160, "pixels", lower_bound=8)
    app_flags.DEFINE_integer("quality", 90, "of the JPEG files", 1, 100)
    app_flags.DEFINE_integer("processes", None, "by default one for each core", lower_bound=1)
    app.run(_main)
