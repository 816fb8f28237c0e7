"""A model whose parts have other names goes on; what else differs in it is said, or refused."""

import keras_dawn
from keras_dawn import ResumeTraining

import keras
import pytest

from tests.resume.lives import X, Y, same, small_model
from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process


def train(folder, model, cut=None, callbacks=(), epochs=4):
    resume = ResumeTraining(folder / "saved", every_steps=2)
    callbacks = [*callbacks, Cut(cut), resume]
    try:
        model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=callbacks)
    except RuntimeError as error:
        assert "cut off" in str(error)
    return model


@pytest.mark.parametrize("accelerated", [True, False])
def test_a_script_that_loads_its_last_model_goes_on(accelerated, tmp_path, capsys):
    def script(folder, cut=None):
        as_another_process(1)
        file = folder / "model.keras"
        model = keras.models.load_model(file) if file.exists() else small_model(False)
        if accelerated:
            keras_dawn.accelerate(model)
        file.parent.mkdir(exist_ok=True)
        return train(folder, model, cut, [keras.callbacks.ModelCheckpoint(str(file))])

    whole = script(tmp_path / "whole")
    for cut in (8, 6):
        script(tmp_path / "cut", cut)
    again = script(tmp_path / "cut")
    same(again, whole)
    said = capsys.readouterr().err
    assert said.count("names are others in this model (sequential/dense/kernel → dense/kernel") == 1
    assert "takes up" not in said


def named(*names, last=3):
    model = keras.Sequential([keras.Input((6,))])
    for name in names:
        model.add(keras.layers.Dense(6, "tanh", name=name))
    model.add(keras.layers.Dense(last, name="head"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


def test_layers_that_have_changed_their_places_are_another_model(tmp_path):
    train(tmp_path, named("a", "b"), 8)
    with pytest.raises(ValueError, match="of another model"):
        train(tmp_path, named("b", "a"))


def test_renamed_layers_of_other_shapes_are_another_model(tmp_path):
    train(tmp_path, named("a", "b"), 8)
    with pytest.raises(ValueError, match="units of layer head 3 → 4"):
        train(tmp_path, named("c", "d", last=4))


def frozen(model, name):
    model.get_layer(name).trainable = False
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    model.compile(optimizer, model.loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize("make", [lambda: named("dense"), small_model])
def test_layers_that_the_script_freezes_since_are_refused_by_name(make, tmp_path):
    train(tmp_path, make(), 8)
    with pytest.raises(ValueError, match="other frozen layers: none → dense. Freeze those"):
        train(tmp_path, frozen(model := make(), model.layers[0].name))


def test_a_model_that_a_callback_compiles_anew_is_told_of_at_once(tmp_path, capsys):
    class Freezes(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                frozen(self.model, self.model.layers[0].name)
                self.model.make_train_function()

    train(tmp_path, small_model(False), callbacks=[Freezes()], epochs=3)
    said = capsys.readouterr().err
    assert said.count("the model was compiled anew in this fit") == 1
    assert "keep 4 variables in place of 6" in said
