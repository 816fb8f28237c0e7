"""What one step asks of the device, operation by operation."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.operation_counter import OperationCounter

import keras
import pytest

from tests.models.test_wide_resnet import torch_wide_resnet
from tests.on_device import torch

X, Y = torch.randn(8, 32, 32, 3), torch.arange(8)


def audit_ours(optimizer, policy="float32"):
    keras.config.set_dtype_policy(policy)
    model = keras_dawn.models.WideResNet(16, 1)
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras_dawn.accelerate(model, log_every=1000)
    for _ in range(2):
        model.train_on_batch(X, Y)
    step = engine_of(model).steps
    with OperationCounter() as audit:
        step.train_step([(X, Y)])
    return audit


def audit_hand_written():
    """A careful loop by hand: channels_last, fused SGD, loss and accuracy on the device."""
    network = torch_wide_resnet(1).to(X.device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    total, hits = torch.zeros(()), torch.zeros(())

    def step():
        outputs = network(X.permute(0, 3, 1, 2))
        loss = torch.nn.functional.cross_entropy(outputs, Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            total.add_(loss.detach() * len(X))
            hits.add_((outputs.argmax(1) == Y).sum())

    step()
    with OperationCounter() as audit:
        step()
    return audit


OPTIMIZERS = {
    "ours": lambda: keras_dawn.SGD(0.1, nesterov=True, weight_decay=1e-4),
    "Keras SGD": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Keras AdamW": lambda: keras.optimizers.AdamW(0.1),
    "clipped together": lambda: keras_dawn.SGD(0.1, global_clipnorm=1.0),
    "clipped each": lambda: keras_dawn.SGD(0.1, clipnorm=1.0),
    "LARS": lambda: keras_dawn.optimizers.LARS(0.1, weight_decay=1e-4),
    "Muon": lambda: keras_dawn.optimizers.Muon(0.1, compute_dtype="float32"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_step_reads_no_number_from_the_device_and_copies_none_to_it(name, policy):
    counts = audit_ours(OPTIMIZERS[name](), policy).counts
    assert not {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero"} & set(counts)
    # what is made from a host number: `tensor(3.0)` arrives as lift_fresh
    assert not {"lift_fresh", "scalar_tensor", "from_blob"} & set(counts)
    if policy == "float32":
        assert counts["_to_copy"] == 0
        assert counts["copy_"] <= 2  # the two flat moving averages


def test_float16_with_loss_scaling_does_not_either():
    optimizer = keras.optimizers.LossScaleOptimizer(keras_dawn.SGD(0.1))
    counts = audit_ours(optimizer, "mixed_float16").counts
    assert not {"_local_scalar_dense", "item", "is_nonzero", "equal", "lift_fresh"} & set(counts)
    assert counts["_amp_foreach_non_finite_check_and_unscale_"] == 1


@pytest.mark.parametrize("name", ["ours", "Keras SGD"])
def test_a_step_has_no_more_operations_than_a_hand_written_one(name):
    ours, hand = audit_ours(OPTIMIZERS[name]()), audit_hand_written()
    assert ours.work().total() <= hand.work().total(), ours.counts - hand.counts
