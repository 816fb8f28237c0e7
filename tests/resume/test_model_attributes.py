"""What a model, its layers, losses and metrics keep in Python goes on, or is refused by name."""

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.resume.saved_state import SavedStates

import keras
import numpy as np
import pytest
import torch

from tests.resume.lives import X
from tests.resume.test_resume import Cut

TARGETS = X.sum(1, keepdims=True)


class Own(keras.Model):
    """Steps by torch, on a loss that its own code may change."""

    def on(self, x, y):
        return x, y, 1.0

    def train_step(self, data):
        x, y, weight = self.on(*data)
        loss = weight * ((self(x, training=True) - y) ** 2).mean()
        self.zero_grad()
        loss.backward()
        self.update()
        return {"loss": loss}

    def update(self):
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in weights], weights)


class AddsUp(Own):
    """Adds up the gradients of three steps."""

    done = 0

    def train_step(self, data):
        loss = ((self(data[0], training=True) - data[1]) ** 2).mean()
        loss.backward()
        self.done += 1
        if self.done % 3 == 0:
            self.update()
            self.zero_grad()
        return {"loss": loss}


class Counts(Own):
    done = 0

    def on(self, x, y):
        self.done += 1
        return x, y, 1.0 + self.done % 3


class Pool(Own):
    """As CycleGAN's pool of images, made when it is first needed."""

    def on(self, x, y):
        if not hasattr(self, "pool"):
            self.pool, self.seen = [], {}
        self.pool.append((x.clone(), y.clone()))
        self.seen[len(self.seen) + 1] = float(x.sum())
        old = self.pool.pop(0) if len(self.pool) > 2 else self.pool[0]
        weight = 1.0 + len(self.seen) / 10
        return torch.cat([x, old[0]]), torch.cat([y, old[1]]), weight


class Buffer:
    """An object of the user's, with an object of its own."""

    def __init__(self, inner=None):
        self.held, self.count, self.inner = [], 0, inner


class Holder(Own):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.buffer = Buffer(Buffer())

    def on(self, x, y):
        self.buffer.held.append(float(x.mean()))
        self.buffer.inner.count += 1
        return x, y, 1.0 + sum(self.buffer.held) + self.buffer.inner.count % 4


class Draws(Own):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.random = torch.Generator().manual_seed(4)

    def on(self, x, y):
        return x + torch.randn(x.shape, generator=self.random), y, 1.0


class ByTorch(Own):
    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        weights = [v.value for v in self.trainable_variables]
        self.by_torch = [torch.optim.Adam(weights, lr=0.02, amsgrad=True)]

    def update(self):
        self.by_torch[0].step()


class Late(Own):
    def update(self):
        if not hasattr(self, "by_torch"):
            self.by_torch = torch.optim.SGD([v.value for v in self.trainable_variables], lr=0.02)
        self.by_torch.step()


@keras.saving.register_keras_serializable("tests")
class Scales(keras.layers.Layer):
    calls = 0

    def build(self, shape):
        self.register_buffer("average", torch.zeros(()))

    def call(self, x, training=None):
        if training and not x.is_meta:
            self.calls += 1
            self.average.mul_(0.9).add_(x.detach().mean())
        return x * (1 + 0.05 * (self.calls % 7)) + self.average


