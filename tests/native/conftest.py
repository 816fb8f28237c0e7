import keras
import pytest
import torch


@pytest.fixture
def true_float64(float64, monkeypatch):
    """Keras in float64 throughout: its promotion rules turn float64 into float32 on torch."""
    from keras.src.backend.common import dtypes

    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")


@pytest.fixture
def gradients_of():
    """Outputs and gradients of a Keras model and of its lowered module, by variable path."""
    from keras_dawn.native.lowering import lower

    def compare(model, *inputs):
        weights = [w.copy() for w in model.get_weights()]
        call = inputs[0] if len(inputs) == 1 else list(inputs)
        expected = keras.tree.flatten(model(call, training=True))
        directions = [torch.randn_like(y) for y in expected]
        model.zero_grad()
        sum((y * d).sum() for y, d in zip(expected, directions, strict=True)).backward()
        expected_gradients = {
            v.path: v.value.grad.clone()
            for v in model.trainable_variables
            if v.value.grad is not None
        }
        model.set_weights(weights)
        model.zero_grad()
        lowered = lower(model, training=True, collect_statistics=True)
        outputs, *_ = lowered.module(*inputs)  # and statistics, and masks if there are any
        outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
        sum((y * d).sum() for y, d in zip(outputs, directions, strict=True)).backward()
        gradients = {
            leaf.variable.path: leaf.transform.undo(
                leaf.tensor.grad, tuple(leaf.variable.shape)
            ).clone()
            for leaf in lowered.leaves.values()
            if leaf.tensor.grad is not None
        }
        model.zero_grad()
        return (outputs, gradients), (expected, expected_gradients), lowered

    return compare


def relative(ours, theirs):
    """Largest difference over the largest value."""
    return float((ours - theirs).detach().abs().max() / (theirs.detach().abs().max() + 1e-30))
