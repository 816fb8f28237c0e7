"""What a range test is given that it cannot take is named before anything is trained."""

from keras_dawn import find_learning_rate
from keras_dawn.schedules import Sweep, try_values

import keras
import numpy as np
import pytest

X, Y = np.ones((64, 4), "float32"), np.zeros((64, 1), "float32")


def build(kind=keras.Sequential):
    model = kind([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_lr": 1e-5}, "no argument `min_lr`: a range test takes `start`, `end`"),
        ({"num_iter": 3}, "no argument `num_iter`.*`steps`.*Sequential.fit"),
        ({"epochs": 2}, "`epochs` is not for a range test: its `steps`"),
        ({"callbacks": [keras.callbacks.TerminateOnNaN()]}, "takes no `callbacks`"),
        ({"start": "a"}, "`start` must be a number, got 'a'"),
        ({"start": float("nan")}, "needs 0 < start < end"),
        ({"end": float("inf")}, "needs 0 < start < end"),
        ({"steps": 10.5}, "`steps` must be a whole number from 2 up, got 10.5"),
        ({"validation_data": 3}, r"one batch \(inputs, targets\).*is a int"),
        ({"validation_data": X}, r"one batch \(inputs, targets\).*is a ndarray"),
    ],
)
def test_it_is_refused(given, said):
    model = build()
    before = model.get_weights()
    with pytest.raises(ValueError, match=said):
        find_learning_rate(model, X, Y, **{"steps": 10, **given})
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("settings", [{"smoothing": "a"}, {"stop_factor": "b"}])
def test_a_sweep_of_what_is_no_number_is_refused(settings):
    with pytest.raises(ValueError, match="must be a number"):
        Sweep(**settings)
    assert Sweep(stop_factor=None).stop_factor is None


def test_what_fit_takes_is_taken(capsys):
    model = build()
    plain = find_learning_rate(model, X, Y, steps=10, batch_size=16, shuffle=False)
    assert capsys.readouterr().out == ""
    given = {"verbose": 2, "callbacks": None, "sample_weight": np.ones(64)}
    again = find_learning_rate(model, X, Y, steps=10, batch_size=16, shuffle=False, **given)
    assert again.losses == plain.losses and "Epoch 1/10" in capsys.readouterr().out
    assert find_learning_rate(model, X, Y, steps=10, callbacks=[], verbose=0).losses


def test_a_fit_of_ones_own_may_take_more():
    class Own(keras.Sequential):
        def fit(self, *args, extra=0, **kwargs):
            self.extra = extra
            return super().fit(*args, **kwargs)

    model = build(Own)
    try_values(Sweep(steps=4), model, X, Y, extra=3)
    assert model.extra == 3
