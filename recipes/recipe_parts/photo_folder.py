"""A data set's folder of photos, and its data for each phase of a plan."""

import os
from pathlib import Path

from keras_dawn.data import RandomFlip, Shuffled
from keras_dawn.data.photos import (
    PreparedImages,
    RandomResizedCrop,
    ResizingImages,
    ValidationImages,
    photos_of,
)
from keras_dawn.distributed import collectives, current
from keras_dawn.plans.plan import steps_per_epoch

from absl import flags

from recipe_parts.blacklist import without_blacklist

FLAGS = flags.FLAGS


class Photos:
    """The folders of a data set, and its data for each phase.

    Args:
        folder: path with `train/` and `val/`, or ImageNet's tar files.
        preset: `PhotoPreset`.
        blacklist: set of the numbers of ImageNet's validation photos to leave out.

    Attributes:
        fell_back: set of the copies that were asked for and are not there, such as `val-352`.
        validated_on: dict from pixels to what was read to validate at them: `"val"`, `"val-352"`.
    """

    def __init__(self, folder, preset, blacklist=frozenset()):
        self.folder, self.preset = Path(folder).expanduser(), preset
        self.name = Path(os.path.abspath(self.folder)).name  # of "." too
        self.blacklist = blacklist
        self.seed = 0  # of order and crops; a recipe that trains several times sets it for each
        self._sources, self.fell_back, self.validated_on = {}, set(), {}
        self._serving, self._problems = {}, {"train": {}, "val": {}}
        self.class_names = self.train("originals").class_names
        self.val("originals")  # a missing folder is found now, not after the first epoch

    def train(self, kind):
        """The training photos: `"originals"`, or the short side of copies."""
        return self._source("train", kind, self.preset.train_images)

    def val(self, kind):
        """The validation photos."""
        if ("kept", kind) not in self._sources:
            source = self._source("val", kind, self.preset.val_images)
            kept = without_blacklist(source, self.blacklist) if self.blacklist else source
            self._sources["kept", kind] = kept
        return self._sources["kept", kind]

    def check(self):
        """Raises `ValueError` for photos that the plan of the preset cannot be trained on."""
        if len(self.class_names) < 2:
            raise ValueError(f"{self.folder} has photos of one class: nothing is to be told apart.")
        for phase in self.preset.plan.phases:
            steps_per_epoch(phase, len(self.train(phase.crops.copies or "originals")))
            self.val(_validation_copies(phase) or "originals")

    def counts(self, part):
        """How many photos each kind has that was read so far: dict from kinds to int."""
        key = "kept" if part == "val" else part
        return {kind: len(source) for (of, kind), source in self._sources.items() if of == key}

    def training_data(self, phase, transforms):
        """`ResizingImages` for a phase, its labels and mixing by further transforms."""
        made = ResizingImages(
            self.train(phase.crops.copies or "originals"),
            phase.batch_size,
            image_size=phase.image_size,
            transforms=[RandomResizedCrop(phase.crops.scale), RandomFlip(), *transforms],
            sampler=Shuffled(self.seed),
            threads=FLAGS.threads,
        )
        self._serve("train", made)
        return made

    def validation_data(self, phase, transforms):
        """`ValidationImages` for a phase."""
        copies = _validation_copies(phase)
        source = self.val(copies or "originals")
        read = f"val-{copies}" if copies and f"val-{copies}" not in self.fell_back else "val"
        self.validated_on[phase.evaluated_at] = read
        made = ValidationImages(
            source,
            max(1, min(phase.batch_size, 256)),
            image_size=phase.evaluated_at,
            rectangular=phase.validation.rectangular,
            transforms=transforms,
            threads=FLAGS.threads,
        )
        self._serve("val", made)
        return made

    def validation_in_order(self, phase, source=None):
        """The validation photos that can be read, at a phase's size, as squares, in their order.

        Args:
            phase: `Phase`.
            source: `PhotoSource` in their place, such as some of them.
        """
        if source is None:
            source = self.val("originals")
            source = source.without(self._problems_of("val"))
        return ValidationImages(
            source,
            max(1, min(phase.batch_size, 256)),
            image_size=phase.evaluated_at,
            threads=FLAGS.threads,
        )

    def _serve(self, part, made):
        """Remembers what is served, and of what was served before only its odd files."""
        if part in self._serving:
            self._problems_of(part)
        self._serving[part] = made

    def problems(self):
        """What was wrong with files: dict from names, such as `val/cat/1.jpg`, to sentences."""
        return {
            f"{part}/{name}": problem  # each part may have a photo of the same name
            for part in ("train", "val")
            for name, problem in self._problems_of(part).items()
        }

    def gather_problems(self):
        """Takes over what other ranks have found wrong with their files; each rank calls it."""
        if current().several:
            for part, known in self._problems.items():
                for found in collectives.gather(self._problems_of(part)):
                    known.update(found)

    def _problems_of(self, part):
        """Those of one part, by the names that its sources have for them."""
        if part in self._serving:
            self._problems[part].update(self._serving[part].problems)
        return self._problems[part]

    def _source(self, part, kind, count):
        if (part, kind) in self._sources:
            return self._sources[part, kind]
        names = getattr(self, "class_names", None)
        copies = self.folder / f"{part}-{kind}"
        if kind != "originals" and copies.is_dir():
            copied = PreparedImages(copies)
            # Labels are places in this list: with another one it would train on wrong labels.
            if names is not None and copied.class_names != names:
                raise ValueError(f"{copies} has other classes than {self.folder / 'train'}.")
            if copied.short_side != kind:  # enlarged, it would be judged on another set
                raise ValueError(
                    f"{copies} must have copies with the short side at {kind} px, it has them at "
                    f"{copied.short_side}: make them by --short_side={kind}."
                )
            source = _first(copied, count)
        elif kind != "originals":
            self.fell_back.add(f"{part}-{kind}")  # the run says so: other crops, and slower
            source = self._source(part, "originals", count)
        else:
            source = _first(photos_of(self.folder, part, names), count)
        self._sources[part, kind] = source
        return source


def _validation_copies(phase):
    """The short side of the copies to validate on; `None` for the originals."""
    return 352 if phase.evaluated_at <= 256 else None  # as published: 288 px on the originals


def _first(source, count):
    """Evenly spread photos of a source: as many as asked, of all classes."""
    if count is None or count >= len(source):
        return source
    return source.subset([place * len(source) // count for place in range(count)])
