"""`predict` of an accelerated model against plain Keras's: outputs, callbacks, errors."""

import sys

import keras_dawn
from keras_dawn.native.engine import engine_of

import keras
import numpy as np
import pytest
from keras import layers
from torch.utils.data import DataLoader, TensorDataset

from tests.on_device import torch

X = np.random.default_rng(0).normal(size=(11, 4)).astype("float32")


def one():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])


def large():
    """Outputs of 6 MB."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(150_000)])


def large_half():
    return keras.Sequential([keras.Input((4,)), layers.Dense(300_000, dtype="mixed_bfloat16")])


def half():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="mixed_bfloat16")])
    return model


def several():
    x = keras.Input((4,), name="x")
    y = layers.Dense(3)(x)
    return keras.Model(x, {"a": y, "b": [layers.Dense(2)(y), layers.ReLU()(y)]})


class Own(keras.Model):
    """Numbers of whole batches, and a dict with nothing in one place."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        y = self.dense(x)
        return {"y": y, "mean": keras.ops.mean(y, 0, keepdims=True)}


class Unsorted(keras.Model):
    """A dict whose keys do not come in their order."""

    def __init__(self):
        super().__init__()
        self.class_scores, self.boxes = layers.Dense(3), layers.Dense(4)

    def call(self, x):
        return {"scores": self.class_scores(x), "boxes": self.boxes(x)}


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x), keras.ops.ones((1, 3))


def batches():
    for start in range(0, 11, 4):
        yield (X[start : start + 4],)


DATA = {
    "arrays": lambda: (X, {"batch_size": 4}),
    "one batch": lambda: (X, {}),
    "generator": lambda: (batches(), {"steps": 3}),
    "some steps": lambda: (X, {"batch_size": 4, "steps": 2}),
    "loader": lambda: (DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=4), {}),
}


def model_of(make, accelerated):
    keras.utils.set_random_seed(0)
    model = make()
    model(X[:2])
    return keras_dawn.accelerate(model) if accelerated else model


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("make", [one, half, large, large_half, several, Own, OwnStep])
def test_outputs_have_plain_keras_s_structure_dtypes_and_numbers(make, data):
    found = []
    for accelerated in (True, False):
        x, arguments = DATA[data]()
        found.append(model_of(make, accelerated).predict(x, verbose=0, **arguments))
    ours, plain = found
    keras.tree.assert_same_structure(ours, plain)
    for one_of_ours, expected in zip(*map(keras.tree.flatten, found), strict=True):
        assert type(one_of_ours) is type(expected) is np.ndarray
        assert one_of_ours.dtype == expected.dtype and one_of_ours.flags.writeable
        np.testing.assert_allclose(
            one_of_ours.astype("float32"), expected.astype("float32"), rtol=1e-5, atol=1e-6
        )


def test_a_dict_of_outputs_keeps_the_order_of_its_keys():
    ours, plain = (model_of(Unsorted, native).predict(X, verbose=0) for native in (True, False))
    assert list(ours) == list(plain) == ["scores", "boxes"]
    assert [ours[name].shape for name in ours] == [(11, 3), (11, 4)]


