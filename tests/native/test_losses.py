"""Native losses and metrics against plain Keras: values, errors and settings."""

import functools

import keras_dawn
from keras_dawn.foundation import keras_losses
from keras_dawn.native.steps import class_losses
from keras_dawn.native.steps.loss_values import VALUES

import keras
import numpy as np
import pytest
from keras import layers, losses, metrics

from tests.on_device import on_processor, torch

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 5)).astype("float32")
CLASSES = RANDOM.integers(0, 4, 12)
ONE_HOT = np.eye(4, dtype="float32")[CLASSES]
IGNORED = np.where(np.arange(12) % 3, CLASSES, -100)
SPARSE = losses.SparseCategoricalCrossentropy
CATEGORICAL = losses.CategoricalCrossentropy
BINARY = losses.BinaryCrossentropy


def network(loss, metrics=None, native=True, outputs=4, dtype=None, shape=None, **compile):
    keras.utils.set_random_seed(0)
    parts = [layers.Dense(6, "relu"), layers.Dense(outputs, dtype=dtype)]
    if shape:
        parts.append(layers.Reshape(shape))
    model = keras.Sequential([keras.Input((5,)), *parts])
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=metrics, **compile)
    return keras_dawn.accelerate(model) if native else model


def outcome(run):
    """What a call returns, or the kind of its error."""
    try:
        return run()
    except (ValueError, IndexError, RuntimeError) as error:
        return type(error)


def both(y, loss, metrics=None, x=X, sample_weight=None, **network_arguments):
    """Logs and weights after two epochs, accelerated and plain."""
    found = []
    for native in (True, False):
        model = network(loss(), metrics and metrics(), native, **network_arguments)

        def run(model=model):
            history = model.fit(
                x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, sample_weight=sample_weight,
                validation_data=(x, y),
            ).history  # fmt: skip
            return history, model.get_weights()

        found.append(outcome(run))
    return found


def assert_equal(ours, theirs, tolerance=2e-5, atol=1e-6):
    if isinstance(theirs, type):
        assert ours is theirs
        return
    assert list(ours[0]) == list(theirs[0])
    for name, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=tolerance, atol=atol, err_msg=name)
    for one, other in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=atol)


@pytest.mark.filterwarnings("ignore:.*does not scale the loss")
@pytest.mark.parametrize(
    ("loss", "y", "arguments"),
    [
        (lambda: SPARSE(from_logits=True), IGNORED, {}),
        (lambda: SPARSE(from_logits=True), CLASSES[:, None], {}),
        (lambda: SPARSE(from_logits=True), CLASSES.astype("float32") + 0.3, {}),
        (lambda: SPARSE(from_logits=True), CLASSES > 1, {}),
        # Outside: an error. On a GPU it ends the process, in plain Keras too.
        pytest.param(lambda: SPARSE(from_logits=True), CLASSES + 1, {}, marks=on_processor),
        (lambda: SPARSE(from_logits=True), ONE_HOT, {}),
        (lambda: SPARSE(from_logits=True), CLASSES.astype("uint8"), {}),
        (lambda: SPARSE(from_logits=True), CLASSES % 1, {"outputs": 1}),
        (lambda: SPARSE(from_logits=True, reduction="sum"), CLASSES, {}),
        (lambda: SPARSE(from_logits=True, reduction="mean_with_sample_weight"), CLASSES, {}),
        (lambda: SPARSE(from_logits=True, ignore_class=1), CLASSES, {}),
        (lambda: SPARSE(from_logits=True, dtype="float16"), CLASSES, {}),
        (lambda: SPARSE(from_logits=True, dtype="float64"), CLASSES, {}),
        (lambda: SPARSE(from_logits=True), CLASSES, {"dtype": "float64"}),
        (lambda: SPARSE(from_logits=True), CLASSES, {"dtype": "mixed_float16"}),
        (lambda: CATEGORICAL(from_logits=True, label_smoothing=0.1), ONE_HOT, {}),
        (lambda: CATEGORICAL(from_logits=True, label_smoothing=0.1), ONE_HOT > 0, {}),
        (lambda: CATEGORICAL(from_logits=True, label_smoothing=1.5), ONE_HOT, {}),
        (lambda: CATEGORICAL(from_logits=True), ONE_HOT * 2.5 - 0.5, {}),
        (lambda: CATEGORICAL(from_logits=True), CLASSES, {}),
        (lambda: CATEGORICAL(from_logits=True, axis=1), ONE_HOT, {}),
        (lambda: BINARY(from_logits=True, label_smoothing=0.2), CLASSES > 1, {"outputs": 1}),
        (lambda: BINARY(from_logits=True), ONE_HOT.astype(bool), {}),
        (lambda: BINARY(from_logits=True), ONE_HOT.T[:, :, None][:, :12], {}),
        (lambda: BINARY(from_logits=True), ONE_HOT.reshape(12, 2, 2), {}),
        (lambda: BINARY(from_logits=True), ONE_HOT, {"shape": (4, 1)}),
        (losses.MeanSquaredError, X[:, :1], {}),  # broadcast
        (losses.MeanSquaredError, X[:, 0], {}),
        (losses.MeanSquaredError, X[:, 0], {"outputs": 1}),
        (losses.MeanSquaredError, ONE_HOT, {"shape": (4, 1)}),
        (losses.MeanSquaredError, ONE_HOT[..., None], {}),
        (losses.MeanSquaredError, CLASSES, {"outputs": 1}),
        (lambda: "mse", ONE_HOT, {}),
        (lambda: "categorical_crossentropy", ONE_HOT, {}),
        (lambda: losses.MeanSquaredError(reduction=None), ONE_HOT, {}),
    ],
)
def test_losses_of_all_kinds_of_targets_are_plain_keras_s(loss, y, arguments):
    half = "float16" in str(arguments.get("dtype"))  # a product in half precision is no sum's
    # Four steps of 0.1 with gradients up to 0.25, rounded to multiples of 2 ** -13.
    tolerances = {"tolerance": 2e-3, "atol": 5e-5} if half else {}
    assert_equal(*both(y, loss, **arguments), **tolerances)


