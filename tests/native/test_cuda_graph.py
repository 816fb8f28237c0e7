"""CUDA graphs of the forward and the backward pass: when they are made, and what they give."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.capture import GraphPool
from keras_dawn.native.cuda_graph import GraphedForward, ReplayedPasses
from keras_dawn.native.lowering import lower
from keras_dawn.native.steps.kept_outputs import may_keep_outputs

import keras
import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from tests.native.cuda_emulator import cuda_graphs_on_a_cpu
from tests.native.graphed import Case, how
from tests.on_device import on_processor, torch


def batch(*shape):
    return torch.zeros(*shape)


def eager(*inputs):
    return "eager", inputs[0].shape


def test_a_graph_is_made_after_three_steps_of_a_shape_and_used_from_then_on():
    captured = []

    def capture(module, inputs):
        captured.append(inputs[0].shape)
        return lambda *inputs: ("graph", inputs[0].shape)

    forward = GraphedForward(eager, capture)
    kinds = [forward(batch(8, 3))[0] for _ in range(6)]
    assert kinds == ["eager"] * 3 + ["graph"] * 3
    assert forward(batch(5, 3))[0] == "eager"  # an odd last batch
    assert forward(batch(8, 3))[0] == "graph" and len(captured) == 1


def test_a_failed_capture_goes_back_to_eager_and_says_so_once():
    def capture(module, inputs):
        raise RuntimeError("operation not permitted when stream is capturing")

    forward = GraphedForward(eager, capture)
    for _ in range(3):
        forward(batch(8, 3))
    with pytest.warns(UserWarning, match="not permitted.*same results"):
        assert forward(batch(8, 3))[0] == "eager"
    assert forward(batch(8, 3))[0] == "eager"  # no second warning: warnings are errors


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


@on_processor
def test_on_a_cpu_everything_is_eager():
    model, _ = Case().train(graphs=True)
    assert how(model) is None and engine_of(model).steps.graphs.reason == "there is no GPU"


def passes(module, x):
    """Outputs, statistics and gradients of a training step's two passes."""
    outputs, statistics = module(x)
    parameters = [p for p in module.parameters() if p.requires_grad]
    return outputs, statistics, torch.autograd.grad(outputs.square().sum(), parameters)


@on_processor
def test_replayed_passes_give_outputs_statistics_and_gradients():
    model = keras_dawn.models.WideResNet(10, 1)
    module = lower(model, training=True, collect_statistics=True).module
    first, second = torch.randn(2, 4, 32, 32, 3)
    with cuda_graphs_on_a_cpu() as graphs:
        replayed = ReplayedPasses(module, [first], GraphPool(first.device))
        for x in (second, first):
            outputs, statistics = replayed(x)
            found = torch.autograd.grad(outputs.square().sum(), replayed.parameters)
            expected = passes(module, x)
            assert len(statistics) == len(expected[1]) == 7
            torch.testing.assert_close((outputs, statistics, found), expected, rtol=0, atol=0)
        assert (graphs.made, graphs.replayed) == (2, 4)


class Called(TorchDispatchMode):
    """Notes the operations that torch does."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@on_processor
def test_outputs_that_a_loss_leaves_out_and_statistics_cost_no_kernels():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)

        def forward(self, x):
            one, other = self.one(x), self.other(x)
            return (one, other), ((x.mean(0), x.amax(0)), (one.mean(0), one.amax(0)))

    module, x = Two(), torch.randn(4, 3)
    with cuda_graphs_on_a_cpu():
        replayed = ReplayedPasses(module, [x], GraphPool(x.device))
        (one, other), statistics = replayed(x)
        torch.testing.assert_close(statistics, module(x)[1], rtol=0, atol=0)
        (one.sum() + other.sum()).backward()
        module.zero_grad()
        (one, other), _ = replayed(x)
        with Called() as backward:
            one.sum().backward()
    assert module.one.weight.grad.abs().sum() > 0
    assert module.other.weight.grad is None  # zeros would let weight decay change it
    assert backward.names.count("zero_") == 1 and "zeros" not in backward.names
    # Outside the graph: inputs in, outputs out, and views of one tensor of statistics.
    replayed.replay_forward = lambda: None
    with Called() as forward:
        replayed(x)
    work = [name for name in forward.names if name not in ("view", "split_with_sizes")]
    assert work == ["copy_", "clone", "clone"]


@on_processor
def test_replayed_passes_leave_no_autograd_nodes_of_the_capture():
    """torch warns in every step of nodes that belong to another stream."""
    module = torch.nn.Linear(3, 2)
    module.forward = lambda x, forward=module.forward: (forward(x), ())
    with cuda_graphs_on_a_cpu():
        replayed = ReplayedPasses(module, [torch.zeros(4, 3)], GraphPool(torch.device("cpu")))
    assert not any(tensor.requires_grad for tensor in replayed.outputs)
    kept = [thing for thing in vars(replayed).values() if isinstance(thing, torch.Tensor)]
    assert all(tensor.grad_fn is None for tensor in kept + list(replayed.gradients))
