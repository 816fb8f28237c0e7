"""Data of another size than its phase plans is refused; what was validated on is said."""

from keras_dawn import Phase, TrainingPlan, data, fit_plan
from keras_dawn.plans import Validation

import keras
import numpy as np
import pytest
import torch

from tests.plans.test_one_training import PLAN, Batches, Y, arrays, build, images, pixels

SMALL = Phase(1, 8, 8, 0.1)


def loader(size, batch):
    rows = torch.utils.data.TensorDataset(torch.tensor(pixels(size)) / 255, torch.tensor(Y))
    return torch.utils.data.DataLoader(rows, batch)


class Whole(torch.utils.data.IterableDataset):
    """Gives whole batches, so that nobody but a look at them knows their size."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def __iter__(self):
        for size in self.sizes:
            yield torch.rand(size, 8, 8, 3), torch.zeros(size, dtype=torch.int64)


def whole(*sizes):
    return torch.utils.data.DataLoader(Whole(sizes), batch_size=None)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda phase: data.DeviceImages(pixels(9), Y, 8), "images of 9 × 9 px.*8 px here"),
        (lambda phase: loader(9, 8), "images of 9 × 9 px"),
        (lambda phase: (pixels(9) / 255, Y), "images of 9 × 9 px"),
        (lambda phase: Batches(Phase(1, 9, 8, 0.1)), "Make it with phase.image_size"),
        (lambda phase: data.DeviceImages(pixels(8), Y, 4), "batches of 4, and the plan has 8"),
        (lambda phase: loader(8, 16), "batches of 16, and the plan has 8"),
        (lambda phase: Batches(Phase(1, 8, 4, 0.1)), "batches of 4, and the plan has 8"),
        (lambda phase: Batches(Phase(1, 8, 10, 0.1)), "Make it with phase.batch_size"),
        (lambda phase: whole(8, 9), None),  # later batches are the user's affair
        (lambda phase: whole(4, 4), "batches of 4, and the plan has 8"),
        (lambda phase: whole(4), None),  # all there is
        (lambda phase: whole(8, 3), None),
    ],
)
@pytest.mark.parametrize("accelerated", [True, False])
def test_data_of_another_size_than_its_phase_is_refused(make, said, accelerated):
    model, plan = build(accelerated), [Phase(2, 8, 8, 0.1)]
    if said is None:
        assert fit_plan(model, plan, make, verbose=0).epoch == [0, 1]
        return
    with pytest.raises(ValueError, match=said):
        fit_plan(model, plan, make, verbose=0)


def test_a_later_phase_is_looked_at_too():
    with pytest.raises(ValueError, match="images of 8 × 8 px, and the plan has 12 px"):
        fit_plan(build(), PLAN, lambda phase: (pixels(8) / 255, Y), verbose=0)


def test_images_with_channels_first_are_read_so():
    model = keras.Sequential([keras.Input((3, None, None)), keras.layers.GlobalMaxPooling2D(
        data_format="channels_first"), keras.layers.Dense(3)])  # fmt: skip
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    turned = np.transpose(pixels(8) / 255, (0, 3, 1, 2)), Y
    assert fit_plan(model, SMALL, lambda phase: turned, verbose=0).epoch == [0]
    with pytest.raises(ValueError, match="the plan has 9 px"):
        fit_plan(model, Phase(1, 9, 8, 0.1), lambda phase: turned, verbose=0)


def test_images_to_validate_on_of_another_size_are_refused():
    with pytest.raises(ValueError, match="validation data has images of 10 × 10 px.*validation=10"):
        fit_plan(
            build(), SMALL, images,
            validation_data=lambda phase: data.DeviceImages(pixels(10), Y, 8), verbose=0,
        )  # fmt: skip


def test_rectangles_to_validate_on_have_their_own_sizes():
    phase = Phase(1, 8, 8, 0.1, validation=Validation(16, rectangular=True))
    validation = data.DeviceImages(pixels(10), Y, 8)
    assert fit_plan(
        build(), phase, images, validation_data=lambda phase: validation, verbose=0
    ).epoch == [0]


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ((pixels(10) / 255, Y), 10),
        (data.DeviceImages(pixels(11), Y, 8), 11),
        (data.DeviceImages(pixels(11), Y, 8, transforms=[data.Resize(9)]), 9),
        (loader(13, 8), None),  # it is not asked
    ],
)
def test_the_history_has_the_size_that_was_validated_on(validation, expected):
    plan = TrainingPlan([SMALL, Phase(1, 12, 8, 0.1)])
    made = fit_plan(build(), plan, images, validation_data=validation, verbose=0).history
    assert made["image_size"] == [8, 12]
    assert made.get("val_size") == (expected and [expected] * 2)


def test_arrays_fit():
    assert fit_plan(build(), PLAN, arrays, verbose=0).epoch == [0, 1, 2, 3, 4]
