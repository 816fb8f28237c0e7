"""Models of several outputs: every loss with its weight, its mask and its mean, as plain Keras."""

import gc
from unittest import mock

import keras_dawn
from keras_dawn.foundation import keras_losses

import keras
import numpy as np
import pytest
import torch
from keras import layers, losses

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 5))
WORDS = RANDOM.integers(0, 3, size=(24, 4))
A, B = RANDOM.integers(0, 3, size=24), RANDOM.normal(size=(24, 2))
STEPS = RANDOM.normal(size=(24, 4, 2))
WEIGHTS = RANDOM.uniform(0.2, 2, size=24)


def classes():
    return losses.SparseCategoricalCrossentropy(from_logits=True)


def two_outputs(kind=list, names="ab"):
    inputs = keras.Input((5,))
    hidden = layers.Dense(6, "tanh")(inputs)
    outputs = [layers.Dense(n, name=name)(hidden) for n, name in zip((3, 2), names, strict=True)]
    if kind is dict:
        outputs = dict(zip(names, outputs, strict=True))
    return keras.Model(inputs, outputs if kind is dict else kind(outputs))


def masked():
    """One output a step, whose mask goes into its loss, and one in all."""
    inputs = keras.Input((4,), dtype="int32")
    words = layers.Embedding(3, 4, mask_zero=True)(inputs)
    steps = layers.Dense(2, name="steps")(words)
    return keras.Model(inputs, [steps, layers.Dense(2, name="all")(layers.LSTM(3)(words))])


def trained(build, compiled, fit, native):
    keras.utils.set_random_seed(1)
    model = build()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), **compiled())
    if native:
        keras_dawn.accelerate(model)
    settings = {"x": X, "batch_size": 5, "epochs": 2, "shuffle": False, "verbose": 0, **fit()}
    history = model.fit(**settings).history
    del settings["epochs"], settings["shuffle"]
    evaluated = model.evaluate(**settings, return_dict=True)
    return model, [*history.values(), *evaluated.values(), *model.get_weights()], list(history)


def assert_alike(build, compiled, fit, how="native"):
    with mock.patch.object(keras_losses, "compute_loss", side_effect=AssertionError):
        model, ours, names = trained(build, compiled, fit, True)
    _, theirs, expected_names = trained(build, compiled, fit, False)
    assert names == expected_names
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert how in keras_dawn.explain(model).loss


def mean_of_cubes(targets, outputs):
    return keras.ops.mean(keras.ops.absolute(targets - outputs) ** 3, axis=-1)


@pytest.mark.parametrize(
    ("build", "compiled", "fit"),
    [
        (two_outputs, lambda: {"loss": [classes(), "mse"]}, lambda: {"y": [A, B]}),
        (
            two_outputs,
            lambda: {"loss": [classes(), "mse"], "loss_weights": [0.3, 2.0]},
            lambda: {"y": (A, B), "sample_weight": WEIGHTS.copy()},
        ),
        (
            lambda: two_outputs(tuple),
            lambda: {"loss": (classes(), "mae"), "loss_weights": (0.3, 2)},
            lambda: {"y": [A, B], "sample_weight": [WEIGHTS.copy(), WEIGHTS[::-1].copy()]},
        ),
        (
            lambda: two_outputs(dict),
            lambda: {"loss": {"a": classes(), "b": "mse"}, "loss_weights": {"a": 0.3, "b": 2.0}},
            lambda: {
                "y": {"b": B, "a": A},
                "sample_weight": {"a": WEIGHTS.copy(), "b": WEIGHTS[::-1].copy()},
            },
        ),
        (  # names in another order than that of the letters
            lambda: two_outputs(names="ba"),
            lambda: {"loss": {"b": classes(), "a": "mse"}},
            lambda: {"y": {"a": B, "b": A}},
        ),
        (
            two_outputs,
            lambda: {"loss": [losses.SparseCategoricalCrossentropy(True, reduction="sum"), "mse"]},
            lambda: {"y": [A, B]},
        ),
        (
            masked,
            lambda: {"loss": ["mse", "mae"], "loss_weights": [1.0, 0.5]},
            lambda: {"x": WORDS, "y": [STEPS, B]},
        ),
        (
            masked,
            lambda: {"loss": ["mse", "mae"], "weighted_metrics": [["mse"], ["mae"]]},
            lambda: {
                "x": WORDS,
                "y": [STEPS, B],
                "sample_weight": [RANDOM.uniform(size=(24, 4)), WEIGHTS.copy()],
            },
        ),
    ],
    ids=["list", "weights", "tuple", "dict", "names", "sum", "masks", "masks and weights"],
)
def test_losses_of_several_outputs_equal_plain_keras(build, compiled, fit, true_float64):
    state = RANDOM.bit_generator.state
    sample = fit()  # the same weights for both
    RANDOM.bit_generator.state = state
    assert_alike(build, compiled, lambda: keras.tree.map_structure(np.copy, sample))


def test_a_loss_of_the_user_s_among_others_is_called_as_it_is(true_float64):
    def compiled():
        return {"loss": [classes(), mean_of_cubes], "loss_weights": [1.0, 0.2]}

    assert_alike(two_outputs, compiled, lambda: {"y": [A, B]}, how="mean_of_cubes itself")


def test_a_loss_that_is_broadcast_goes_to_its_keras_object_alone(true_float64):
    def compiled():
        return {"loss": [classes(), "mse"]}

    assert_alike(two_outputs, compiled, lambda: {"y": [A, B[:, :1]]})


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_an_output_without_a_loss_is_left_out(true_float64):
    def compiled():
        return {"loss": {"a": classes()}}

    assert_alike(lambda: two_outputs(dict), compiled, lambda: {"y": {"a": A, "b": B}})


@pytest.mark.parametrize("targets", [[A], {"a": A, "c": B}, [A, B, B]], ids=len)
def test_targets_that_fit_no_outputs_are_keras_s_error(targets):
    said = []
    for native in (True, False):
        with pytest.raises(Exception) as error:
            trained(
                two_outputs, lambda: {"loss": [classes(), "mse"]}, lambda: {"y": targets}, native
            )
        said.append((type(error.value), str(error.value)))
    assert said[0] == said[1]


def _with_gradients():
    tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    return [tensor for tensor in tensors if tensor.grad_fn is not None]


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_a_step_leaves_no_gradients_behind_in_circles_of_references(kind):
    # They would live until Python collects its garbage, and tie the weights to a CUDA stream.
    x = keras.Input((4,))
    heads = [keras.layers.Dense(2, name="one")(x), keras.layers.Dense(3, name="two")(x)]
    names, targets = ["one", "two"], [np.ones((8, 2)), np.ones((8, 3))]
    keyed = kind is dict
    outputs, y = (
        kind(zip(names, parts, strict=True) if keyed else parts) for parts in (heads, targets)
    )
    model = keras.Model(x, outputs)
    model.compile("sgd", dict.fromkeys(names, "mse"), metrics={key: ["mae"] for key in names})
    keras_dawn.accelerate(model)
    for _ in range(2):
        model.train_on_batch(np.ones((8, 4)), y)
    gc.collect()
    gc.disable()
    try:
        before = set(map(id, _with_gradients()))  # such as what torch.compile keeps
        model.train_on_batch(np.ones((8, 4)), y)
        assert not [each.shape for each in _with_gradients() if id(each) not in before]
    finally:
        gc.enable()
