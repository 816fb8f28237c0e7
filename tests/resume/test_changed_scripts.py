"""What the script has changed since the training was cut off is named, taken up or refused."""

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.resume import one_training

import keras
import pytest

from tests.resume.lives import X, Y, life, small_model
from tests.resume.test_resume import Cut


def data():
    return X, Y


def another(activation="relu", units=4, layers=1, metrics=("accuracy",), dtype=None):
    """A model that differs from that of the first process in one thing."""

    def make():
        dense = [keras.layers.Dense(units, activation, dtype=dtype) for _ in range(layers)]
        model = keras.Sequential([keras.Input((6,)), *dense, keras.layers.Dense(3)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=list(metrics))
        return model

    return make


def changed(tmp_path, cut, **how):
    life(tmp_path, data=data, cut=cut)
    keras.utils.set_random_seed(1)
    make = how.pop("make", None)
    model = make() if make else small_model(**how.pop("model", {}))
    arguments = {"x": X, "y": Y, "batch_size": 8, "epochs": 4, "verbose": 0, **how}
    model.fit(**arguments, callbacks=[ResumeTraining(tmp_path)])
    return model


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"model": {"optimizer": "adam"}}, "optimizers SGD → Adam"),
        ({"batch_size": 4}, "steps an epoch 5 → 10, batch_size 8 → 4"),
        ({"x": X[:24], "y": Y[:24]}, "images 40 → 24"),
        ({"shuffle": False}, "order arrays, shuffled by Keras → arrays in their order"),
        ({"make": another(activation="tanh")}, "activation of layer .* relu → tanh"),
        ({"make": another(units=5)}, "units of layer .* 4 → 5"),
        ({"make": another(layers=2)}, "layers 3 → 4, new: Dense dense[.]"),
        ({"make": another(metrics=[])}, "metrics 4 → 2, gone: accuracy/total, accuracy/count"),
        (
            {"make": another(dtype="mixed_bfloat16")},
            "dtype of layer dense float32 → mixed_bfloat16[.]",
        ),
    ],
)
def test_what_has_changed_within_an_epoch_is_refused_by_name(how, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        changed(tmp_path, 8, **how)


@pytest.mark.parametrize("make", [another(activation="tanh"), another(metrics=[])])
def test_another_model_is_refused_between_two_epochs_too(make, tmp_path):
    with pytest.raises(ValueError, match="of another model"):
        changed(tmp_path, 10, make=make)


def test_data_that_changes_between_epochs_is_taken_up_and_named(tmp_path, capsys):
    model = changed(tmp_path, 10, x=X[:24], y=Y[:24])
    assert "takes up what has changed: steps an epoch 5 → 3, images 40 → 24" in (
        capsys.readouterr().err
    )
    assert int(model.optimizer.iterations) == 10 + 2 * 3


def test_a_rate_that_is_compiled_anew_is_taken_up_and_named(tmp_path, capsys):
    model = changed(tmp_path, 8, model={"optimizer": keras.optimizers.SGD(0.05, momentum=0.8)})
    said = capsys.readouterr().err
    assert "epochs" not in said
    assert "learning_rate 0.1 → 0.05" in said and "momentum 0.9 → 0.8" in said
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


SGD, ADAM, COSINE = (
    keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.schedules.CosineDecay
)  # fmt: skip


def compiled(optimizer, loss="mse", **how):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss, **how)
    return model


def scripts(folder, first, second, cut=8):
    """A script that is cut off, and another in its folder; each `(model, targets, callbacks)`."""
    for (make, targets, callbacks), at in ((first, cut), (second, None)):
        keras.utils.set_random_seed(1)
        callbacks = [*callbacks, Cut(at), ResumeTraining(folder, every_steps=1)]
        arguments = {"batch_size": 8, "epochs": 4, "verbose": 0, "callbacks": callbacks}
        try:
            make().fit(X, targets, **arguments)
        except RuntimeError as error:
            assert "cut off" in str(error)


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9), "keeps 2 .* 4: momentum 0.0 → 0.9"),
        (lambda: SGD(0.1, momentum=0.9), lambda: SGD(0.1), "momentum 0.9 → 0.0"),
        (lambda: ADAM(0.1), lambda: ADAM(0.1, amsgrad=True), "amsgrad false → true"),
        (lambda: ADAM(0.1), lambda: ADAM(0.1, use_ema=True), "use_ema false → true"),
        (
            lambda: ADAM(0.1),
            lambda: ADAM(0.1, gradient_accumulation_steps=2),
            "gradient_accumulation_steps null → 2",
        ),
        (
            lambda: ADAM(0.1),
            lambda: keras.optimizers.LossScaleOptimizer(ADAM(0.1)),
            "loss scaling false → true",
        ),
        (
            lambda: SGD(COSINE(0.1, 100)),
            lambda: SGD(0.1),
            r"learning_rate CosineDecay\(alpha=0.0, decay_steps=100, .* → none",
        ),
    ],
)
def test_an_optimizer_that_keeps_other_variables_is_refused_by_its_setting(
    first, second, named, tmp_path
):
    with pytest.raises(ValueError, match=named):
        scripts(tmp_path, (lambda: compiled(first()), Z, ()), (lambda: compiled(second()), Z, ()))


