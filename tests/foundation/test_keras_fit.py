"""What resumption expects of Keras's `fit` and callbacks. A failure here names what moved."""

import keras_dawn
from keras_dawn.foundation import keras_callbacks, keras_fit, random_state

import keras
import numpy as np
import pytest
import torch

X, Y = np.arange(40.0, dtype="float32").reshape(20, 2), np.zeros((20, 1), "float32")


def fit(look, *arguments, accelerated=False, **settings):
    """What a callback finds at the beginning of a `fit`."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    if accelerated:
        keras_dawn.accelerate(model)
    found = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.append(look(self))

    model.fit(*arguments, verbose=0, callbacks=[Look()], **settings)
    return found[0]


class Dataset(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, place):
        return X[:4], Y[:4]


@pytest.mark.parametrize("accelerated", [True, False])
def test_callbacks_and_data_of_a_fit_are_found(accelerated):
    def look(callback):
        callbacks = keras_fit.callbacks_of_fit(callback)
        iterator = keras_fit.epoch_iterator(callback.model)
        return callback in callbacks, keras_fit.size_of_data(iterator), iterator.num_batches

    found = fit(look, X, Y, batch_size=4, accelerated=accelerated)
    assert found == (True, {"batch_size": 4, "images": 20}, 5)
    assert keras_fit.epoch_iterator(None) is None
    assert keras_fit.callbacks_of_fit(keras.callbacks.Callback()) == []


def test_kinds_of_data_are_told_apart():
    def look(callback):
        iterator = keras_fit.epoch_iterator(callback.model)
        return keras_fit.data_of(iterator)[0], keras_fit.has_queue(iterator)

    rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    assert fit(look, X, Y) == ("arrays", False)
    loader = torch.utils.data.DataLoader(rows, 4)
    assert fit(look, loader, shuffle=False) == ("loader", False)
    assert fit(look, Dataset()) == ("dataset", False)
    assert fit(look, Dataset(workers=2)) == ("dataset", True)
    queue = keras_fit.Loader(Dataset(workers=2), None, 4, shuffle=False)._adapter.enqueuer
    assert keras_fit.is_queue(queue) and not keras_fit.is_queue(loader)
    batches = ((X[:4], Y[:4]) for _ in range(9))
    assert fit(look, batches, steps_per_epoch=2, shuffle=False) == ("stream", False)


def test_a_fit_goes_through_something_else_and_its_data_stays_the_loader():
    rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader, gone_through = torch.utils.data.DataLoader(rows, 4), []

    class Batches:
        def __iter__(self):
            for batch in loader:
                gone_through.append(len(batch[0]))
                yield batch

    def look(callback):
        iterator = keras_fit.epoch_iterator(callback.model)
        keras_fit.go_through_instead(iterator, Batches())
        keras_fit.change_length(iterator, keras_fit.callback_list(callback), loader)
        return keras_fit.data_of(iterator)[1] is loader

    assert fit(look, loader, shuffle=False, epochs=2) and gone_through == [4] * 10


def test_keras_callbacks_keep_what_they_find_where_it_is_looked_for():
    monitors = [
        keras.callbacks.EarlyStopping(),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.ModelCheckpoint("m.weights.h5", save_weights_only=True),
        keras.callbacks.SwapEMAWeights(),
        keras.callbacks.CSVLogger("log.csv"),
    ]
    monitors[0].on_train_begin()
    for callback in monitors:
        names = keras_callbacks.KEPT[type(callback)]
        assert set(names) <= set(vars(callback)), type(callback)


def test_all_random_numbers_come_back_as_they_were():
    def draw():
        import random

        keras_draw = keras.ops.convert_to_numpy(keras.random.uniform((2,)))
        return [random.random(), np.random.rand(), float(torch.rand(())), *keras_draw]

    draw()
    state = random_state.random_state()
    first = draw()
    draw()
    random_state.set_random_state(state)
    assert draw() == first
