import keras_dawn
from keras_dawn.data import Balanced, DeviceImages, InOrder, MixUp, OneHot, Shuffled, class_weights
from keras_dawn.distributed.sharding import Share

import keras
import numpy as np
import pytest
import torch

LABELS = np.array([0] * 20 + [1] * 6 + [2] * 4)
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
WEIGHTS = {0: 1.0, 1: 2.0, 2: 5.0}


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_sample_weight

    np.testing.assert_allclose(class_weights(LABELS), compute_sample_weight("balanced", LABELS))
    gaps = np.array([0, 7, 7, 3, 7])
    np.testing.assert_allclose(class_weights(gaps), compute_sample_weight("balanced", gaps))
    assert class_weights([0, 1, 5], {5: 3.0}).tolist() == [1, 1, 3]


def model():
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.1), loss, weighted_metrics=["accuracy"])
    return made


def trained(data, accelerated=True, **arguments):
    made = keras_dawn.accelerate(model()) if accelerated else model()
    logs = made.fit(data, epochs=2, shuffle=False, verbose=0, **arguments).history
    return logs, made.get_weights()


def arrays():
    """The same training in plain Keras, on arrays."""
    images = PIXELS.astype("float32") / 255
    made = model()
    logs = made.fit(
        images, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0, class_weight=WEIGHTS
    ).history
    return logs, made.get_weights()


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_samplers_weights_are_those_of_class_weight_in_keras(accelerated):
    sampler = InOrder(weights=class_weights(LABELS, WEIGHTS))
    logs, weights = trained(DeviceImages(PIXELS, LABELS, 8, sampler=sampler), accelerated)
    expected, expected_weights = arrays()
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-4)
    for found, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(found, other, atol=1e-5)


def test_class_weight_of_fit_works_on_this_packages_data_and_ends_with_the_fit():
    data = DeviceImages(PIXELS, LABELS, 8)
    logs, weights = trained(data, class_weight=WEIGHTS)
    expected, expected_weights = arrays()
    np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-4)
    np.testing.assert_allclose(weights[0], expected_weights[0], atol=1e-5)
    assert data.sampler.weights is None
    data.sampler.weights = torch.ones(30)
    with pytest.raises(ValueError, match="at the same time"):
        trained(data, class_weight=WEIGHTS)


def test_class_weight_does_not_weigh_what_a_fit_validates_on():
    train = DeviceImages(PIXELS, LABELS, 8)
    held_out = DeviceImages(PIXELS[::2], LABELS[::2], 8, sampler=train.sampler)
    made = keras_dawn.accelerate(model())
    for data in (train, held_out):
        logs = made.fit(train, validation_data=data, class_weight=WEIGHTS, verbose=0).history
        expected = made.evaluate(data, verbose=0, return_dict=True)
        assert logs["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-5)


def test_ranks_have_the_weights_of_their_images():
    weights = np.arange(30, dtype=np.float32)
    for rank in range(3):
        data = DeviceImages(PIXELS, LABELS, 10, sampler=Shuffled(3, weights))
        data.set_share(Share(rank, 3), training=True)
        found = torch.cat([w for _, _, w in data])
        order = Shuffled(3).order(30, 0)
        expected = torch.cat([order[s : s + 10][rank::3] for s in (0, 10, 20)])
        assert found.tolist() == expected.tolist()


def test_what_mixes_images_mixes_their_weights():
    weights = np.array([1.0, 2, 3, 4], np.float32)
    data = DeviceImages(
        PIXELS[:4], np.arange(4), 4, transforms=[OneHot(4), MixUp(1.0)],
        sampler=InOrder(weights=weights),
    )  # fmt: skip
    ((_, labels, mixed),) = data
    assert labels.shape == (4, 4)  # with labels 0 to 3 they say what each image is made of
    torch.testing.assert_close(mixed, labels @ torch.tensor(weights))


def test_classes_are_served_equally_often_and_images_in_turn():
    sampler = Balanced(LABELS, seed=5)
    seen = np.zeros(30, int)
    for epoch in range(6):
        places = (sampler.order(30, epoch) % 30).numpy()
        assert np.bincount(LABELS[places]).tolist() == [10, 10, 10]
        seen += np.bincount(places, minlength=30)
    for label in range(3):
        of_class = seen[label == LABELS]
        assert of_class.max() - of_class.min() <= 1


def test_what_cannot_be_shared_equally_goes_round():
    sampler = Balanced(LABELS, per_epoch=8)
    counts = [np.bincount(LABELS[(sampler.order(30, e) % 30).numpy()]) for e in range(6)]
    assert all(max(c) - min(c) == 1 for c in counts)
    assert np.sum(counts, 0).tolist() == [16, 16, 16]


def test_the_balanced_order_depends_on_seed_and_epoch_alone():
    orders = [Balanced(LABELS, seed=s).order(30, e).tolist() for s, e in ((0, 0), (0, 1), (1, 0))]
    assert Balanced(LABELS).order(30, 1).tolist() == orders[1]
    assert len(set(map(tuple, orders))) == 3


def test_an_image_that_is_served_twice_is_cropped_twice():
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    data = DeviceImages(
        PIXELS[:8], labels, 16, sampler=Balanced(labels, per_epoch=16),
        transforms=[keras_dawn.data.PadCrop(4)],
    )  # fmt: skip
    ((images, labels),) = data
    rare = images[labels == 1]
    assert len(rare) == 8 and len(torch.unique(rare.flatten(1), dim=0)) >= 7


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: InOrder(weights=[[1.0]]), "one for each image"),
        (lambda: InOrder(weights=[-1.0]), "from 0 up"),
        (lambda: DeviceImages(PIXELS, LABELS, 8, sampler=InOrder(weights=[1.0])), "30 images"),
        (lambda: DeviceImages(PIXELS, LABELS, 8, sampler=Balanced([0, 1])), "30 images"),
        (lambda: Balanced(LABELS, per_epoch=2), "number of classes"),
        (lambda: Balanced(np.eye(3)), "class numbers"),
        (lambda: class_weights(LABELS, [1, 2, 3]), "a dict by class"),
        (lambda: class_weights(LABELS, {"beagle": 2.0}), "class numbers as keys, got 'beagle'"),
    ],
)
def test_bad_settings_say_what_is_expected(make, words):
    with pytest.raises(ValueError, match=words):
        make()
