"""Loops around an accelerated model that are not Keras's `fit` with the callbacks it was given."""

import keras
import pytest
import torch

from tests.native.test_followed import FIT, X, Y, at, follows, network


def sloped(model, number):
    model.get_layer("relu").negative_slope = 0.2 * (number % 3)


class Looped(keras.Sequential):
    """Hands on callbacks of its own, and none that it was given."""

    def fit(self, x, y):
        return super().fit(x, y, **FIT, callbacks=[at("on_epoch_begin", sloped)])

    def evaluate(self, x, y):
        begin = at("on_test_batch_begin", sloped)
        return super().evaluate(x, y, batch_size=5, verbose=0, callbacks=[begin])

    def predict(self, x):
        begin = at("on_predict_batch_begin", sloped)
        return super().predict(x, batch_size=5, verbose=0, callbacks=[begin])


def looped():
    model = Looped(network().layers)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def test_a_class_whose_methods_bring_their_own_callbacks(true_float64):
    follows(lambda m: [m.fit(X, Y).history, m.evaluate(X, Y), m.predict(X)], looped)


def test_the_fit_of_the_class_called_by_itself(true_float64):
    def use(model):
        seen = []

        class Look(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.append(float(logs["loss"]))
                gradient = model.get_layer("head").kernel.value.grad
                seen.append(gradient.cpu().numpy().copy())
                sloped(model, batch)

        history = keras.Model.fit(model, X, Y, **FIT, callbacks=[Look()]).history
        return history, seen

    follows(use)


@pytest.mark.parametrize("after_a_fit", [True, False])
def test_functions_called_by_hand(after_a_fit, true_float64):
    batch = torch.from_numpy(X[:5]), torch.from_numpy(Y[:5])

    def use(model):
        if after_a_fit:
            model.fit(X, Y, **FIT)
        model.make_train_function()
        model.make_test_function()
        model.make_predict_function()
        found = []
        for number in range(5):
            sloped(model, number)
            found.append(_numbers(model.train_function([batch])))
            sloped(model, number + 1)
            found.append(_numbers(model.test_function([batch])))
            found.append(model.predict_function([batch[:1]]).cpu().numpy())
        return found

    follows(use)


def _numbers(logs):
    return {name: float(value) for name, value in logs.items()}
