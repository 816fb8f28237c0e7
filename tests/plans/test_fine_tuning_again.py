"""`fine_tune` called again, and what it prints and takes."""

import keras_dawn
from keras_dawn import OneCycle, fine_tune

import keras
import numpy as np
import pytest
import torch

from tests.plans.test_fine_tuning import GROUPS, Watch, arrays, model


@pytest.mark.parametrize("stopped", [False, True])
def test_called_again_it_begins_from_the_compiled_settings(stopped):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    found, (x, y) = model(), arrays()
    keras_dawn.accelerate(found)
    settings = {"y": y, "epochs": 1, "batch_size": 8, "groups": GROUPS, "verbose": 0}
    fine_tune(model(), x, callbacks=[expected := Watch()], **settings)
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            fine_tune(found, x, callbacks=[Stop()], **settings)
    else:
        fine_tune(found, x, **settings)
    fine_tune(found, x, callbacks=[watch := Watch()], **settings)
    assert watch.peaks == pytest.approx(expected.peaks)
    assert watch.rates == expected.rates
    # A rate that was set in between is the user's.
    found.optimizer.learning_rate = 1e-3
    fine_tune(found, x, callbacks=[watch := Watch()], **settings)
    assert watch.peaks == pytest.approx([peak / 10 for peak in expected.peaks])
    assert found.optimizer.get_config()["weight_decay"] == pytest.approx(0.004)


def test_a_rate_that_a_callback_has_left_near_nothing_is_warned_of():
    found, (x, y) = model(), arrays()
    settings = {"y": y, "epochs": 1, "batch_size": 8, "verbose": 0}
    fine_tune(found, x, groups=GROUPS, **settings)
    found.fit(x, callbacks=[OneCycle(0.01)], **settings)  # which puts the rate back
    fine_tune(found, x, groups=GROUPS, **settings)
    found.fit(x, callbacks=[keras.callbacks.LearningRateScheduler(lambda _: 1e-6)], **settings)
    with pytest.warns(UserWarning, match=r"is 1e-06, .* compiled with 0.01\. .* give `max_lr`"):
        fine_tune(found, x, groups=GROUPS, **settings)


def test_a_rate_that_is_given_is_not_warned_of():
    found, (x, y) = model(), arrays()
    settings = {"y": y, "epochs": 1, "batch_size": 8, "verbose": 0, "groups": GROUPS}
    fine_tune(found, x, **settings)
    found.optimizer.learning_rate = 1e-6
    fine_tune(found, x, max_lr=0.01, **settings)


def test_every_epoch_has_its_line(capsys):
    x, y = arrays()
    fine_tune(model(), x, y=y, epochs=2, groups=GROUPS, verbose=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    assert lines == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]


def test_one_callback_need_not_be_a_list():
    seen = keras.callbacks.History()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    fine_tune(model, np.ones((8, 4)), y=np.ones((8, 1)), epochs=1, verbose=0, callbacks=seen)
    assert seen.epoch == [0, 1] and len(seen.history["loss"]) == 2


def test_a_loader_shuffles_itself_and_keras_does_not_warn_of_its_own_shuffling():
    points = torch.utils.data.TensorDataset(*map(torch.as_tensor, arrays()))
    loader = torch.utils.data.DataLoader(points, 8)
    history = fine_tune(model(), loader, epochs=1, groups=GROUPS, verbose=0)
    assert len(history.history["loss"]) == 2
