"""Every loss and metric that Keras exports, plain, weighted and masked, against plain Keras."""

import functools
import inspect
from pathlib import Path

import keras_dawn
from keras_dawn.foundation import keras_losses, keras_masks
from keras_dawn.native import explain
from keras_dawn.native.steps.loss_values import VALUES
from keras_dawn.native.steps.losses import NativeLoss
from keras_dawn.native.steps.metric_counter import MetricCounter

import keras
import numpy as np
import pytest
from keras import layers, losses, metrics

from tests.on_device import ON_GPU, torch

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 5))
CLASSES = RANDOM.integers(0, 4, 24)
ONE_HOT = np.eye(4)[CLASSES]
SHARES = RANDOM.uniform(0.1, 1.0, size=(24, 4))
REAL = RANDOM.normal(size=(24, 4))
YES = RANDOM.integers(0, 2, (24, 4)).astype("float64")
TOKENS = RANDOM.integers(1, 9, (24, 5)) * (np.arange(5) < RANDOM.integers(1, 5, (24, 1)))
WEIGHTS = RANDOM.uniform(0.0, 2.0, 24)
README = Path(keras_dawn.__file__).parent / "native" / "README.md"

LOSSES = {
    "BinaryCrossentropy": (YES, {}), "BinaryFocalCrossentropy": (YES, {}), "CTC": None,
    "CategoricalCrossentropy": (ONE_HOT, {}), "CategoricalFocalCrossentropy": (ONE_HOT, {}),
    "CategoricalGeneralizedCrossEntropy": (CLASSES, {}), "CategoricalHinge": (ONE_HOT, {}),
    "Circle": (CLASSES, {}), "CosineSimilarity": (REAL, {}), "Dice": (YES, {}),
    "Hinge": (YES, {}), "Huber": (REAL, {"delta": 0.3}), "KLDivergence": (SHARES, {}),
    "LogCosh": (REAL, {}), "MeanAbsoluteError": (REAL, {}),
    "MeanAbsolutePercentageError": (REAL, {}), "MeanSquaredError": (REAL, {}),
    "MeanSquaredLogarithmicError": (SHARES, {}), "Poisson": (SHARES, {}),
    "SparseCategoricalCrossentropy": (CLASSES, {}), "SquaredHinge": (YES * 2 - 1, {}),
    "Tversky": (YES, {}),
}  # fmt: skip
MORE = [
    ("BinaryCrossentropy", YES, {"label_smoothing": 0.2, "from_logits": True}),
    ("BinaryFocalCrossentropy", YES, {"apply_class_balancing": True, "label_smoothing": 0.1}),
    ("BinaryFocalCrossentropy", YES, {"from_logits": True, "gamma": 1.5}),
    ("CategoricalCrossentropy", ONE_HOT, {"label_smoothing": 0.2}),
    ("CategoricalFocalCrossentropy", ONE_HOT, {"from_logits": True, "alpha": [0.1, 0.2, 0.3, 1.0]}),
    ("SparseCategoricalCrossentropy", CLASSES, {"ignore_class": 2}),
    ("SparseCategoricalCrossentropy", CLASSES[:, None], {"from_logits": True, "ignore_class": 2}),
    ("CosineSimilarity", REAL, {"axis": 0}), ("Dice", YES, {"axis": (1,)}),
    ("Tversky", YES, {"axis": (1,), "alpha": 0.3, "beta": 0.7}),
    ("MeanSquaredError", REAL, {"reduction": "sum"}),
    ("MeanAbsoluteError", REAL, {"reduction": "mean_with_sample_weight"}),
]  # fmt: skip
METRICS = {
    "AUC": (YES, {}), "Accuracy": (YES, {}), "BinaryAccuracy": (YES, {"threshold": 0.3}),
    "BinaryCrossentropy": (YES, {}), "BinaryIoU": (YES, {"dtype": "float64"}),
    "CategoricalAccuracy": (ONE_HOT, {}),
    "CategoricalCrossentropy": (ONE_HOT, {}), "CategoricalHinge": (ONE_HOT, {}),
    "ConcordanceCorrelation": (REAL, {}), "CosineSimilarity": (REAL, {}), "F1Score": (YES, {}),
    "FBetaScore": (YES, {"average": "micro", "threshold": 0.3, "beta": 2.0}),
    "FalseNegatives": (YES, {}), "FalsePositives": (YES, {"thresholds": [0.2, 0.4]}),
    "Hinge": (YES, {}),
    "IoU": (CLASSES, {"num_classes": 4, "target_class_ids": [0, 2], "sparse_y_pred": False}),
    "KLDivergence": (SHARES, {}), "LogCoshError": (REAL, {}), "Mean": None,
    "MeanAbsoluteError": (REAL, {}), "MeanAbsolutePercentageError": (REAL, {}),
    "MeanIoU": (CLASSES, {"num_classes": 4, "sparse_y_pred": False, "ignore_class": 1}),
    "MeanMetricWrapper": None, "MeanSquaredError": (REAL, {}),
    "MeanSquaredLogarithmicError": (SHARES, {}), "Metric": None,
    "OneHotIoU": (ONE_HOT, {"num_classes": 4, "target_class_ids": [1]}),
    "OneHotMeanIoU": (ONE_HOT, {"num_classes": 4}), "PearsonCorrelation": (REAL, {}),
    "Poisson": (SHARES, {}), "Precision": (YES, {}), "PrecisionAtRecall": (YES, {"recall": 0.5}),
    "R2Score": (REAL, {}), "Recall": (YES, {"top_k": 2}),
    "RecallAtPrecision": (YES, {"precision": 0.3}), "RootMeanSquaredError": (REAL, {}),
    "SensitivityAtSpecificity": (YES, {"specificity": 0.3}),
    "SparseCategoricalAccuracy": (CLASSES, {}), "SparseCategoricalCrossentropy": (CLASSES, {}),
    "SparseTopKCategoricalAccuracy": (CLASSES, {"k": 2}),
    "SpecificityAtSensitivity": (YES, {"sensitivity": 0.3, "num_thresholds": 1}),
    "SquaredHinge": (YES, {}), "Sum": None, "TopKCategoricalAccuracy": (ONE_HOT, {"k": 2}),
    "TrueNegatives": (YES, {"thresholds": 0.3}), "TruePositives": (YES, {}),
}  # fmt: skip
MORE_METRICS = [
    ("AUC", YES, {"curve": "PR", "num_thresholds": 20}), ("AUC", YES, {"from_logits": True}),
    ("AUC", YES, {"thresholds": [0.1, 0.4]}), ("AUC", YES, {"thresholds": [0.5]}),
    ("AUC", YES, {"multi_label": True}), ("AUC", YES, {"label_weights": [1.0, 2.0, 0.0, 1.0]}),
    ("Precision", YES, {"class_id": 1, "thresholds": [0.1, 0.3]}),
    ("Recall", YES, {"thresholds": [0.0, 0.5, 1.0]}),
    ("FBetaScore", YES, {"average": "weighted"}), ("MeanIoU", YES, {"num_classes": 2}),
    ("R2Score", REAL, {"class_aggregation": None}),
    ("SparseCategoricalCrossentropy", CLASSES, {"ignore_class": 1}),
    ("CosineSimilarity", REAL, {"axis": 0}),
]  # fmt: skip
OUTPUTS = torch.softmax(torch.as_tensor(RANDOM.normal(size=(24, 4))), -1)
SEQUENCES = torch.softmax(torch.as_tensor(RANDOM.normal(size=(24, 5, 4))), -1)
MASK = torch.as_tensor(np.arange(5) < RANDOM.integers(0, 5, (24, 1)))