@pytest.mark.parametrize(
    ("loss", "y"),
    [(lambda: SPARSE(from_logits=True), CLASSES), (lambda: "mse", ONE_HOT),
     (lambda: CATEGORICAL(from_logits=True), ONE_HOT)],
)  # fmt: skip
def test_weighted_samples_are_plain_keras_s(loss, y):
    weights = np.arange(12, dtype="float32")
    assert_equal(*both(y, loss, lambda: ["accuracy"], sample_weight=weights))
    assert_equal(*both(y, loss, None, weighted_metrics=["accuracy"], sample_weight=weights))


@pytest.mark.parametrize(
    ("metric", "y"),
    [
        (lambda: ["accuracy"], CLASSES),
        (lambda: ["accuracy"], CLASSES[:, None]),
        (lambda: ["accuracy"], CLASSES.astype("float32") + 0.5 * (CLASSES == 1)),
        (lambda: ["accuracy"], IGNORED),
        (lambda: ["accuracy"], CLASSES > 1),
        (lambda: ["accuracy", "acc"], CLASSES),
        (lambda: [metrics.SparseCategoricalAccuracy(name="same") for _ in range(2)], CLASSES),
        (lambda: [metrics.SparseTopKCategoricalAccuracy(2)], CLASSES[:, None]),
        (lambda: [metrics.SparseTopKCategoricalAccuracy(2)], CLASSES.astype("float32")),
        (lambda: [metrics.SparseTopKCategoricalAccuracy(9)], CLASSES),
        (lambda: [metrics.SparseTopKCategoricalAccuracy(2, from_sorted_ids=True)], CLASSES),
        (lambda: ["accuracy", metrics.TopKCategoricalAccuracy(2)], ONE_HOT),
        (lambda: ["accuracy", metrics.TopKCategoricalAccuracy(2)], ONE_HOT > 0),
        (lambda: [metrics.F1Score(), metrics.CategoricalAccuracy()], ONE_HOT),
        (lambda: [metrics.R2Score(class_aggregation=None), "mae"], ONE_HOT),
        (lambda: [metrics.BinaryAccuracy(threshold=0.1)], ONE_HOT > 0),
    ],
)
@pytest.mark.filterwarnings("ignore:Keras metrics")
def test_metrics_of_all_kinds_of_targets_are_plain_keras_s(metric, y):
    def loss():
        return CATEGORICAL(from_logits=True) if y.shape == ONE_HOT.shape else SPARSE(True)

    assert_equal(*both(y, loss, metric))