Z = X.sum(1, keepdims=True)
ONE = keras_dawn.OneCycle
AVERAGE = keras_dawn.callbacks.ExponentialMovingAverage


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (lambda: compiled(SGD(0.1)), lambda: compiled(SGD(0.1), "mae"), "loss mse → mae"),
        (
            lambda: compiled(SGD(0.1)),
            lambda: compiled(SGD(0.1), loss_weights=[3.0]),
            "loss_weights null → [3.0]",
        ),
        (
            lambda: compiled(SGD(0.1, momentum=0.9)),
            lambda: compiled(SGD(0.1, momentum=0.9, nesterov=True)),
            "nesterov false → true",
        ),
        (
            lambda: compiled(ADAM(0.1, gradient_accumulation_steps=2)),
            lambda: compiled(ADAM(0.1, gradient_accumulation_steps=4)),
            "gradient_accumulation_steps 2 → 4",
        ),
        (
            lambda: compiled(SGD(COSINE(0.1, 100))),
            lambda: compiled(SGD(COSINE(0.1, 50))),
            "decay_steps of learning_rate (CosineDecay) 100 → 50",
        ),
        (lambda: compiled(ADAM(0.1)), lambda: compiled(ADAM(0.1, clipnorm=0.5)), "clipnorm None"),
    ],
)
def test_what_is_compiled_otherwise_is_named(first, second, named, tmp_path, capsys):
    scripts(tmp_path, (first, Z, ()), (second, Z, ()))
    assert named in capsys.readouterr().err.partition("takes up what has changed")[2]


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ([ONE(0.1)], [ONE(0.5)], "learning_rate by OneCycle 0.004"),
        ([ONE(0.1)], [], "→ none"),
        ([AVERAGE(0.9)], [], "ExponentialMovingAverage left out"),
    ],
)
def test_schedules_and_callbacks_that_have_changed_are_named(
    first, second, named, tmp_path, capsys
):
    def make():
        return compiled(SGD(0.1, momentum=0.9))

    scripts(tmp_path, (make, Z, first), (make, Z, second))
    assert named in capsys.readouterr().err.partition("takes up what has changed")[2]


def test_other_arrays_of_the_same_size_are_noticed(tmp_path, capsys):
    def make():
        return compiled(SGD(0.1))

    with pytest.raises(
        ValueError,
        match=r"other values in the arrays \(targets\). Go on .* until checkpoint-00002-0000000.pt",
    ):
        scripts(tmp_path / "within", (make, Z, ()), (make, -Z, ()))
    scripts(tmp_path / "between", (make, Z, ()), (make, -Z, ()), cut=5)
    said = capsys.readouterr().err
    assert "takes up what has changed: other values in the arrays (targets)." in said


def test_the_same_script_is_named_nothing(tmp_path, capsys):
    def make():
        return compiled(ADAM(0.1, clipnorm=1.0), keras.losses.Huber(0.5), loss_weights=[2.0])

    scripts(tmp_path, (make, Z, [ONE(0.1), AVERAGE(0.9)]), (make, Z, [ONE(0.1), AVERAGE(0.9)]))
    said = capsys.readouterr().err
    assert "goes on at epoch 2" in said and "takes up" not in said


def test_what_was_taken_up_is_kept_for_the_record_of_the_run(tmp_path):
    told = []
    for epochs, rate in ((2, 0.1), (3, 0.05), (4, 0.05)):
        keras.utils.set_random_seed(1)
        resume = ResumeTraining(tmp_path)
        model = compiled(SGD(rate))
        model.fit(X, X[:, :1], batch_size=8, epochs=epochs, verbose=0, callbacks=[resume])
        told.append(resume.taken_up)
    assert told[0] == []
    second = [
        "from epoch 3, step 1 on: learning_rate 0.1 → 0.05",
        "from epoch 3, step 1 on: epochs 2 → 3",
    ]
    assert told[1] == second
    assert told[2] == [*second, "from epoch 4, step 1 on: epochs 3 → 4"]


def test_what_a_complete_training_did_not_have_is_kept_for_the_record_too(tmp_path):
    told = []
    for rate in (0.1, 0.05, 0.1):
        keras.utils.set_random_seed(1)
        resume = ResumeTraining(tmp_path)
        if told:
            one_training._LAST.clear()  # as in a process that is started anew
        compiled(SGD(rate)).fit(X, X[:, :1], batch_size=8, epochs=1, verbose=0, callbacks=[resume])
        told.append((resume.taken_up, resume.not_taken_up))
    assert told == [([], []), ([], ["learning_rate 0.1 → 0.05"]), ([], [])]
