"""What the engine refuses, and what `explain` says of a model."""

import io
import sys

import keras_dawn
from keras_dawn import SGD
from keras_dawn.native.engine import engine_of

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.native.test_accelerate import fit, network


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class Silent(layers.Layer):
    def call(self, x):
        return torch.clamp_min(x, 0.0)


class OwnCall(keras.Model):
    def __init__(self, last=Silent):
        super().__init__()
        self.flatten, self.head = layers.Flatten(), layers.Dense(5)
        self.silent = last()

    def call(self, x):
        return self.silent(self.head(self.flatten(x)))


def compiled(model, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.05), loss, **arguments)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: network(run_eagerly=True),
        lambda: network(jit_compile=True),
        lambda: compiled(
            keras.Sequential(
                [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, kernel_regularizer="l2"),
                 layers.Flatten(), layers.Dense(5, bias_regularizer="l1")]
            )
        ),
        lambda: compiled(
            keras.Sequential(
                [keras.Input((8, 8, 3)), layers.Flatten(),
                 layers.Dense(5, activity_regularizer="l2")]
            )
        ),
    ],
    ids=["run_eagerly", "jit_compile", "regularizers", "activity regularizer"],
)  # fmt: skip
def test_models_that_were_refused_train_natively_as_plain_keras_does(make, true_float64):
    def made():
        keras.utils.set_random_seed(0)
        return make()

    ours, plain = keras_dawn.accelerate(made()), made()
    plain.jit_compile = False  # torch.compile takes a minute, for the same numbers
    assert fit(ours)["loss"] == pytest.approx(fit(plain)["loss"], rel=1e-9)
    assert keras_dawn.explain(ours).native
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_what_keeps_its_python_is_named():
    model = keras_dawn.accelerate(compiled(OwnCall()))
    fit(model)
    explanation = keras_dawn.explain(model)
    assert explanation.native and explanation.python == "OwnCall.call"
    assert explanation.layers == {"Flatten": 1, "Dense": 1}
    ((_, kind, reason),) = explanation.fallbacks
    assert kind == "Silent" and reason.startswith("no rule, and Python of its own: torch.clamp_min")
    own = keras_dawn.accelerate(
        compiled(OwnStep([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5)]))
    )
    fit(own)
    assert keras_dawn.explain(own).python == "train_step"
    assert keras_dawn.explain(own).layers == {"Flatten": 1, "Dense": 1}
    assert keras_dawn.explain(own).optimizer == "native"


def test_each_optimizer_of_an_own_train_step_is_named_where_one_is_not_native():
    class OwnSGD(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)

    class Steps(OwnStep):
        def train_step(self, data):
            logs = super().train_step(data)
            if hasattr(self, "second"):
                weights = self.trainable_weights
                with torch.no_grad():
                    self.second.apply([torch.ones_like(v.value) for v in weights], weights)
            return logs

    def model_with(**optimizers):
        model = Steps([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5)])
        model = keras_dawn.accelerate(compiled(model))
        for name, optimizer in optimizers.items():
            optimizer.build(model.trainable_variables)
            setattr(model, name, optimizer)
        fit(model)
        return keras_dawn.explain(model)

    assert model_with(optimizer=OwnSGD()).optimizer == "its own apply: OwnSGD steps by its own code"
    reason = "its own apply: OwnSGD steps by its own code"
    assert model_with(second=OwnSGD()).optimizer == f"optimizer: native; second: {reason}"
    assert model_with(second=keras.optimizers.Adam()).optimizer == "native"


def test_python_that_only_combines_layers_is_native():
    model = keras_dawn.accelerate(compiled(OwnCall(layers.ReLU)))
    fit(model)
    explanation = keras_dawn.explain(model)
    assert explanation.native and explanation.python is None and not explanation.fallbacks
    assert explanation.layers == {"Flatten": 1, "Dense": 1, "ReLU": 1}


def test_the_first_fit_says_in_one_line_how_it_steps(capsys):
    model = keras_dawn.accelerate(compiled(OwnCall()))
    fit(model)
    fit(model)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"keras_dawn: {model.name}: 2 layers native; OwnCall.call as it is")
    assert model.silent.name in line
    fit(keras_dawn.accelerate(network()))  # native throughout, and verbose=0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("steps", [1, 3])
def test_that_line_does_not_stand_behind_the_progress_bar(steps, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # as on a terminal
    model = keras_dawn.accelerate(network())
    model.fit(np.zeros((4 * steps, 8, 8, 3)), np.zeros(4 * steps), batch_size=4)
    assert f"\nkeras_dawn: {model.name}:" in capsys.readouterr().out


def test_the_first_fit_says_that_it_does_not_run_eagerly(capsys):
    model = keras_dawn.accelerate(network(run_eagerly=True))
    fit(model)
    fit(model)
    said = [line for line in capsys.readouterr().err.splitlines() if "run_eagerly=True" in line]
    assert len(said) == 1 and "restore(model)" in said[0]


def test_an_own_step_that_keras_compiles_is_plain_keras():
    model = OwnStep([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5)])
    model = keras_dawn.accelerate(compiled(model))
    model.jit_compile = True
    explanation = keras_dawn.explain(model)
    assert not explanation.native and "which plain Keras compiles" in explanation.refusal


def test_the_first_fit_says_that_torch_compile_is_asked_for_otherwise(capsys):
    model = keras_dawn.accelerate(network(jit_compile=True))
    fit(model)
    fit(model)
    (line,) = capsys.readouterr().err.splitlines()
    assert "`jit_compile` is plain Keras's, accelerate(model, compile=True) ours" in line
    assert "jit_compile" in keras_dawn.explain(model).compiled


