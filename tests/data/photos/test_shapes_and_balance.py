"""Sizes, channels and crops that photos are served in, and classes of unequal size."""

from keras_dawn.data import Balanced, Grayscale, InOrder, Normalize
from keras_dawn.data.photos import (
    CenterCrop,
    ResizingImages,
    ValidationImages,
)

import numpy as np
import pytest
import torch


def test_images_need_not_be_square(train):
    data = ResizingImages(train, 8, image_size={0: (16, 24), 1: 32})
    assert [tuple(next(iter(data))[0].shape[1:3]) for e in (0, 1) if not data.set_epoch(e)] == [
        (16, 24), (32, 32)
    ]  # fmt: skip
    images, _ = next(iter(ValidationImages(train, 8, image_size=(24, 16))))
    assert images.shape == (8, 24, 16, 3)
    with pytest.raises(ValueError, match="or \\(height, width\\)"):
        ResizingImages(train, 8, image_size=(16, 24, 3))
    with pytest.raises(ValueError, match="short side"):
        ValidationImages(train, 8, image_size=(24, 16), rectangular=True)


def test_training_on_the_middles_of_photos_is_what_validation_sees(train):
    transforms = [CenterCrop(1.14)]
    data = ResizingImages(train, 8, image_size=16, transforms=transforms, sampler=InOrder())
    val = ValidationImages(train, 8, image_size=16, transforms=transforms)
    for (found, _), (expected, _) in zip(data, val, strict=True):
        assert torch.equal(found, expected)


def test_photos_can_have_one_channel(train):
    normalize = Normalize(0.5, 0.25)
    grey, _ = next(
        iter(ValidationImages(train, 4, image_size=16, transforms=[Grayscale(), normalize]))
    )
    rgb, _ = next(iter(ValidationImages(train, 4, image_size=16, transforms=[Normalize()])))
    expected = (rgb @ torch.tensor([0.2989, 0.587, 0.114]) - 0.5) / 0.25
    torch.testing.assert_close(grey[..., 0], expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="a Normalize of their own"):
        ValidationImages(train, 4, image_size=16, transforms=[Grayscale()])


def test_a_banner_does_not_stretch_its_batch(train):
    class Banner:
        class_names, labels = ("a",), np.zeros(1, int)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            from pictures import jpeg

            return jpeg(np.zeros((4, 4000, 3), np.uint8)), 0

    ((images, _),) = ValidationImages(Banner(), 1, image_size=16, rectangular=True)
    assert images.shape == (1, 16, 64, 3)


def test_photos_are_balanced_and_weighed(train):
    rare = train.subset([*range(8), 8, 16])
    weights = np.arange(10.0)
    data = ResizingImages(
        rare, 12, image_size=16, transforms=[],
        sampler=Balanced(rare.labels, per_epoch=12, weights=weights),
    )  # fmt: skip
    ((images, labels, found),) = data
    assert labels.bincount().tolist() == [4, 4, 4]
    assert sorted(found.tolist())[-4:] == [9, 9, 9, 9] and found[labels == 1].tolist() == [8] * 4
    assert len(torch.unique(images[labels == 2].flatten(1), dim=0)) == 4
