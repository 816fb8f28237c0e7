"""What a resumed training says of its model is what the unbroken one says."""

import keras_dawn
from keras_dawn import ResumeTraining

import keras
import numpy as np
import pytest

from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process


class Net(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.one, self.other = keras.layers.Dense(8, "relu"), keras.layers.Dense(1)

    def call(self, x):
        return self.other(self.one(x))


class OwnStep(Net):
    def train_step(self, data):
        x, y = data
        loss = keras.ops.mean((self(x, training=True) - y) ** 2)
        self.zero_grad()
        loss.backward()
        weights = self.trainable_weights
        self.optimizer.apply([v.value.grad for v in weights], weights)
        return {"loss": loss}


@pytest.mark.parametrize("kind", [Net, OwnStep])
def test_a_training_resumed_within_an_epoch_says_what_is_native(kind, tmp_path, capfd):
    x, y = np.random.rand(64, 4).astype("float32"), np.ones((64, 1), "float32")

    def said(cut):
        as_another_process(0)
        model = kind()
        model.compile("adam", "mse")
        keras_dawn.accelerate(model)
        callbacks = [ResumeTraining(tmp_path, every_steps=1), Cut(cut)]
        try:
            model.fit(x, y, 16, epochs=2, verbose=2, callbacks=callbacks)
        except RuntimeError:
            assert cut is not None
        lines = capfd.readouterr().err.splitlines()
        return [line for line in lines if line.startswith("keras_dawn: net:")]

    first, resumed = said(3), said(None)
    assert first == resumed and "2 layers native" in first[0]
