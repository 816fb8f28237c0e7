"""What the script has changed since the training was cut off is named, taken up or refused."""

from keras_dawn import ResumeTraining

import keras
import pytest

from tests.resume.lives import X, Y, life, small_model


def data():
    return X, Y


def another(activation="relu", units=4, layers=1, metrics=("accuracy",)):
    """A model that differs from that of the first process in one thing."""

    def make():
        dense = [keras.layers.Dense(units, activation) for _ in range(layers)]
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
        ({"make": another(activation="tanh")}, "activation of layer .* relu → tanh"),
        ({"make": another(units=5)}, "units of layer .* 4 → 5"),
        ({"make": another(layers=2)}, "variables 4 .* → 6"),
        ({"make": another(metrics=[])}, "metrics 4 .* → 2"),
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
    assert "learning_rate 0.10" in said and "→ 0.05" in said and "momentum 0.9 → 0.8" in said
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
