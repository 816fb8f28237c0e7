from keras_dawn.data import CutMix, MixUp

import pytest
import torch


def batch():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 20, 30, 3).clone()
    return images, torch.eye(4)


@pytest.mark.parametrize("entropy", [[0], [1, 2], [3, 4, 5]])
def test_mixup_blends_images_and_labels_with_one_weight(entropy):
    images, targets = MixUp(0.4)(*batch(), entropy)
    weight = targets[0, 0]
    assert 0 <= weight <= 1
    assert torch.allclose(targets, weight * torch.eye(4) + (1 - weight) * torch.eye(4).roll(1, 0))
    expected = weight * torch.arange(4.0) + (1 - weight) * torch.arange(4.0).roll(1)
    assert torch.allclose(images, expected[:, None, None, None].expand_as(images))


def test_cutmix_labels_are_the_fraction_of_pixels_that_stayed():
    for number in range(30):
        images, targets = CutMix(1.0)(*batch(), [number])
        for index in range(4):
            stayed = (images[index, ..., 0] == index).float().mean()
            assert targets[index, index] == pytest.approx(float(stayed), abs=1e-6)
            assert targets[index].sum() == pytest.approx(1.0)
            assert set(images[index].unique().tolist()) <= {float(index), float((index - 1) % 4)}


def test_weights_follow_the_beta_distribution():
    weights = torch.stack([MixUp(0.2)(*batch(), [n])[1][0, 0] for n in range(2000)])
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(weights.var()) == pytest.approx(0.25 / (2 * 0.2 + 1), abs=0.01)


def test_alpha_must_be_positive():
    for kind in (MixUp, CutMix):
        with pytest.raises(ValueError, match="above 0"):
            kind(0.0)
