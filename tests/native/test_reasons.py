"""What `explain` says of Python that is called as it is: why, and where."""

import random

import keras_dawn
from keras_dawn.native.lowering.watched import said_by

import keras
import numpy as np
import pytest
from keras import layers, ops

X = np.random.default_rng(0).normal(size=(12, 6)).astype("float32")
DEBUG, LOG = False, []


def printing(self, x):
    print(end="")
    return self.head(self.hidden(x))


def counting(self, x):
    self.n += 1
    return self.head(self.hidden(x))


def setting(self, x):
    self.n = 2
    return self.head(self.hidden(x))


def branching_on_data(self, x):
    h = self.hidden(x)
    if ops.mean(h) > 100:
        h = h * 2
    return self.head(h)


def drawing(self, x):
    return self.head(self.hidden(x)) * random.choice([1.0, 1.0])


def asking_for_a_class(self, x):
    h = self.hidden(x)
    return self.head(h) if isinstance(h, object) else h


def handing_itself_on(self, x):
    LOG.append(self)
    LOG.clear()
    return self.head(self.hidden(x))


def debugging(self, x):
    LOG.append(x) if DEBUG else None
    return self.head(self.hidden(x))


REASONS = {
    printing: (1, "print, which may do more"),
    counting: (1, "it changes its attribute n"),
    setting: (1, "it sets its attribute n"),
    branching_on_data: (2, "with symbolic tensors"),
    drawing: (1, "random.choice, which may do more"),
    asking_for_a_class: (2, "isinstance of more than a local name and layers, bool, int,"),
    handing_itself_on: (1, "LOG is a list, which may change"),
}


def model_of(call, spare=False):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.head, self.n = layers.Dense(4), layers.Dense(1), 0
            self.spare = layers.BatchNormalization(name="spare") if spare else None

    Mine.call = call
    return Mine()


def graph_of(call):
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.hidden, self.head, self.n = layers.Dense(4), layers.Dense(1), 0

        def build(self, shape):
            self.hidden.build(shape)
            self.head.build((None, 4))

    if call is not branching_on_data:  # that one plain Keras makes no graph of either
        Block.call = call
        inputs = keras.Input((6,))
        return keras.Model(inputs, Block()(inputs))
    return None


def fitted(model, **settings):
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    model.fit(X, X[:, :1], batch_size=4, verbose=0, **settings)
    return keras_dawn.explain(model)


def place(call):
    return f"test_reasons.py, line {call.__code__.co_firstlineno + REASONS[call][0]}"


@pytest.mark.parametrize("call", REASONS)
def test_a_model_s_own_call_has_a_reason_and_a_line(call):
    found = fitted(model_of(call))
    assert found.python == "Mine.call"
    assert REASONS[call][1] in found.python_reason and place(call) in found.python_reason
    assert f"Mine.call  as it is: {found.python_reason}; the" in " ".join(str(found).split("   "))
    assert found.layers == {"Dense": 2}


@pytest.mark.parametrize("call", [call for call in REASONS if call is not branching_on_data])
def test_a_layer_s_own_call_has_them_too(call):
    ((_, kind, reason),) = fitted(graph_of(call)).fallbacks
    assert kind == "Block" and REASONS[call][1] in reason and place(call) in reason


def test_a_call_that_no_longer_only_combines_layers_is_not_called_native(monkeypatch):
    model = model_of(debugging)
    assert fitted(model).python is None
    model.fit(X, X[:, :1], batch_size=5, verbose=0)  # another kind of batch
    monkeypatch.setitem(globals(), "DEBUG", True)
    model.fit(X, X[:, :1], batch_size=4, verbose=0)
    assert LOG
    LOG.clear()
    found = keras_dawn.explain(model)
    assert found.python == "Mine.call" and "LOG is a list" in found.python_reason
    assert not found.is_whole()
    monkeypatch.setitem(globals(), "DEBUG", False)
    model.fit(X, X[:, :1], batch_size=4, verbose=0)
    assert not LOG and keras_dawn.explain(model).python is None


def test_operations_are_counted_for_one_kind_of_batch():
    def call(self, x):
        return self.head(ops.relu(self.hidden(x)) * 2.0)

    model = model_of(call)
    once = fitted(model).layers
    assert once["Multiply"] == 1
    model.evaluate(X, X[:, :1], batch_size=5, verbose=0)
    model.predict(X, batch_size=7, verbose=0)
    assert keras_dawn.explain(model).layers == once


@pytest.mark.filterwarnings("ignore:`build")  # Keras's, of a layer that is not built
def test_a_layer_that_is_never_called_is_not_called_as_it_is():
    found = fitted(model_of(setting, spare=True))
    assert found.fallbacks == [] and found.uncalled == [("spare", "BatchNormalization")]
    assert "spare (BatchNormalization)  not called so far" in str(found)
    assert "spare" not in found.line("model")


def test_one_layer_is_called_as_a_layer():
    assert "called as a Keras layer." in fitted(graph_of(setting)).line("model")


def test_what_keras_says_is_told_in_one_line():
    bold = "\x1b[1mInput 0 is\nwrong\x1b[0m"
    message = f"Exception encountered when calling A.call().\n\n{bold}\n\nArguments received by A"
    assert said_by(ValueError(message)) == "Input 0 is wrong"
    assert said_by(ValueError("word " * 100)).endswith("word …")
