"""What two ranks keep beside the weights goes on; what both refuse is said once."""

import sys

import keras_dawn
from keras_dawn import ResumeTraining

import keras
import pytest
import torch

from tests.processes import run_ranks
from tests.resume import elastic
from tests.resume.lives import X
from tests.resume.test_model_attributes import AddsUp
from tests.resume.test_resume import Cut


class Measures(keras.callbacks.Callback):
    """Sets the rate by a metric of its own, which each rank feeds with what it saw."""

    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean()

    def on_train_batch_end(self, batch, logs=None):
        self.mean.update_state(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        rank = keras_dawn.distribute().rank
        self.seen = [float(self.mean.result()), float(self.mean.count), rank]


def gradients_and_metrics(folder, out, cut):
    rank = keras_dawn.distribute().rank
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    outputs = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(inputs))
    model = AddsUp(inputs, outputs)
    model.compile(keras_dawn.SGD(0.05, momentum=0.9))
    keras_dawn.accelerate(model)
    measures, resume = Measures(), ResumeTraining(folder, every_steps=1)
    targets = X.sum(1, keepdims=True)
    callbacks = [measures, Cut(cut), resume]
    model.fit(X, targets, batch_size=8, epochs=4, verbose=0, callbacks=callbacks)
    weights = [v.value.detach() for v in model.variables]
    torch.save({"weights": weights, "done": model.done, "seen": measures.seen}, f"{out}-{rank}")


@pytest.mark.slow
@pytest.mark.parametrize("cut", [4, 8, 15])  # with gradients of one or two steps, and of none
def test_gradients_added_up_by_hand_and_held_metrics_go_on_on_two_ranks(cut, tmp_path):
    for folder, at in (("whole", None), ("cut", cut), ("cut", None)):
        ranks = run_ranks(2, gradients_and_metrics, tmp_path / folder, tmp_path / folder[0], at)
        assert ranks.returncodes == [0, 0] or "cut off" in ranks.printed, ranks.printed[-4000:]
    for rank in range(2):
        ours, theirs = (torch.load(tmp_path / f"{name}-{rank}") for name in "cw")
        assert all(map(torch.equal, ours["weights"], theirs["weights"]))
        assert ours["done"] == theirs["done"] == 20
        assert ours["seen"] == theirs["seen"] and ours["seen"][1] == 20


def refused(*arguments):
    try:
        elastic.main(*arguments)
    except ValueError:  # as the interpreter does with what nobody catches
        sys.excepthook(*sys.exc_info())
        raise SystemExit(1) from None


@pytest.mark.slow
def test_an_order_that_all_ranks_refuse_is_said_once(tmp_path):
    arguments = "arrays", tmp_path / "saved", tmp_path / "out.pt"
    assert "cut off" in run_ranks(1, elastic.main, *arguments, 6).printed
    done = run_ranks(2, refused, *arguments)
    assert 0 not in done.returncodes
    assert done.printed.count("would train in another order") == 1, done.printed
    assert "rank 1: refused, as on rank 0." in done.printed
