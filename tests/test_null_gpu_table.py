"""What is counted on the null GPU is every optimizer, sampler, transform, callback and preset."""

import inspect

import keras_dawn
from keras_dawn import callbacks, data, optimizers
from keras_dawn.data import LossMemory, PerImage, Transform
from keras_dawn.data.transforms import BatchTransform

import cifar10_concat_pool
import cifar10_preact_resnet
import cifar10_record
import cifar10_resnet9
import cifar10_wrn
import imagenet_resnet50
import imagewoof
import keras
import pytest

from tests.nullgpu.limits import LIMITS

K = keras.optimizers
BASES = {K.Optimizer, K.OptimizerMap, Transform, BatchTransform}
IN_OTHERS = {
    K.LossScaleOptimizer: "float16",
    keras_dawn.SGD: "float32",
    data.OneHot: "MixUp",
    PerImage: "",  # torchvision's, which compute on the host
}


def classes(room, kind=object):
    return [
        one
        for name, one in vars(room).items()
        if not name.startswith("_")
        and inspect.isclass(one)
        and issubclass(one, kind)
        and one not in BASES
    ]


@pytest.mark.parametrize(
    "one",
    [
        *classes(K),
        *classes(optimizers, K.Optimizer),
        *classes(callbacks),
        *classes(data, (Transform, data.InOrder, LossMemory)),
        keras_dawn.OneCycle,
        keras_dawn.ParameterSchedule,
        keras_dawn.ResumeTraining,
        keras_dawn.TimeToAccuracy,
    ],
    ids=lambda one: f"{one.__module__.split('.')[0]}.{one.__name__}",
)
def test_every_class_has_a_setting(one):
    words = {word.strip() for name in LIMITS for word in name.split(",")}
    ours = one.__module__.startswith("keras_dawn")
    names = {one.__name__} if ours else {one.__name__, f"Keras's {one.__name__}"}
    if not ours and hasattr(optimizers, one.__name__):
        names.discard(one.__name__)  # ours has that name
    other = IN_OTHERS.get(one)
    assert names & words or (other is not None and (not other or other in words))


PRESETS = {
    "cifar10_wrn": cifar10_wrn.PRESETS,
    "cifar10_resnet9": cifar10_resnet9.PRESETS,
    "cifar10_concat_pool": cifar10_concat_pool.PRESETS,
    "cifar10_preact_resnet": cifar10_preact_resnet.presets(18),
    "the record": cifar10_record.PRESETS,
}


@pytest.mark.parametrize("recipe", PRESETS)
def test_every_preset_has_a_setting(recipe):
    for_processors = {"cpu", "smoke"}  # the same networks, smaller
    missing = [
        preset
        for preset in PRESETS[recipe]
        if preset not in for_processors and f"{recipe}, {preset}" not in LIMITS
    ]
    assert not missing


@pytest.mark.parametrize("recipe", [imagenet_resnet50, imagewoof], ids=lambda r: r.__name__)
def test_every_photo_preset_steps_as_one_that_has_a_setting(recipe):
    """They differ in plans, too, which are no part of a step."""

    def step(preset):
        values = {**vars(preset), "plan": None, "gpus": None}
        values |= {"train_images": None, "val_images": None, "zero_init_gamma": None}
        return tuple(values.values())

    # The smallest has the options of the others, in a smaller network.
    presets = {name: step(preset) for name, preset in recipe.PRESETS.items() if name != "smoke"}
    counted = {presets[name] for name in presets if f"{recipe.__name__}, {name}" in LIMITS}
    assert set(presets.values()) == counted
