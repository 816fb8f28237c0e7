"""Decisions at many thresholds are gathered by buckets, and there when somebody looks."""

import keras_dawn
from keras_dawn.native.steps.metric_counter import MetricCounter

import keras
import numpy as np
import pytest

from tests.on_device import ON_GPU, torch

METRICS = [
    keras.metrics.AUC,
    lambda: keras.metrics.AUC(num_thresholds=7, curve="PR"),
    lambda: keras.metrics.AUC(from_logits=True),
    lambda: keras.metrics.Recall(thresholds=[0.0, 0.25, 0.5, 0.75, 1.0]),
    lambda: keras.metrics.SensitivityAtSpecificity(0.4, num_thresholds=9),
]


def batches(sizes=(16, 16, 5, 16)):
    torch.manual_seed(0)
    for size in sizes:
        outputs = torch.rand(size, 1)
        outputs[:3, 0] = torch.tensor([0.0, 1.0, 0.5])
        yield (torch.rand(size, 1) < outputs).float(), outputs


def state(metric):
    return [variable.numpy().tolist() for variable in metric.variables]


@pytest.mark.parametrize("make", METRICS)
def test_batches_of_several_sizes_and_weighted_ones_are_counted(make):
    ours, plain = make(), make()
    counter = MetricCounter(ours)
    for number, (targets, outputs) in enumerate(batches()):
        weight = torch.rand(len(outputs)) if number == 1 else None
        assert counter.add(targets, outputs, weight)
        plain.update_state(targets, outputs, weight)
    np.testing.assert_allclose(ours.result().tolist(), plain.result().tolist(), rtol=1e-6)
    for found, expected in zip(state(ours), state(plain), strict=True):
        # A GPU adds the weights of a bucket in any order, and differences of sums show it.
        rounding = 1e-6 * max(expected) if ON_GPU else 0.0
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=rounding)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("make", METRICS)
def test_outputs_of_another_dtype_are_cast_as_keras_does(make, dtype):
    ours, plain = make(), make()
    counter = MetricCounter(ours)
    for targets, outputs in batches():
        targets = targets.to(dtype)
        if dtype == torch.float64 and len(targets) == 5:
            targets = targets * 1e-50  # 0 as a float32
        assert counter.add(targets, outputs.to(dtype))
        plain.update_state(targets, outputs.to(dtype))
    assert state(ours) == state(plain)


def test_who_looks_between_batches_sees_all_of_them():
    ours, plain = keras.metrics.AUC(), keras.metrics.AUC()
    counter = MetricCounter(ours)
    for targets, outputs in batches():
        counter.add(targets, outputs)
        plain.update_state(targets, outputs)
        assert state(ours) == state(plain)
        assert float(ours.result()) == float(plain.result())


def test_what_was_counted_before_a_reset_is_gone():
    ours, plain = keras.metrics.AUC(), keras.metrics.AUC()
    counter = MetricCounter(ours)
    for targets, outputs in batches():
        ours.reset_state()
        plain.reset_state()
        counter.add(targets, outputs)
        plain.update_state(targets, outputs)
    assert state(ours) == state(plain)


@pytest.mark.parametrize("weight", [None, 0.5])
@pytest.mark.parametrize("make", METRICS[:3])
def test_an_output_that_is_no_number_is_over_no_threshold(make, weight):
    targets = torch.tensor([[1.0], [0.0], [1.0], [0.0], [1.0]])
    outputs = torch.tensor([[float("nan")], [float("nan")], [0.3], [0.4], [float("inf")]])
    weight = None if weight is None else torch.full((5,), weight)
    ours = make()
    assert MetricCounter(ours).add(targets, outputs, weight)
    # On a GPU Keras's own cast of it to a whole number gives 0: over the lowest threshold alone.
    with keras.device("cpu"):
        plain = make()
        weight = None if weight is None else weight.cpu()
        plain.update_state(targets.cpu(), outputs.cpu(), weight)
    assert state(ours) == state(plain)


def test_a_stopped_fit_has_counted_every_batch_it_took():
    class StopsError(Exception):
        pass

    def data(steps):
        for step, (targets, outputs) in enumerate(batches()):
            if step == steps:
                raise StopsError
            yield outputs, targets

    def stopped(accelerated):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
        if accelerated:
            keras_dawn.accelerate(model)
        with pytest.raises(StopsError):
            model.fit(data(3), steps_per_epoch=4, shuffle=False, verbose=0)
        return next(metric for part in model.metrics[1:] for metric in part.metrics)

    ours, plain = stopped(True), stopped(False)
    assert state(ours) == state(plain)
    assert sum(map(sum, state(plain))) > 0