def masked(outputs):
    outputs = outputs.clone()
    keras_masks.attach_mask(outputs, MASK)
    return outputs


def outcome(run):
    """What a call returns, or the kind of its error."""
    try:
        return run()
    except (ValueError, IndexError, RuntimeError) as error:
        return type(error)


def value_and_gradient(loss, y, outputs, weight, mask):
    outputs = outputs.clone().requires_grad_()
    if mask is not None:
        keras_masks.attach_mask(outputs, mask)
    value = loss(torch.as_tensor(y), outputs, None if weight is None else weight.clone())
    value.backward()
    return value.detach(), outputs.grad


def assert_same(ours, theirs, tolerance=1e-10, absolute=None):
    if isinstance(theirs, type):  # Keras's error: it is left to Keras
        return
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        atol = tolerance if absolute is None else absolute
        torch.testing.assert_close(one, other, rtol=tolerance, atol=atol, equal_nan=True)


CASES = [(name, *case) for name, case in LOSSES.items() if case is not None] + MORE
WEIGHINGS = [None, WEIGHTS, WEIGHTS[:, None]]


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES}))
@pytest.mark.parametrize("reduction", [None, "sum", "mean_with_sample_weight"])
def test_a_loss_is_that_of_keras(name, reduction, true_float64):
    for kind, y, settings in CASES:
        if kind != name:
            continue
        settings = {"reduction": reduction, **settings} if reduction else settings
        loss = getattr(losses, name)(**settings)
        for weight in WEIGHINGS:
            weight = None if weight is None else torch.as_tensor(weight)
            case = (y, OUTPUTS, weight, None)
            native, plain = (
                functools.partial(value_and_gradient, each, *case)
                for each in (NativeLoss(loss, "float64"), loss)
            )
            assert_same(outcome(native), outcome(plain))


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES} - {"Circle"}))
@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
def test_a_loss_of_masked_sequences_is_that_of_keras(name, reduction, true_float64):
    for kind, y, settings in CASES:
        if kind != name or "axis" in settings:
            continue
        loss = getattr(losses, name)(**{"reduction": reduction, **settings})
        y = np.repeat(y[:, None], 5, 1)
        for weight in (None, WEIGHTS[:, None], np.repeat(WEIGHTS[:, None], 5, 1)):
            weight = None if weight is None else torch.as_tensor(weight)
            case = (y, SEQUENCES, weight, MASK)
            native, plain = (
                functools.partial(value_and_gradient, each, *case)
                for each in (NativeLoss(loss, "float64"), loss)
            )
            assert_same(outcome(native), outcome(plain))


