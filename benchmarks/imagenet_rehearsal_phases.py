"""The part `phases` of `imagenet_rehearsal.py`: published plans epoch by epoch, on few photos."""

import sys
import time
from pathlib import Path

from absl import flags
from imagenet_rehearsal_parts import check

FLAGS = flags.FLAGS
RECIPES = Path(__file__).parents[1] / "recipes"
PLANS = {"fastai_8gpu": (1 / 64, 20), "imagenet18_4": (1 / 512, 4)}  # of the GPUs; steps an epoch
IMAGES, CLASSES, VALIDATED = 480, 4, 24
SIDES = (400, 520)  # larger than the largest copies


def phases(folder):
    """The plans on small parts of their GPUs; the recipe's data, with copies where it asks."""
    from keras_dawn.data.photos import photos_of
    from keras_dawn.data.photos.prepare import prepare

    from synthetic_imagenet import make_folders

    sys.path.insert(0, str(RECIPES))
    flags.DEFINE_integer("threads", 1, "decoding threads")
    FLAGS["threads"].present = 1
    own = folder / "phases"
    make_folders(own, IMAGES, CLASSES, VALIDATED, SIDES)
    for part, short_side in (("train", 160), ("train", 352), ("val", 352)):
        prepare(photos_of(own, part), own / f"{part}-{short_side}", short_side, processes=1)
    return {name: _plan(own, name, *PLANS[name]) for name in PLANS}


def _plan(folder, name, factor, steps):
    from keras_dawn import PLANS as PUBLISHED
    from keras_dawn import accelerate, explain, fit_plan

    import imagenet_resnet50
    import keras
    import numpy as np

    from recipe_parts.photo_network import build_optimizer

    plan, preset = PUBLISHED[name].scaled(factor), imagenet_resnet50.PRESETS[name]
    seen, validated, rows = [], [], []
    photos = _photos(folder, preset, steps)
    model = _network(CLASSES, seen, validated)
    optimizer = build_optimizer(preset)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    accelerate(model)
    check(explain(model).is_whole(), f"not all of it is native: {explain(model)}")

    def note(batch, logs):
        values = (optimizer.learning_rate, optimizer.momentum, optimizer.weight_decay)
        rows.append([float(value) for value in values])

    def end(epoch, logs):
        epochs.append(validated[:])
        validated.clear()

    epochs = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=note, on_epoch_end=end)
    begin = time.perf_counter()
    seen.clear()
    fit_plan(
        model,
        plan,
        lambda phase: photos.training_data(phase, []),
        validation_data=lambda phase: photos.validation_data(phase, []),
        callbacks=[callback],
        verbose=0,
    )
    each = [plan.phase_at(epoch) for epoch in range(plan.epochs)]
    expected = [(p.batch_size, p.image_size) for p in each for _ in range(steps)]
    check(expected == seen, "batches are not those of the plan")
    values = [value for phase in plan.phases for value in _values(phase, steps)]
    check(np.allclose(values, rows), "rates, momentum or decay are not those of the plan")
    wanted = [(phase.crops.scale, phase.crops.copies) for phase in plan.phases]
    check(photos.trained_on == wanted, f"crops are of {photos.trained_on}, planned {wanted}")
    wanted = {p.evaluated_at: "val-352" if p.evaluated_at < 288 else "val" for p in each}
    check(photos.validated_on == wanted, f"validated on {photos.validated_on}, not {wanted}")
    for phase, shapes in zip(each, epochs, strict=True):
        check(sum(count for count, *_ in shapes) == VALIDATED, "not all photos are validated on")
        sides = {min(shape) for _, *shape in shapes}
        check(sides == {phase.evaluated_at}, f"validated at {sides}, not {phase.evaluated_at}")
        rectangles = any(height != width for _, height, width in shapes)
        check(rectangles == phase.validation.rectangular, "rectangles are not as planned")
    return {
        "engine": "accelerated",
        "epochs": plan.epochs,
        "phases": len(plan.phases),
        "steps": len(seen),
        "trained_on_copies_of": [phase.crops.copies for phase in plan.phases],
        "validated_on": photos.validated_on,
        "seconds": time.perf_counter() - begin,
    }


def _values(phase, steps):
    """Rate, momentum and decay of each step of a phase."""
    count = phase.epochs * steps
    curves = [phase.curves()[name] for name in ("learning_rate", "momentum", "weight_decay")]
    return [[curve(step / count) for curve in curves] for step in range(count)]


def _photos(folder, preset, steps):
    """The recipe's photos, as many of each kind as `steps` take; notes what they are."""
    from keras_dawn.data.photos.photo import read_header

    from recipe_parts.photo_folder import Photos

    def short_side(source):
        photo = read_header(source[0][0])
        return min(photo.width, photo.height)

    class Some(Photos):
        _phase = None

        def train(self, kind):
            found = super().train(kind)
            return found.subset(range(steps * self._phase.batch_size)) if self._phase else found

        def training_data(self, phase, transforms):
            self._phase = phase
            made = super().training_data(phase, transforms)
            side = short_side(made.source)
            self.trained_on.append(
                (made.transforms.crops[0].scale, side if side < SIDES[0] else None)
            )
            return made

        def validation_data(self, phase, transforms):
            made = super().validation_data(phase, transforms)
            side = short_side(made.source)
            said = self.validated_on[phase.evaluated_at]
            check(said == ("val-352" if side == 352 else "val"), f"{said} has {side} pixels")
            return made

    photos = Some(folder, preset)
    photos.trained_on = []
    return photos


def _network(classes, seen, validated):
    """A tiny network that notes its batches: `(count, height)` of training, shapes of others."""
    from keras_dawn import rule

    import keras
    import torch

    class Note(keras.layers.Layer):
        def call(self, x):
            return x

    def noted(images):
        if torch.is_grad_enabled():
            seen.append(tuple(images.shape[:2]))
        else:
            validated.append(tuple(images.shape[:3]))
        return images

    @rule(Note)
    def note_shape(builder, layer, inputs, call):
        node = builder.call(noted, builder.keras_order(inputs[0]), name=call.name)
        return inputs[0].with_node(node, torch_order=False)

    inputs = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(16)(Note()(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))