def test_ties_count_for_top_k_as_in_plain_keras():
    found = []
    for native in (True, False):
        model = network(SPARSE(True), [metrics.SparseTopKCategoricalAccuracy(1)], native)
        model.set_weights([np.zeros_like(w) for w in model.get_weights()])
        found.append(model.evaluate(X, CLASSES, verbose=0))
    assert found[0] == found[1] and found[1][1] == 1.0


def change_smoothing(loss):
    loss._fn_kwargs["label_smoothing"] = 0.4


def change_attribute(loss):
    loss.label_smoothing = 0.4  # says what the configuration is, and does nothing else


def change_reduction(loss):
    loss.reduction = "sum"


@pytest.mark.parametrize("change", [change_smoothing, change_attribute, change_reduction])
def test_settings_of_a_loss_changed_after_compile_do_what_they_do_in_plain_keras(change):
    found = []
    for native in (True, False):
        loss = CATEGORICAL(from_logits=True, label_smoothing=0.1)
        model = network(loss, native=native)
        model.fit(X, ONE_HOT, shuffle=False, verbose=0)
        change(loss)
        found.append(model.fit(X, ONE_HOT, shuffle=False, verbose=0).history["loss"][0])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("loss", [lambda: SPARSE(True), lambda: BINARY(True)])
def test_an_empty_batch_is_what_it_is_in_plain_keras(loss):
    y = CLASSES if isinstance(loss(), SPARSE) else ONE_HOT
    found = []
    for native in (True, False):
        model = network(loss(), native=native)
        found.append(outcome(functools.partial(model.train_on_batch, X[:0], y[:0])))
    np.testing.assert_equal(found[0], found[1])


EPSILON = 1e-7
EDGES = [
    0.0, 1.0, EPSILON, 1.0 - EPSILON, 3 * EPSILON, 1.0 - 3 * EPSILON,
    np.nextafter(np.float32(1 - EPSILON), np.float32(2)),
]  # fmt: skip


@pytest.mark.parametrize("some", [[], *([edge] for edge in EDGES), EDGES])
@pytest.mark.parametrize("loss", [losses.binary_crossentropy, losses.BinaryFocalCrossentropy()])
def test_probabilities_near_and_beyond_the_edges_get_plain_keras_s_gradients(some, loss):
    inside = torch.tensor([0.2, 0.4, 0.9, *some], dtype=torch.float32)
    targets = torch.tensor([1.0, 0.0, 1.0, *(n % 2 for n in range(len(some)))])
    function = keras_losses.function_of_loss(loss) if isinstance(loss, losses.Loss) else loss
    found = []
    for compute in (VALUES[function], function):
        outputs = inside.clone().requires_grad_()
        value = compute(targets, outputs)
        value.sum().backward()
        found.append((value.detach(), outputs.grad))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_weights_of_classes_that_were_first_used_in_inference_mode_train_later():
    targets, alpha = torch.eye(3), [0.2, 0.3, 0.4]
    outputs = torch.full((3, 3), 0.5, requires_grad=True)
    with torch.inference_mode():
        before = class_losses.categorical_focal_crossentropy(targets, outputs, alpha)
    loss = class_losses.categorical_focal_crossentropy(targets, outputs, alpha)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), before.clone())
    assert outputs.grad.abs().sum() > 0


@on_processor
def test_many_probabilities_that_are_no_numbers_are_the_error_that_they_are_in_keras():
    outputs = torch.full((128, 64), float("nan"), requires_grad=True)
    for function in (losses.binary_crossentropy, VALUES[losses.binary_crossentropy]):
        with pytest.raises(RuntimeError, match="between 0 and 1"):
            function(torch.ones(128, 64), outputs)


def test_a_class_for_each_pixel_trains_where_torch_refuses_plain_keras():
    """The gradient of the mean loss to a bias is the mean of the softmax less the classes."""
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(inputs))
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    x = RANDOM.normal(size=(2, 4, 4, 3)).astype("float32")
    y = RANDOM.integers(0, 3, (2, 4, 4, 1))
    probabilities = model.predict(x, verbose=0)
    right = np.eye(3)[y[..., 0]]
    history = keras_dawn.accelerate(model).fit(x, y, verbose=0).history
    expected = -np.log((probabilities * right).sum(-1)).mean()
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
    moved = (right - probabilities).mean((0, 1, 2))
    assert model.get_weights()[1] == pytest.approx(moved, rel=1e-4, abs=1e-6)