COUNTED = [(name, *case) for name, case in METRICS.items() if case is not None] + MORE_METRICS
KEPT = ("multi_label", "label_weights")  # settings with which Keras counts


def state_after(metric, add, batches):
    for y, outputs, weight in batches:
        add(metric, torch.as_tensor(y), outputs, None if weight is None else weight.clone())
    return [variable.value.clone() for variable in metric.variables]


def by_keras(metric, y, outputs, weight):
    metric.update_state(y, outputs, weight)


@pytest.mark.filterwarnings("ignore:You are passing weight as `float`")
@pytest.mark.parametrize("number", range(len(COUNTED)))
def test_a_metric_is_that_of_keras(number, true_float64):
    name, y, settings = COUNTED[number]
    make = functools.partial(getattr(metrics, name), **settings)
    forms = []

    def natively(metric, y, outputs, weight):
        with torch.no_grad():
            found = MetricCounter(metric).add(y, outputs, weight)
        forms.append(found)
        if not found:
            by_keras(metric, y, outputs, weight)

    cases = [(y, OUTPUTS, None), (y, OUTPUTS.float(), None)]
    cases += [
        (y, OUTPUTS, torch.as_tensor(WEIGHTS)),
        (y, OUTPUTS, torch.as_tensor(WEIGHTS[:, None])),
    ]
    repeated = np.repeat(y[:, None], 5, 1)
    cases += [(repeated, masked(SEQUENCES), None)]
    cases += [(repeated, masked(SEQUENCES), torch.as_tensor(np.repeat(WEIGHTS[:, None], 5, 1)))]
    for case in cases:
        batches = [case, case]
        theirs = outcome(lambda: state_after(make(), by_keras, batches))  # noqa: B023
        ours = outcome(lambda: state_after(make(), natively, batches))  # noqa: B023
        if isinstance(theirs, type):
            assert ours is theirs or not isinstance(ours, type)
        else:
            tolerance = 1e-6 if case[1].dtype == torch.float32 else 1e-10
            rounding = tolerance
            if ON_GPU and case[2] is not None and hasattr(make(), "thresholds"):
                # Keras adds the weights in float32, a GPU in any order; and then it subtracts.
                tolerance, rounding = 1e-6, 1e-6 * max(float(each.max()) for each in theirs)
            assert_same(ours, theirs, tolerance, rounding)
    assert any(forms) or any(name in settings for name in KEPT)


@pytest.mark.parametrize("of_class", [False, True])
@pytest.mark.parametrize("kind", [metrics.AUC, metrics.Precision, metrics.RootMeanSquaredError])
def test_an_update_put_in_the_place_of_keras_s_is_the_one_that_counts(kind, of_class, monkeypatch):
    states = []
    for native in (True, False):
        metric, update = kind(), kind.update_state

        def halved(metric, y, outputs, sample_weight=None, update=update):
            update(metric, y, outputs * 0.5, sample_weight)

        with monkeypatch.context() as patch:
            if of_class:
                patch.setattr(kind, "update_state", halved)
            else:
                metric.update_state = functools.partial(halved, metric)
            model = keras.Sequential([keras.Input((4,)), layers.Activation("linear")])
            model.compile(loss="mse", metrics=[metric])
            if native:
                keras_dawn.accelerate(model)
            model.evaluate(OUTPUTS.float().cpu().numpy(), YES, verbose=0)
        states.append([variable.numpy() for variable in metric.variables])
    np.testing.assert_allclose(*states, rtol=1e-6)


