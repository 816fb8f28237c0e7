"""Settings and code that the script has changed are named one by one, and nothing else is."""

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.resume import description

import keras
import numpy as np
import pytest
import torch

from tests.resume.lives import X, Y, life
from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process

K = keras.callbacks
TARGETS = X.sum(1, keepdims=True)
KEPT_ROUNDS = 2


class Loss(keras.losses.Loss):
    """One without `get_config`."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def call(self, targets, outputs):
        return keras.ops.mean(self.weight * keras.ops.square(targets - outputs), -1)


class Rounds(K.Callback):
    """Counts its steps in an attribute that is called as its argument is."""

    def __init__(self, steps=0):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps += KEPT_ROUNDS


def by_function(weight):
    rounds = [0]

    def loss(targets, outputs):
        rounds[0] += 1
        return keras.ops.mean(weight * keras.ops.square(targets - outputs), -1)

    return loss


def script(loss, optimizer, *, activation="tanh", patience=9, factor=0.5, rate=None, fast=False):
    """`(model, callbacks)` of a script, each with settings that a second one may change."""
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, activation), keras.layers.Dense(1)]
    )
    model.compile(optimizer, loss)
    callbacks = [
        K.EarlyStopping("loss", patience=patience, min_delta=0.001),
        K.ReduceLROnPlateau("loss", patience=9, factor=factor),
        Rounds(),
    ]
    callbacks += [K.LearningRateScheduler(rate)] if rate else []
    return keras_dawn.accelerate(model) if fast else model, callbacks


def lives(folder, first, second, cut=8):
    """Runs a script that is cut off, then another one in its folder; returns the latter's model."""
    for make, at in ((first, cut), (second, None)):
        as_another_process(1)
        model, callbacks = make()
        callbacks = [*callbacks, Cut(at), ResumeTraining(folder, every_steps=1)]
        try:
            model.fit(X, TARGETS, batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
        except RuntimeError as error:
            assert "cut off" in str(error)
    return model


def named(capsys):
    _, there, rest = capsys.readouterr().err.partition("takes up what has changed: ")
    return set(rest.splitlines()[0].removesuffix(".").split(", ")) if there else set()


def adamw(*exempt):
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_names=list(exempt))
    return optimizer


def test_settings_of_callbacks_closures_and_code_are_named(tmp_path, capsys):
    def first():
        return script(
            by_function(1.0), "sgd", activation=lambda x: keras.ops.tanh(x), rate=lambda e, r: 0.1
        )

    def second():
        return script(
            by_function(0.5),
            "sgd",
            activation=lambda x: keras.ops.relu(x),
            rate=lambda e, r: 0.01,
            patience=0,
            factor=0.1,
            fast=True,
        )

    lives(tmp_path, first, second)
    assert named(capsys) == {
        "patience of EarlyStopping 9 → 0",
        "factor of ReduceLROnPlateau 0.5 → 0.1",
        "the code of schedule of LearningRateScheduler",
        "the code of activation of layer dense",
        "weight of loss loss 1.0 → 0.5",
        "accelerate off → on",
    }


def test_a_loss_without_a_config_and_exemptions_from_decay_are_named(tmp_path, capsys):
    lives(
        tmp_path,
        lambda: script(Loss(1.0), adamw("bias")),
        lambda: script(Loss(0.5), adamw("kernel"), patience=8),
    )
    said = capsys.readouterr().err
    assert "weight of loss loss 1.0 → 0.5" in said and "patience of EarlyStopping 9 → 8" in said
    assert "weights without decay" in said and "dense/kernel" in said


def test_the_same_settings_and_code_are_named_nothing(tmp_path, capsys):
    def make():
        return script(
            by_function(1.0),
            adamw("bias"),
            activation=lambda x: keras.ops.tanh(x),
            rate=lambda e, r: 0.1,
            fast=True,
        )

    lives(tmp_path, make, make)
    said = capsys.readouterr().err
    assert "goes on at epoch 2, step 4 of 5" in said
    assert "takes up" not in said and " new: " not in said and "names are" not in said


def test_a_lambda_on_another_line_is_no_other_model(tmp_path, capsys):
    def make(function):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Lambda(function)])
        model.add(keras.layers.Dense(1))
        model.compile("sgd", "mse")
        return model, []

    def written(code, lines=0):  # in a file of a short name, so that Keras's copy is short too
        return lambda: make(eval(compile("\n" * lines + code, "f", "eval")))

    first = written("lambda x: 2 * x")
    lives(tmp_path / "moved", first, written("lambda x: 2 * x", lines=3))
    assert named(capsys) == set()
    lives(tmp_path / "changed", first, written("lambda x: 3 * x"))
    assert named(capsys) == {"the code of function of layer lambda"}


def test_what_a_checkpoint_puts_back_is_no_changed_setting(tmp_path, capsys):
    model, callbacks = script(by_function(1.0), "sgd")
    arguments = {"batch_size": 8, "epochs": 3, "verbose": 0}
    with pytest.raises(RuntimeError, match="cut off"):  # and tried again, in a notebook
        model.fit(X, TARGETS, callbacks=[*callbacks, Cut(8), ResumeTraining(tmp_path)], **arguments)
    assert callbacks[2].steps == 16
    model.fit(X, TARGETS, callbacks=[*callbacks, Cut(), ResumeTraining(tmp_path)], **arguments)
    said = capsys.readouterr().err
    assert "goes on at epoch 2" in said and "takes up" not in said


def weighed(**weights):
    def run(folder, cut):
        as_another_process(1)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callbacks = [Cut(cut), ResumeTraining(folder, every_steps=1)]
        arguments = {"batch_size": 8, "epochs": 3, "verbose": 0, "callbacks": callbacks}
        model.fit(X, Y, **weights, **arguments)

    return run


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({0: 1.0}, {0: 5.0, 2: 0.5}, "class_weight {'0': 1.0} → {'0': 5.0, '2': 0.5}"),
        (None, {0: 5.0}, "class_weight null → {'0': 5.0}"),
    ],
)
def test_other_class_weights_are_named_by_their_numbers(first, second, what, tmp_path, capsys):
    what = what.replace("'", '"')
    for cut in (8, 5):
        folder = tmp_path / str(cut)
        with pytest.raises(RuntimeError, match="cut off"):
            weighed(class_weight=first)(folder, cut)
        if cut == 8:
            with pytest.raises(ValueError) as refused:
                weighed(class_weight=second)(folder, None)
            assert f"the data has changed since: {what}. Go on" in str(refused.value)
    weighed(class_weight=second)(folder, None)
    assert named(capsys) == set(what.split(", "))


def test_other_weights_of_images_are_told_from_other_images(tmp_path, capsys):
    ones, others = np.ones(40, "float32"), np.linspace(0, 2, 40).astype("float32")
    with pytest.raises(RuntimeError, match="cut off"):
        weighed(sample_weight=ones)(tmp_path, 5)
    weighed(sample_weight=others)(tmp_path, None)
    assert named(capsys) == {"other values in the arrays (sample weights)"}


def test_another_machine_and_other_versions_are_named(tmp_path, capsys, monkeypatch):
    life(tmp_path, data=lambda: (X, Y), cut=7)
    monkeypatch.setattr(description, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(description, "hardware", lambda: {"processor": "another"})
    monkeypatch.setattr(keras, "__version__", "3.99")
    life(tmp_path, data=lambda: (X, Y))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "takes up" in line]
    assert " → another, " in line and " → 3.99" in line and "torch" not in line
