"""A data folder that vanishes in the middle of a training."""

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.data.photos import ImageFolder, ResizingImages

import keras
import pytest
import torch


class Unplug(keras.callbacks.Callback):
    def __init__(self, folder, at):
        super().__init__()
        self.folder, self.at = folder, at

    def on_train_batch_end(self, batch, logs=None):
        self.at -= 1
        if self.at == 0:
            self.folder.rename(self.folder.with_name("unplugged"))


def train(folder, checkpoints, *callbacks):
    keras.utils.set_random_seed(3)
    images = ResizingImages(ImageFolder(folder), 4, image_size=16, threads=1)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    model.compile(
        keras_dawn.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    keras_dawn.accelerate(model)
    resume = ResumeTraining(checkpoints, every_steps=1)
    model.fit(images, epochs=2, shuffle=False, verbose=0, callbacks=[*callbacks, resume])
    return [v.value.detach().clone() for v in model.variables]


def test_it_is_named_and_the_training_goes_on_when_it_is_back(photo_folder, tmp_path):
    folder = photo_folder / "train"
    whole = train(folder, tmp_path / "whole")
    with pytest.raises(OSError, match=r"cannot be read: .*class\d.*Bring the data back"):
        train(folder, tmp_path / "cut", Unplug(folder, 4))
    assert len(list((tmp_path / "cut").glob("*.pt"))) == 2
    folder.with_name("unplugged").rename(folder)
    again = train(folder, tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True))