def trained(build, x, y, native, weights=None):
    keras.utils.set_random_seed(0)
    model = build()
    if native:
        keras_dawn.accelerate(model)
    history = model.fit(
        x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, sample_weight=weights,
        validation_data=(x, y),
    ).history  # fmt: skip
    states = [v.numpy() for metric in model.metrics for v in metric.variables]
    return model, [history, states, model.get_weights()]


def assert_trained_alike(build, x, y, weights=None):
    _, theirs = trained(build, x, y, False, weights)
    model, ours = trained(build, x, y, True, weights)
    for one, other in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    return explain(model)


def model_of(loss, metric=None, masked=False):
    def build():
        if masked:
            inputs = keras.Input((5,), dtype="int32")
            x = layers.Embedding(9, 6, mask_zero=True)(inputs)
        else:
            inputs = keras.Input((5,))
            x = layers.Dense(6, "relu")(inputs)
        model = keras.Model(inputs, layers.Dense(4, "softmax")(x))
        both = [metric, metric] if metric else [None, None]
        first, second = (None if each is None else [each()] for each in both)
        model.compile(
            keras.optimizers.SGD(0.1), loss(), metrics=first, weighted_metrics=second,
            loss_weights=[0.7],
        )  # fmt: skip
        return model

    return build


@pytest.mark.filterwarnings("ignore:.*weighted_metrics")
@pytest.mark.parametrize(
    ("loss", "metric", "y"),
    [
        ("binary_crossentropy", lambda: metrics.AUC(name="auc"), YES),
        ("sparse_categorical_crossentropy", lambda: "accuracy", CLASSES),
        (losses.categorical_crossentropy, lambda: metrics.F1Score(name="f1"), ONE_HOT),
        ("mse", lambda: "mae", REAL),
        ("kl_divergence", lambda: metrics.Precision(name="precision"), SHARES),
    ],
)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_model_trains_and_counts_as_in_plain_keras(loss, metric, y, weights, true_float64):
    explanation = assert_trained_alike(model_of(lambda: loss, metric), X, y, weights)
    assert explanation.loss == explanation.metrics == "native"


def test_a_model_of_masked_sequences_trains_and_counts_as_in_plain_keras(true_float64):
    build = model_of(losses.SparseCategoricalCrossentropy, lambda: "accuracy", masked=True)
    y, weights = np.repeat(CLASSES[:, None], 5, 1), np.repeat(WEIGHTS[:, None], 5, 1)
    explanation = assert_trained_alike(build, TOKENS, y, weights)
    assert explanation.loss == explanation.metrics == "native"


class Squares(losses.Loss):
    """A loss of the user's."""

    def call(self, targets, outputs):
        return keras.ops.mean(keras.ops.square(outputs - targets), axis=-1)


def distance(targets, outputs):
    return keras.ops.mean(keras.ops.abs(outputs - targets), axis=-1)


@pytest.mark.parametrize("loss", [lambda: distance, Squares, losses.Circle])
def test_a_loss_of_the_user_s_is_called_as_it_is(loss, true_float64):
    y = CLASSES if loss is losses.Circle else REAL
    explanation = assert_trained_alike(model_of(loss), X, y, WEIGHTS)
    assert "itself" in explanation.loss


def test_several_outputs_are_counted_each_by_its_own_metrics(true_float64):
    def build():
        x = keras.Input((5,))
        model = keras.Model(x, [layers.Dense(4, name="a")(x), layers.Dense(4, name="b")(x)])
        model.compile(
            keras.optimizers.SGD(0.1), ["mse", "mae"], loss_weights=[1.0, 0.5],
            metrics=[["mae"], [metrics.AUC(name="auc"), "mse"]],
            weighted_metrics=[[], ["mae"]],
        )  # fmt: skip
        return model

    assert assert_trained_alike(build, X, [REAL, YES], WEIGHTS).metrics == "native"


def test_every_exported_loss_and_metric_is_native_or_named():
    exported = {name for name, _ in inspect.getmembers(losses, inspect.isclass)}
    added = {"SparseCategoricalFocalCrossentropy"}  # in Keras 3.16: it is called as it is
    assert exported - {"Loss"} - added == LOSSES.keys()
    assert {name for name, _ in inspect.getmembers(metrics, inspect.isclass)} == METRICS.keys()
    text = README.read_text(encoding="utf-8")
    for name, case in LOSSES.items():
        function = case and keras_losses.function_of_loss(getattr(losses, name)())
        assert function in VALUES or f"`{name}`" in text, name
    for name, case in METRICS.items():
        assert case is not None or f"`{name}`" in text, name
