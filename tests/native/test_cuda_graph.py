"""When a CUDA graph is made and used; on a GPU, that it changes no number."""

import keras_dawn
from keras_dawn.native.cuda_graph import GraphedForward, _Shell
from keras_dawn.native.lowering import lower
from keras_dawn.native.steps.graph_forward import may_keep_outputs

import keras
import numpy as np
import pytest
import torch


class OnGpu(torch.Tensor):
    """A CPU tensor that says it is on a GPU."""

    is_cuda = True


def on_gpu(*shape):
    return torch.zeros(*shape).as_subclass(OnGpu)


def eager(*inputs):
    return "eager", inputs[0].shape


def test_a_graph_is_made_after_three_steps_of_a_shape_and_used_from_then_on():
    captured = []

    def capture(module, inputs):
        captured.append(inputs[0].shape)
        return lambda *batch: ("graph", batch[0].shape)

    forward = GraphedForward(eager, capture)
    kinds = [forward(on_gpu(8, 3))[0] for _ in range(6)]
    assert kinds == ["eager"] * 3 + ["graph"] * 3
    assert forward(on_gpu(5, 3))[0] == "eager"  # an odd last batch
    assert forward(on_gpu(8, 3))[0] == "graph" and len(captured) == 1


def test_a_failed_capture_goes_back_to_eager_and_says_so_once():
    def capture(module, inputs):
        raise RuntimeError("operation not permitted when stream is capturing")

    forward = GraphedForward(eager, capture)
    for _ in range(3):
        forward(on_gpu(8, 3))
    with pytest.warns(UserWarning, match="not permitted.*same results"):
        assert forward(on_gpu(8, 3))[0] == "eager"
    assert forward(on_gpu(8, 3))[0] == "eager"  # no second warning: warnings are errors


class Keeps(keras.metrics.MeanSquaredError):
    """A metric of the user's."""


class OwnLoss(keras.Model):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


def test_no_graph_where_the_users_code_may_keep_the_outputs():
    def graphed(model, *metrics):
        model.compile("sgd", "mse", metrics=["mae", *metrics])
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        return not may_keep_outputs(model)

    def plain(kind=keras.Model):
        inputs = keras.Input((3,))
        return kind(inputs, keras.layers.Dense(2)(inputs))

    assert graphed(plain()) and graphed(plain(), keras.metrics.MeanSquaredError())
    assert not graphed(plain(), Keeps())
    assert not graphed(plain(OwnLoss))


def test_on_a_cpu_everything_is_eager():
    forward = GraphedForward(eager, capture=None)
    assert {forward(torch.zeros(8, 3))[0] for _ in range(9)} == {"eager"}


def test_the_shell_keeps_outputs_and_statistics():
    model = keras_dawn.models.WideResNet(10, 1)
    module = lower(model, training=True, collect_statistics=True).module
    x = torch.randn(4, 32, 32, 3)
    outputs, statistics = module(x)
    shell = _Shell(module)
    again, statistics_again = shell.unflatten(shell(x))
    torch.testing.assert_close(again, outputs)
    assert len(statistics_again) == len(statistics) == 7
    torch.testing.assert_close(statistics_again[3], statistics[3])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_graphed_training_equals_eager_training(policy, monkeypatch):
    keras.config.set_dtype_policy(policy)
    x = np.random.default_rng(0).normal(size=(200, 32, 32, 3)).astype("float32")
    y = np.arange(200) % 10
    weights = []
    for graphs in (8, 0):
        monkeypatch.setattr("keras_dawn.native.cuda_graph.MOST_GRAPHS", graphs)
        keras.utils.set_random_seed(0)
        model = keras_dawn.models.WideResNet(10, 1)
        model.compile(
            keras_dawn.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        keras_dawn.accelerate(model)
        model.fit(
            x, y, batch_size=32, epochs=3, shuffle=False, verbose=0,
            callbacks=[keras_dawn.OneCycle(0.05)],
        )  # fmt: skip
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)