def test_that_line_is_not_in_the_middle_of_a_progress_bar(monkeypatch):
    shown = io.StringIO()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, shown)
    model = keras_dawn.accelerate(network())
    x, y = np.zeros((12, 8, 8, 3), "float32"), np.zeros((12,))
    model.fit(x, y, batch_size=4, verbose=1)
    before, _, after = shown.getvalue().partition("keras_dawn: ")
    assert "1/3" in before and before.endswith("\n")
    assert "3/3" in after.partition("\n")[2]


class AddsLoss(layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(x)))
        return x


def test_a_loss_added_by_a_layer_keeps_the_plain_path():
    def model():
        keras.utils.set_random_seed(0)
        net = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5), AddsLoss()]
        )
        net.compile(SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return net

    ours, plain = keras_dawn.accelerate(model()), model()
    assert fit(ours)["loss"] == pytest.approx(fit(plain)["loss"], rel=1e-6)


def test_explain_counts_native_layers_and_names_fallbacks():
    model = network(metrics=["accuracy", keras.metrics.AUC(name="auc")], loss="mse")
    explanation = keras_dawn.explain(model)
    assert explanation.layers == {
        "Conv2D": 1, "BatchNormalization": 1, "ReLU": 1, "Flatten": 1, "Dense": 1
    }  # fmt: skip
    assert explanation.fallbacks == [] and explanation.loss is None


def test_a_quiet_fit_looks_once_until_the_graph_is_another(monkeypatch):
    looks = []
    model = keras_dawn.accelerate(
        compiled(keras.Sequential([keras.Input((8,)), layers.Dropout(0.1), layers.Dense(5)]))
    )
    engine = engine_of(model)
    look = engine.explanation
    monkeypatch.setattr(
        engine, "explanation", lambda *args, **kwargs: looks.append(1) or look(*args, **kwargs)
    )
    x, y = np.zeros((12, 8), "float32"), np.zeros((12,))

    def fit():
        model.fit(x, y, batch_size=4, verbose=0)
        return len(looks)

    assert [fit(), fit(), fit()] == [1, 1, 1]
    model.layers[0].rate = 0.2
    assert fit() == 2


def test_the_reason_is_that_of_the_call_where_a_dtype_was_not_known_before():
    class Odd(layers.Layer):
        def call(self, x):
            return torch.special.expit(x)

    x = keras.Input((8,))
    twice = layers.Lambda(lambda x: x * 2)(x)
    model = keras_dawn.accelerate(compiled(keras.Model(x, layers.Dense(5)(Odd(name="odd")(twice)))))
    model.fit(np.zeros((12, 8), "float32"), np.zeros((12,)), verbose=0)
    reasons = {name: reason for name, _, reason in keras_dawn.explain(model).fallbacks}
    assert "torch.special.expit" in reasons["odd"]


def test_of_a_layer_of_keras_without_a_rule_nothing_is_said_of_its_python():
    x = keras.Input((8, 8, 3))
    y = layers.RandAugment()(layers.Lambda(lambda x: x * 2)(x))
    model = keras_dawn.accelerate(keras.Model(x, Silent()(y)))
    model.predict(np.zeros((2, 8, 8, 3)), verbose=0)
    reasons = {kind: reason for _, kind, reason in keras_dawn.explain(model).fallbacks}
    assert reasons["Lambda"] == reasons["RandAugment"] == "no rule"
    assert "torch.clamp_min" in reasons["Silent"]


def test_a_model_with_python_of_its_own_is_not_compiled_which_is_said(capsys):
    model = keras_dawn.accelerate(compiled(OwnCall()), compile=True)
    x, y = np.zeros((4, 8, 8, 3)), np.zeros(4)
    model.fit(x, y, verbose=0)
    assert "torch.compile: not used: it is for models that are one graph" in capsys.readouterr().err
    assert "torch.compile" in str(keras_dawn.explain(model))


@pytest.mark.slow  # torch.compile is imported
def test_explain_says_that_a_graph_is_compiled():
    graph = keras_dawn.accelerate(network(), compile=True)
    assert keras_dawn.explain(graph).compiled == "the graph of the layers"
    assert keras_dawn.explain(keras_dawn.accelerate(graph)).compiled is None


class OwnCallAndStep(OwnCall):
    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("kind", ["Sequential", "OwnCall", "built", "OwnCallAndStep"])
def test_before_a_batch_nothing_is_said_of_a_call_but_that_it_is_not_known(kind, accelerated):
    if kind == "Sequential":
        model = compiled(keras.Sequential([layers.Flatten(), layers.Dense(5), layers.ReLU()]))
    else:
        model = compiled((OwnCallAndStep if kind.endswith("Step") else OwnCall)(layers.ReLU))
    if kind == "built":
        model(np.zeros((1, 8, 8, 3)))
    if accelerated:
        keras_dawn.accelerate(model)
    name = f"{type(model).__name__}.call"
    found = keras_dawn.explain(model)
    assert found.awaited == name and not found.is_whole()
    (row,) = [line for line in str(found).splitlines() if line.startswith(name)]
    assert row.split(maxsplit=1)[1].startswith("not called so far") and "as it is" not in row
    assert found.python == ("train_step" if kind.endswith("Step") else None)
    if not accelerated:
        return
    fit(model)
    found = keras_dawn.explain(model)
    assert found.awaited is None and "call" not in str(found)
    assert found.layers == {"Flatten": 1, "Dense": 1, "ReLU": 1}


def test_a_call_that_keeps_its_python_is_said_to_when_a_batch_has_come():
    model = keras_dawn.accelerate(compiled(OwnCall()))
    assert keras_dawn.explain(model).awaited == "OwnCall.call"
    fit(model)
    found = keras_dawn.explain(model)
    assert found.awaited is None and found.python == "OwnCall.call" and found.python_reason
