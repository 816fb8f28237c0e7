import keras_dawn
from keras_dawn import data
from keras_dawn.distributed.sharding import Share

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.resume.this_process import ThisProcess

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 5


def hardest(memory, fraction=0.5, at_random=0.25, **settings):
    sampler = data.Hardest(memory, fraction, at_random)
    return data.DeviceImages(PIXELS, LABELS, 10, sampler=sampler, **settings)


def with_losses():
    memory = data.LossMemory(40)
    memory.losses = torch.arange(40.0)  # image 39 is the hardest
    return memory


def test_an_epoch_has_the_hardest_images_and_some_others():
    images = hardest(with_losses())
    assert len(images) == 2
    orders = [images.order(epoch) for epoch in range(30)]
    for order in orders:
        assert len(order) == len(set(order.tolist())) == 20
        assert set(range(25, 40)) <= set(order.tolist())  # fifteen hardest, five at random
    assert orders[0].tolist() != sorted(orders[0].tolist())
    assert set(torch.cat(orders).tolist()) == set(range(40))  # nothing is left out for good
    assert torch.equal(orders[3], hardest(with_losses()).order(3))


def test_a_fraction_of_one_serves_everything_in_the_usual_order():
    usual = data.DeviceImages(PIXELS, LABELS, 10, sampler=data.Shuffled())
    assert torch.equal(hardest(with_losses(), fraction=1.0).order(2), usual.order(2))


def build(memory, soft):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    loss = (
        keras.losses.CategoricalCrossentropy if soft else keras.losses.SparseCategoricalCrossentropy
    )
    model.compile(keras_dawn.SGD(0.0, momentum=0.0), loss(from_logits=True), metrics=[memory])
    return model


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_fit_notes_the_loss_of_each_image_and_evaluation_does_not(soft, accelerated):
    memory = data.LossMemory(40)
    model = build(memory, soft)
    if accelerated:
        keras_dawn.accelerate(model)
    transforms = [data.OneHot(5)] if soft else []
    images = hardest(memory, fraction=1.0, transforms=transforms)
    reversed_arrays = PIXELS[::-1].copy(), LABELS[::-1].copy()
    test = data.DeviceImages(*reversed_arrays, 10, transforms=transforms)
    history = model.fit(images, validation_data=test, epochs=1, verbose=0, shuffle=False).history
    with torch.no_grad():
        logits = model(images.normalized(images.images))
    expected = F.cross_entropy(logits, torch.as_tensor(LABELS), reduction="none")
    torch.testing.assert_close(memory.losses, expected.cpu(), atol=1e-5, rtol=1e-5)
    assert history["cross_entropy"][0] == pytest.approx(float(expected.mean()), abs=1e-5)


def test_class_numbers_may_be_a_column():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 1, 4, 2])
    memory = data.LossMemory(4)
    memory.update_state(labels[:, None], logits)
    assert float(memory.result()) == pytest.approx(float(F.cross_entropy(logits, labels)))


def test_a_model_with_a_memory_is_saved_and_loaded(tmp_path):
    model = build(with_losses(), False)
    model.fit(hardest(data.LossMemory(40)), verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found, expected = (m.evaluate(PIXELS, LABELS, verbose=0, return_dict=True)
                       for m in (loaded, model))  # fmt: skip
    assert found == pytest.approx(expected) and "cross_entropy" in found


def test_a_second_fit_goes_on_with_fewer_batches():
    memory = data.LossMemory(40)
    model = keras_dawn.accelerate(build(memory, False))
    model.fit(hardest(memory, fraction=1.0), epochs=1, verbose=0, shuffle=False)
    before = memory.losses.clone()
    steps = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: steps.append(batch)
    )
    half = hardest(memory, at_random=0.0)
    model.fit(half, initial_epoch=1, epochs=3, callbacks=[count], verbose=0, shuffle=False)
    assert steps == [0, 1, 0, 1]
    assert set(half.order(1).tolist()) == set(before.argsort(descending=True)[:20].tolist())


def test_an_epoch_that_is_resumed_has_the_images_that_it_began_with():
    memory = with_losses()
    order = hardest(memory).order(4)
    memory.losses = memory.losses.flip(0)  # what was easy is hard by now
    again = data.LossMemory(40)
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again.losses, memory.losses)
    resumed = hardest(again)
    assert torch.equal(resumed.order(4), order) and torch.equal(resumed.order(4), order)
    assert set(range(15)) <= set(resumed.order(5).tolist())
    assert set(range(15)) <= set(resumed.order(4).tolist())  # another training's epoch 4


class StopAt(ThisProcess):
    """Ends the process, as it were, in the middle of a step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("gone")


def train_in_two_phases(folder, *callbacks):
    memory = data.LossMemory(40)
    model = keras_dawn.accelerate(build(memory, False))
    model.optimizer.learning_rate = 0.05
    save = keras_dawn.ResumeTraining(folder, every_steps=1)
    save.track("losses", memory)
    done = save.next_epoch()
    for first, last, fraction in ((0, 1, 1.0), (1, 3, 0.75)):
        if last > done:
            model.fit(
                hardest(memory, fraction=fraction), initial_epoch=first, epochs=last, verbose=0,
                callbacks=[*callbacks, save], shuffle=False,
            )  # fmt: skip
    return np.concatenate([w.numpy().ravel() for w in model.weights]), memory.losses


def test_a_training_cut_off_among_the_hardest_ends_with_the_same_bits(tmp_path):
    weights, losses = train_in_two_phases(tmp_path / "unbroken")
    for step in (6, 3):  # in the second step of the second phase, and in one after that
        with pytest.raises(RuntimeError, match="gone"):
            train_in_two_phases(tmp_path / "cut", StopAt(step))
    again, losses_again = train_in_two_phases(tmp_path / "cut")
    assert np.array_equal(weights, again) and torch.equal(losses, losses_again)


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_finished_training_that_is_started_again_is_evaluated(accelerated, tmp_path):
    for _ in range(2):
        memory = data.LossMemory(40)
        model = build(memory, False)
        if accelerated:
            keras_dawn.accelerate(model)
        save = keras_dawn.ResumeTraining(tmp_path)
        save.track("losses", memory)
        model.fit(hardest(memory), epochs=1, verbose=0, shuffle=False, callbacks=[save])
        before = memory.losses.clone()
        for batch_size in (20, 10):  # of other images than the batch that Keras looked at
            model.evaluate(PIXELS[:20] / 255.0, LABELS[:20], batch_size, verbose=0)
        assert torch.equal(memory.losses, before)


def test_bad_arguments_are_named():
    for arguments, message in (
        ({"fraction": 0}, "`fraction` must be in"),
        ({"fraction": 0.5, "at_random": 2}, "`at_random` in"),
        ({"fraction": 0.5, "memory": data.LossMemory(3)}, "`memory` has 3 images, the data 40"),
    ):
        with pytest.raises(ValueError, match=message):
            hardest(**{"memory": data.LossMemory(40), **arguments})
    with pytest.raises(ValueError, match="one process"):
        hardest(with_losses()).set_share(Share(0, 2), training=True)
