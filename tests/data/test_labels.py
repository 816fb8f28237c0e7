import keras_dawn
from keras_dawn import data
from keras_dawn.distributed.sharding import Share

import keras
import numpy as np
import pytest
import torch


def images(**arguments):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    return data.DeviceImages(pixels, np.arange(20) % 3, 8, **arguments)


def test_without_mixing_the_images_are_the_same_and_labels_one_hot():
    plain = images(sampler=data.Shuffled())
    soft = images(sampler=data.Shuffled(), transforms=[data.OneHot(3)])
    assert len(soft) == len(plain) == 3
    for _ in range(2):  # two epochs, in the same order
        for (x, y), (soft_x, soft_y) in zip(plain, soft, strict=True):
            assert torch.equal(x, soft_x)
            assert torch.equal(soft_y, torch.eye(3)[y])
    assert soft.epoch == 2


def test_mixing_depends_on_seed_and_epoch_alone():
    soft = images(transforms=[data.OneHot(3), data.MixUp(0.5)])
    first = [labels for _, labels in soft]
    second = [labels for _, labels in soft]
    soft.set_epoch(0)
    again = [labels for _, labels in soft]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.allclose(y.sum(-1), torch.ones(len(y))) for y in first)


def test_batches_epochs_seeds_and_ranks_are_mixed_by_draws_of_their_own():
    seen = []

    class Mix(data.BatchTransform):
        def __call__(self, images, labels, entropy):
            seen.append(float(np.random.default_rng(entropy).random()))
            return images, labels

    for seed in (0, 7):
        for rank in (0, 1):
            soft = images(sampler=data.InOrder(seed), transforms=[Mix(), Mix()])
            soft.set_share(Share(rank, 2), training=True)
            for _ in range(2):  # epochs
                list(soft)
    assert len(seen) == len(set(seen)) == 2 * 2 * 2 * 3 * 2  # two in each list


@pytest.mark.parametrize("accelerated", [False, True])
def test_smoothed_labels_train_as_by_hand(accelerated):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    model.compile(
        keras_dawn.SGD(0.1, momentum=0.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        metrics=["accuracy"],
    )
    if accelerated:
        keras_dawn.accelerate(model)
    kernel = model.layers[-1].kernel.value.detach().clone().requires_grad_()
    bias = torch.zeros(3, requires_grad=True)
    model.fit(images(transforms=[data.OneHot(3)]), epochs=1, verbose=0, shuffle=False)
    for x, y in images():
        loss = torch.nn.functional.cross_entropy(
            x.flatten(1) @ kernel + bias, y, label_smoothing=0.2
        )
        for parameter, gradient in zip(
            (kernel, bias), torch.autograd.grad(loss, (kernel, bias)), strict=True
        ):
            parameter.data -= 0.1 * gradient
    torch.testing.assert_close(model.layers[-1].kernel.value.detach(), kernel.detach())


def test_too_few_classes_are_an_error():
    with pytest.raises(ValueError, match="above every label"):
        images(transforms=[data.OneHot(2)])
    with pytest.raises(ValueError, match="whole number from 1 up"):
        data.OneHot(0)


def test_labels_that_the_loss_does_not_take_are_refused_before_training():
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    keras_dawn.accelerate(model)
    with pytest.raises(ValueError, match="takes class numbers, and DeviceImages has labels with a"):
        model.fit(images(transforms=[data.OneHot(3), data.MixUp(0.5)]), verbose=0)
    model.fit(images(), verbose=0)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match=r"put OneHot\(classes\) into its transforms"):
        model.fit(images(), verbose=0)
    model.fit(images(transforms=[data.OneHot(3)]), verbose=0)
