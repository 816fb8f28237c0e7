"""Settings that a step does not look at twice: every assignment is noticed."""

from keras_dawn.native.steps.metric_counter import MetricCounter
from keras_dawn.native.steps.unchanged import Unchanged
from keras_dawn.native.steps.updates.adam import as_number, corrected

import keras
import pytest

from tests.on_device import on_processor, torch


def attribute(loss):
    loss.reduction = "sum"


def argument(loss):
    loss._fn_kwargs["delta"] = 3.0


def another_argument(loss):
    loss._fn_kwargs["more"] = 3.0


def new_attribute(loss):
    loss.something = None


def taken_away(loss):
    del loss.name


@pytest.mark.parametrize(
    "change", [attribute, argument, another_argument, new_attribute, taken_away]
)
def test_a_change_is_noticed_once(change):
    loss = keras.losses.Huber(delta=1.0)
    unchanged = Unchanged(loss, "_fn_kwargs")
    assert not unchanged()  # nobody has looked before
    assert unchanged() and unchanged()
    change(loss)
    assert not unchanged()
    assert unchanged()


def count(metric, batches):
    counter = MetricCounter(metric)
    for y, outputs in batches:
        assert counter.add(y, outputs)
    return metric


def test_a_threshold_that_is_changed_counts_from_the_next_batch_on():
    y, outputs = torch.ones(8, 1), torch.linspace(0, 1, 8)[:, None]
    metric = count(keras.metrics.BinaryAccuracy(threshold=0.1), [(y, outputs)] * 2)
    metric._fn_kwargs["threshold"] = 0.9
    count(metric, [(y, outputs)])
    assert float(metric.result()) == pytest.approx((7 + 7 + 1) / 24)


def test_batches_of_other_shapes_are_counted_in_turn():
    torch.manual_seed(0)
    batches = [(torch.rand(n, k), torch.rand(n, k)) for n, k in [(4, 1), (3, 1), (4, 2), (4, 1)]]
    for make in (keras.metrics.MeanAbsoluteError, keras.metrics.MeanSquaredError):
        expected = make()
        for y, outputs in batches:
            expected.update_state(y, outputs)
        found = float(count(make(), batches).result())
        assert found == pytest.approx(float(expected.result()), rel=1e-6)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_class_numbers_of_every_kind_are_counted(shape, dtype):
    torch.manual_seed(0)
    y, outputs = torch.randint(0, 3, shape).to(dtype), torch.rand(6, 3)
    expected = keras.metrics.SparseCategoricalAccuracy()
    expected.update_state(y, outputs)
    found = count(keras.metrics.SparseCategoricalAccuracy(), [(y, outputs)])
    assert float(found.result()) == float(expected.result())


@on_processor
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_s_rate_as_a_number_is_the_tensor_s(dtype):
    rate, betas = torch.tensor(0.013, dtype=dtype), torch.tensor([0.9, 0.999], dtype=dtype)
    for step in range(1, 200):
        powers = betas.pow(step)
        number, tensor = as_number(rate, powers), corrected(rate, powers)
        torch.testing.assert_close(
            torch.tensor(number, dtype=dtype), tensor, rtol=2 * torch.finfo(dtype).eps, atol=0
        )
    ones = torch.ones(2, dtype=dtype)
    assert torch.tensor(float(as_number(rate, ones))).isnan() == corrected(rate, ones).isnan()
