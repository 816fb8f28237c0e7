"""What the user keeps in a module of their own, beside the script, goes on."""

import importlib.util
import sys

from keras_dawn.foundation.held_code import names_of, put_name, value_of

import keras
import pytest

from tests.resume.lives import X, Y, ends_the_same

MODULE = """
import numpy as np

count = 0
random = np.random.default_rng(5)


class Settings:
    strength = 0.0


settings = Settings()


def jittered(images):
    return images + settings.strength * random.normal(size=images.shape).astype("float32")
"""
state = None  # the module, as if it had been imported above


@pytest.fixture(autouse=True)
def fresh(tmp_path):
    """A function that imports the module anew, as another process does."""
    path = tmp_path / "module_of_the_user.py"
    path.write_text(MODULE, encoding="utf-8")

    def load():
        global state
        spec = importlib.util.spec_from_file_location(path.stem, path)
        sys.modules[path.stem] = state = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(state)

    load()
    yield load
    del sys.modules[path.stem]


class Counts(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        state.count += 1
        self.model.optimizer.learning_rate = 0.1 / (1 + state.count)


class Jittered(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, number):
        chosen = slice(8 * number, 8 * number + 8)
        return state.jittered(X[chosen]), Y[chosen]

    def on_epoch_end(self):
        state.settings.strength += 0.1


def test_a_module_that_a_callback_counts_in_goes_on(tmp_path, fresh):
    def callbacks():
        fresh()
        return [Counts()]

    ends_the_same(tmp_path, cuts=(8, 4), data=lambda: (X, Y), callbacks=callbacks)
    assert state.count == 20


def test_a_module_that_data_draws_from_goes_on(tmp_path, fresh):
    def data():
        fresh()
        return Jittered(), None

    ends_the_same(tmp_path, cuts=(10, 4), data=data)


def test_names_in_modules_are_those_that_the_code_uses():
    module = state

    def uses():
        module.count += 1
        return module.jittered, keras.ops.add

    assert names_of(uses) == ["module.count", "module.jittered"]
    put_name(uses, "module.count", 7)
    assert state.count == value_of(uses, "module.count") == 7