class Moving(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self.average = None

    def call(self, targets, outputs):
        losses = ((targets - outputs) ** 2).mean(-1)
        if losses.is_meta:
            return losses
        now = losses.mean().detach()
        self.average = now if self.average is None else 0.9 * self.average + 0.1 * now
        return losses / self.average


class Listed(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="listed")
        self.values = []

    def update_state(self, targets, outputs, sample_weight=None):
        if not outputs.is_meta:
            self.values.append(float(((targets - outputs) ** 2).mean().detach()))

    def result(self):
        return torch.tensor(sum(self.values) / max(1, len(self.values)))

    def reset_state(self):
        self.values = []


class Module(torch.nn.Module):
    """A module of torch's that counts."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = torch.nn.Linear(4, 4), 0

    def forward(self, x):
        self.calls += self.training and not x.is_meta
        return self.inner(x) * (1 + 0.1 * (self.calls % 3))


def counted():
    calls = [0]

    def error(targets, outputs):
        calls[0] += not outputs.is_meta
        return keras.ops.mean(targets - outputs, -1) * calls[0]

    return error


def recurrent():
    inputs = keras.Input(batch_shape=(8, 6))
    x = keras.layers.LSTM(4, stateful=True)(keras.layers.Reshape((3, 2))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


class Seen(keras.metrics.Sum):
    """Counts batches over all epochs."""

    def update_state(self, targets, outputs, sample_weight=None):
        super().update_state(1.0)

    def reset_state(self):
        pass


def with_nadam_scaled():
    model = build(keras.Model)
    inner = keras.optimizers.Nadam(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    return model


def build(kind, layer=None, loss="mse", metrics=()):
    inputs = keras.Input((6,))
    x = keras.layers.Dense(4, "tanh")(inputs)
    model = kind(inputs, keras.layers.Dense(1)(x if layer is None else layer(x)))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=list(metrics))
    return model


class Grows:
    """A regularizer or a constraint that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += not keras.ops.convert_to_tensor(x).is_meta
        return 0.01 * (self.calls % 3) * keras.ops.sum(x**2)


class Shrinks(keras.constraints.Constraint):
    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * (1 - 0.01 * (self.calls % 3))


def with_hook():
    model = build(keras.Model)
    calls = [0]

    def hook(gradient):
        calls[0] += 1
        return gradient * (calls[0] % 3)

    model.layers[1].kernel.value.register_hook(hook)
    return model


def counting_lambda():
    calls = [0]

    def scale(x):
        calls[0] += not x.is_meta
        return x * (1 + calls[0] % 3)

    return keras.layers.Lambda(scale)


KINDS = {
    "a regularizer": lambda: build(
        keras.Model, keras.layers.Dense(3, kernel_regularizer=Grows(), kernel_constraint=Shrinks())
    ),
    "a hook on gradients": with_hook,
    "a closure of a layer": lambda: build(keras.Model, counting_lambda()),
    "a count": lambda: build(Counts),
    "a pool of tensors": lambda: build(Pool),
    "an object": lambda: build(Holder),
    "a generator": lambda: build(Draws),
    "an optimizer of torch's": lambda: build(ByTorch),
    "a layer's count and buffer": lambda: build(keras.Model, Scales()),
    "a loss's average": lambda: build(keras.Model, loss=Moving()),
    "a module's count": lambda: build(
        keras.Model, keras.layers.TorchModuleWrapper(Module(), output_shape=(None, 4))
    ),
    "gradients of several steps": lambda: build(AddsUp),
    "a product of Nadam's under loss scaling": with_nadam_scaled,
    "a metric's closure": lambda: build(keras.Model, metrics=[counted()]),
    "a metric's list": lambda: build(keras.Model, metrics=[Listed()]),
}


def life(make, folder, cut=None, seed=1, accelerated=False):
    keras.utils.set_random_seed(seed)
    model = make()
    if accelerated:
        keras_dawn.accelerate(model)
    return trained(model, folder, cut, epochs=4)


def trained(model, folder, cut, epochs, callbacks=()):
    callbacks = [*callbacks, Cut(cut)]
    callbacks += [] if folder is None else [ResumeTraining(folder, every_steps=1)]
    try:
        model.fit(X, TARGETS, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks)
    except RuntimeError as error:
        assert cut is not None and "cut off" in str(error)
    return model


EACH = [
    pytest.param(make, accelerated, id=f"{kind}, {'accelerated' if accelerated else 'plain'}")
    for kind, make in KINDS.items()
    for accelerated in (False, True)
]  # torch cannot train a recurrent layer with a state of its own in plain Keras


@pytest.mark.parametrize(("make", "accelerated"), [*EACH, (recurrent, True)])
def test_what_is_kept_in_attributes_goes_on(make, accelerated, tmp_path):
    whole = life(make, None, accelerated=accelerated)
    for cut, seed in [(8, 1), (4, 2), (None, 3)]:
        ours = life(make, tmp_path, cut, seed, accelerated)
    assert ours.history.history == whole.history.history
    for a, b in zip(ours.variables, whole.variables, strict=True):
        assert torch.equal(a.value, b.value)


class MovesSettings(keras.callbacks.Callback):
    """Moves what Keras's own objects were made with, after the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            dense, dropout, normalize = self.model.layers[:3]
            dense.kernel_regularizer.l2, dropout.rate, normalize.momentum = 0.1, 0.6, 0.5
            dense.bias.trainable = False
            optimizer = self.model.optimizer
            optimizer.nesterov, optimizer.clipnorm = True, None


def life_with_settings(folder, cut=None, seed=1):
    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.01))
    others = keras.layers.Dropout(0.2), keras.layers.BatchNormalization(), keras.layers.Dense(1)
    model = keras_dawn.accelerate(keras.Sequential([keras.Input((6,)), dense, *others]))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.3), "mse")
    return trained(model, folder, cut, epochs=3, callbacks=[MovesSettings()])


def test_settings_that_a_callback_moves_go_on(tmp_path, capsys):
    whole = life_with_settings(None)
    for cut, seed in [(8, 1), (4, 2), (None, 3)]:
        ours = life_with_settings(tmp_path, cut, seed)
    for a, b in zip(ours.variables, whole.variables, strict=True):
        assert torch.equal(a.value, b.value)
    assert "settings of layer dropout go on: rate" in capsys.readouterr().err


def test_a_function_that_a_callback_puts_in_a_settings_place_is_named(tmp_path, capsys):
    for cut in (8, None):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        swap = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, layer=model.layers[0]: setattr(
                layer, "activation", keras.activations.tanh
            )
        )
        trained(model, tmp_path, cut, epochs=2, callbacks=[swap])
        said = capsys.readouterr().err
        assert "settings of layer dense would begin anew" in said
    assert "settings of layer dense begin anew" in said and "activation (function)" in said


@pytest.mark.parametrize("cut", [8, 10])  # in an epoch's middle, and between two
def test_a_metric_that_counts_over_epochs_goes_on(cut, tmp_path):
    for at in (cut, None):
        ours = life(lambda: build(keras.Model, metrics=[Seen("seen")]), tmp_path, at)
    assert ours.history.history["seen"] == [5, 10, 15, 20]


def test_an_optimizer_of_torchs_that_is_made_in_a_step_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="model.by_torch holds a SGD .* before `fit`"):
        life(lambda: build(Late), tmp_path)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("accelerated", [False, True])
def test_nothing_of_kerass_or_ours_is_taken_for_the_users(accelerated, tmp_path):
    model = life(lambda: build(keras.Model), None, accelerated=accelerated)
    parts = SavedStates(model, [], []).parts
    settings = [name for name in parts if name.startswith("settings of")]
    assert [name for name in parts if name not in settings] == ["attributes of model"]
    model.fit(X, TARGETS, batch_size=8, verbose=0, validation_data=(X, TARGETS))
    model.predict(X, verbose=0)
    for name in ["attributes of model", *settings]:
        assert parts[name].state_dict() == {"lost": []}
        assert parts[name].rank_state_dict() == {"kept": {}, "first": {}}


def test_what_cannot_be_kept_is_named(tmp_path, capsys):
    class Odd(Counts):
        def on(self, x, y):
            self.place = iter([1])
            return super().on(x, y)

    life(lambda: build(Odd), tmp_path, cut=8)
    model = life(lambda: build(Odd), tmp_path)
    said = capsys.readouterr().err
    assert "attributes of model begin anew" in said and "place (list_iterator)" in said
    assert model.done == 20 and "attributes of model go on: done" in said


def test_arrays_among_the_attributes_come_back_in_place(tmp_path):
    class Sums(Own):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.sums = np.zeros(1, np.float32)
            self.held = self.sums

        def on(self, x, y):
            self.sums += np.float32(x.mean())
            return x, y, 1.0 + float(self.held[0])

    whole = life(lambda: build(Sums), None)
    life(lambda: build(Sums), tmp_path, cut=9)
    ours = life(lambda: build(Sums), tmp_path)
    assert np.array_equal(ours.held, whole.held) and ours.held[0] != 0