class Listens(keras.callbacks.Callback):
    """Notes all that it is told, and stops after some batches."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.told, self._stop_after = [], stop_after

    def on_predict_begin(self, logs=None):
        self.told.append(("begin", self.params))

    def on_predict_batch_begin(self, batch, logs=None):
        self.told.append((batch, logs))

    def on_predict_batch_end(self, batch, logs=None):
        outputs = logs["outputs"]
        self.told.append((batch, type(outputs), np.round(np.asarray(outputs), 4).tolist()))
        if batch == self._stop_after:
            self.model.stop_predicting = True

    def on_predict_end(self, logs=None):
        self.told.append("end")


@pytest.mark.parametrize("stop_after", [None, 1])
def test_a_callback_is_told_what_plain_keras_tells_it(stop_after):
    found = []
    for accelerated in (True, False):
        callback = Listens(stop_after)
        model = model_of(one, accelerated)
        outputs = model.predict(X, batch_size=4, callbacks=[callback], verbose=0)
        found.append((len(outputs), callback.told))
    assert found[0] == found[1]
    assert found[0][0] == (11 if stop_after is None else 8)


def test_a_function_put_on_one_callback_is_called():
    seen = []
    callback = keras.callbacks.Callback()
    callback.on_predict_batch_end = lambda batch, logs=None: seen.append((batch, *logs))
    model_of(one, True).predict(X, batch_size=4, callbacks=[callback], verbose=0)
    assert seen == [(0, "outputs"), (1, "outputs"), (2, "outputs")]


class OwnList(keras.callbacks.CallbackList):
    def on_predict_batch_end(self, batch, logs=None):
        self.batches = [*getattr(self, "batches", []), batch]


def test_a_list_of_callbacks_of_the_user_s_is_told_of_every_batch():
    model = model_of(one, True)
    callbacks = OwnList([], model=model)
    model.predict(X, batch_size=4, callbacks=callbacks, verbose=0)
    assert callbacks.batches == [0, 1, 2]


def test_the_progress_bar_counts_the_batches(capsys):
    printed = []
    for accelerated in (True, False):
        model_of(one, accelerated).predict(X, batch_size=4, verbose=2)
        printed.append(capsys.readouterr().out.split(" - ")[0])
    assert printed[0] == printed[1] and "3/3" in printed[0]


def test_no_batches_at_all_is_plain_keras_s_error():
    found = []
    for accelerated in (True, False):
        with pytest.raises(Exception) as error:
            model_of(one, accelerated).predict(DataLoader([]), verbose=0)
        found.append(error.type)
    assert found[0] is found[1]


def test_a_predict_of_the_model_s_own_runs():
    class Twice(keras.Sequential):
        def predict(self, x, **arguments):
            return 2 * super().predict(x, **arguments)

    keras.utils.set_random_seed(0)
    model = keras_dawn.accelerate(Twice([keras.Input((4,)), layers.Dense(2)]))
    expected = 2 * model(torch.from_numpy(X)).numpy(force=True)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5)


def test_nobody_makes_arrays_of_batches_that_nobody_looks_at(monkeypatch):
    made = []
    monkeypatch.setattr(torch.Tensor, "numpy", _counting(torch.Tensor.numpy, made))
    model_of(one, True).predict(torch.from_numpy(X), batch_size=2, verbose=0)
    assert len(made) == 1


def _counting(method, made):
    def counted(self, *args, **kwargs):
        made.append(self)
        return method(self, *args, **kwargs)

    return counted


@pytest.mark.parametrize("data", ["arrays", "one batch", "some steps"])
def test_arrays_get_one_loader_and_torch_s_random_numbers_go_on_as_in_plain_keras(
    data, monkeypatch
):
    made, drawn = [], []
    monkeypatch.setattr(DataLoader, "__init__", _counting(DataLoader.__init__, made))
    for accelerated in (False, True):
        x, arguments = DATA[data]()
        model = model_of(one, accelerated)
        model.predict(x, verbose=0, **arguments)
        made.clear()
        torch.manual_seed(3)
        model.predict(x, verbose=0, **arguments)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] and len(made) == 1


class Scaled(keras.Model):
    """Its `call` is lowered whole."""

    def __init__(self):
        super().__init__()
        self.dense, self.factor = layers.Dense(2), 2.0

    def call(self, x):
        return SIGN * self.factor * self.dense(x)


SIGN = 1.0


def weights(model, monkeypatch):
    model.set_weights([w + 1 for w in model.get_weights()])


def attribute(model, monkeypatch):
    model.factor = 3.0


def a_global(model, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SIGN", -1.0)


def call_of_the_class(model, monkeypatch):
    monkeypatch.setattr(Scaled, "call", lambda self, x: self.dense(x) - 7.0)


def hook(model, monkeypatch):
    model.register_forward_hook(lambda module, inputs, outputs: outputs + 5)


def activation(model, monkeypatch):
    model.dense.activation = keras.activations.sigmoid


class Changing(TensorDataset):
    """Five batches of 4; says where the first image of one is fetched."""

    def __init__(self, say):
        super().__init__(torch.from_numpy(np.tile(X[:4], (5, 1))))
        self._say = say

    def __getitem__(self, index):
        if index % 4 == 0:
            self._say(index // 4)
        return super().__getitem__(index)


CHANGES = [weights, attribute, a_global, call_of_the_class, hook, activation]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("by", ["callback", "generator", "dataset"])
def test_a_change_between_batches_counts_from_the_next_one_on(change, by):
    found = []
    for accelerated in (True, False):
        with pytest.MonkeyPatch.context() as monkeypatch:
            model = model_of(Scaled, accelerated)
            model.predict(X, batch_size=4, verbose=0)

            def changing(batch, logs=None, model=model, monkeypatch=monkeypatch):
                if batch == 2:  # Keras looks at two batches of a generator beforehand
                    change(model, monkeypatch)

            def batches(changing=changing):
                for number in range(5):
                    yield (X[:4],)
                    changing(number)

            if by == "generator":
                found.append(model.predict(batches(), steps=5, verbose=0))
            elif by == "dataset":
                data = Changing(lambda number: changing(number - 1))
                found.append(model.predict(DataLoader(data, batch_size=4), verbose=0))
            else:
                callback = keras.callbacks.Callback()
                callback.on_predict_batch_end = changing
                x = np.tile(X[:4], (5, 1))
                found.append(model.predict(x, 4, verbose=0, callbacks=[callback]))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    batch = found[0].reshape(5, 4, 2)
    assert (batch[0] == batch[2]).all() and abs(batch[2] - batch[3]).max() > 0.1


def test_nobody_asks_twice_whether_settings_are_as_they_were_when_a_prediction_begins(monkeypatch):
    model, asked = model_of(one, True), []
    model.predict(X, verbose=0)
    steps = engine_of(model).steps
    monkeypatch.setattr(steps, "is_current", lambda ask=steps.is_current: asked.append(0) or ask())
    model.predict(X, batch_size=4, verbose=0)
    assert len(asked) == 1
    model.predict(X, batch_size=4, verbose=0, callbacks=[Listens()])
    assert len(asked) > 2


def test_what_a_callback_changes_as_a_prediction_begins_counts_in_it():
    found = []
    for accelerated in (True, False):
        model = model_of(one, accelerated)
        before = model.predict(X, verbose=0)

        def changing(logs=None, model=model):
            model.layers[0].activation = keras.activations.sigmoid

        callback = keras.callbacks.Callback()
        callback.on_predict_begin = changing
        found.append(model.predict(X, verbose=0, callbacks=[callback]))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    assert abs(found[0] - before).max() > 0.1


@pytest.mark.parametrize("event", ["batch_begin", "batch_end"])
@pytest.mark.parametrize("method", ["predict", "evaluate", "fit"])
def test_what_a_callback_changes_in_a_graph_counts_from_the_next_batch_on(method, event):
    found = []
    for accelerated in (True, False):
        model = model_of(one, accelerated)
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.predict(X, verbose=0)

        def changing(batch, logs=None, model=model):
            if batch == 1:
                model.layers[0].activation = keras.activations.sigmoid

        callback = keras.callbacks.Callback()
        kind = "predict" if method == "predict" else "test"
        setattr(callback, f"on_{kind}_{event}", changing)
        x, settings = np.tile(X[:4], (4, 1)), {"verbose": 0, "callbacks": [callback]}
        y = x[:, :2]
        if method == "predict":
            found.append(model.predict(x, 4, **settings))
        elif method == "evaluate":
            found.append(model.evaluate(x, y, 4, **settings))
        else:
            data = {"validation_data": (x, y), "validation_batch_size": 4}
            found.append(model.fit(x, y, **data, **settings).history["val_loss"])
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    if method == "predict":
        assert abs(found[0][0] - found[0][-1]).max() > 0.1


def test_a_subclassed_model_that_is_lowered_whole_predicts_in_inference_mode(monkeypatch):
    model, modes = model_of(Scaled, True), []
    model.predict(X, batch_size=4, verbose=0)
    engine = keras_dawn.native.engine.engine_of(model)
    alone = type(engine.steps.forward).alone

    def watched(self, *args):
        outputs = alone(self, *args)
        modes.append(getattr(outputs, "is_inference", lambda: None)())
        return outputs

    monkeypatch.setattr(type(engine.steps.forward), "alone", watched)
    model.predict(X, batch_size=4, verbose=0)
    assert modes == [True, True, True]
    assert not model.predict_function([(torch.as_tensor(X),)]).is_inference()


@pytest.mark.parametrize("make", [one, several])
def test_predict_computes_in_inference_mode_and_a_call_of_its_function_does_not(make, monkeypatch):
    model = keras_dawn.accelerate(make())
    model.predict(X, verbose=0)
    forward, modes = keras_dawn.native.engine.engine_of(model).steps.forward, []
    evaluate = type(forward).evaluate

    def watched(self, x, undisturbed=False):
        modes.append(torch.is_inference_mode_enabled())
        return evaluate(self, x, undisturbed)

    monkeypatch.setattr(type(forward), "evaluate", watched)
    expected = model.predict(X, verbose=0)
    assert modes and all(modes)
    modes.clear()
    found = model.predict_function([(torch.as_tensor(X),)])
    assert modes == [False]
    for x, y in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(x.cpu().numpy(), y, rtol=1e-5, atol=1e-6)
        (torch.ones_like(x, requires_grad=True) * x).sum().backward()
