"""Models that keep their Python, with layers that compute natively inside: equal to plain Keras."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.own_models import GAN, VAE, Block, ResNet

RANDOM = np.random.default_rng(0)
IMAGES, CLASSES = RANDOM.normal(size=(50, 8, 8, 3)), np.arange(50) % 5


def loss_of_classes():
    """Made inside a test: its dtype is that of the test."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def both(make):
    """An accelerated model and the same one in plain Keras."""
    models = []
    for native in (True, False):
        keras.utils.set_random_seed(0)
        models.append(keras_dawn.accelerate(make()) if native else make())
    return models


def assert_equal(ours, plain, tolerance=1e-10):
    for one, other in zip(ours.variables, plain.variables, strict=True):
        difference = np.abs(one.numpy() - other.numpy()).max()
        assert difference <= tolerance * max(1, np.abs(other.numpy()).max()), one.path


def resnet():
    model = ResNet()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss_of_classes(), metrics=["accuracy"])
    return model


def vae():
    model = VAE()
    model.compile(keras.optimizers.Adam(0.01))
    return model


def gan():
    model = GAN()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01))
    return model


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (resnet, (IMAGES, CLASSES)),
        (vae, (RANDOM.normal(size=(50, 8)),)),
        (gan, (RANDOM.normal(size=(50, 6)),)),
    ],
)
def test_twenty_steps_equal_plain_keras_in_float64(make, data, true_float64):
    ours, plain = both(make)
    histories = [
        model.fit(*data, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        for model in (ours, plain)
    ]
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-9, err_msg=name)
    assert_equal(ours, plain)
    assert engine_of(ours).is_native()
    optimizers = ["optimizer"] if make is not gan else ["d_optimizer", "g_optimizer"]
    for name in optimizers:
        assert_equal(getattr(ours, name), getattr(plain, name))


def test_evaluation_and_prediction_see_the_other_mode(true_float64):
    ours, plain = both(resnet)
    for model in (ours, plain):
        model.fit(IMAGES, CLASSES, epochs=1, batch_size=10, shuffle=False, verbose=0)
    expected = plain.evaluate(IMAGES, CLASSES, verbose=0)
    assert ours.evaluate(IMAGES, CLASSES, verbose=0) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(
        ours.predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0), rtol=1e-9, atol=1e-12
    )


class Modes(keras.Model):
    """Layers called in a mode of the user's choice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (layers.BatchNormalization() for _ in range(3))
        self.flatten, self.head = layers.Flatten(), layers.Dense(5)

    def call(self, x, training=False):
        x = self.first(x, training=False)
        x = self.second(x, training=True)
        return self.head(self.flatten(self.third(x)))  # Keras: the mode of the layer before


class BothModes(keras.Model):
    """One layer in both modes: what the first call reads, the second moves before it is derived."""

    def __init__(self):
        super().__init__()
        self.norm, self.flatten = layers.BatchNormalization(), layers.Flatten()
        self.head = layers.Dense(5)

    def call(self, x, training=False):
        x = self.norm(x, training=False)
        return self.head(self.flatten(self.norm(x, training=training)))


class Silent(keras.Model):
    """`call` without a `training` argument: Keras does not tell the layers the mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.block = layers.BatchNormalization(), Block(3)
        self.flatten, self.head = layers.Flatten(), layers.Dense(5)

    def call(self, x):
        return self.head(self.flatten(self.block(self.norm(x))))


class Trains(layers.Layer):
    """Hands the training mode on to a layer inside, and so to those that nobody tells the mode."""

    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x, training=True)


class Hears(Trains):
    """Has a layer inside that hears the mode by Keras's call context."""

    def call(self, x):
        return self.norm(x)


class AfterGraphs(keras.Model):
    """Models inside, each with a layer that changes the mode, and a layer after each."""

    def __init__(self, told):
        super().__init__()
        self.told = told
        self.ends = keras.Sequential([keras.Input((8, 8, 3)), layers.ReLU(), Trains()])
        self.goes_on = keras.Sequential([keras.Input((8, 8, 3)), Trains(), layers.ReLU()])
        self.afterwards = [Hears(), Hears()]
        self.flatten, self.head = layers.Flatten(), layers.Dense(5)

    def call(self, x):
        how = {"training": False} if self.told else {}
        x = self.afterwards[0](self.ends(x, **how))
        x = self.afterwards[1](self.goes_on(x, **how))
        return self.head(self.flatten(x))


@pytest.mark.parametrize(
    "kind",
    [Modes, BothModes, Silent, lambda: AfterGraphs(told=True), lambda: AfterGraphs(told=False)],
    ids=["modes", "both modes", "silent", "after graphs that are told", "after others"],
)
def test_each_layer_computes_in_the_mode_that_keras_gives_it(kind, true_float64):
    def make():
        model = kind()
        model.compile("sgd", loss_of_classes())
        return model

    ours, plain = both(make)
    for model in (ours, plain):
        model.fit(IMAGES, CLASSES, epochs=2, batch_size=10, shuffle=False, verbose=0)
    assert_equal(ours, plain)


def test_settings_changed_between_batches_are_followed(true_float64):
    class Change(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.blocks[0].norms[0].momentum = 0.5 + 0.1 * batch
            self.model.blocks[1].trainable = batch % 2 == 0
            self.model.stem.layers[1].epsilon = 0.001 * (1 + batch)

    ours, plain = both(resnet)
    for model in (ours, plain):
        model.fit(IMAGES, CLASSES, batch_size=10, shuffle=False, verbose=0, callbacks=[Change()])
    assert_equal(ours, plain)


def test_layers_have_their_own_class_whenever_the_user_looks(tmp_path):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(type(self.model.head) is layers.Dense)
            self.model.save(tmp_path / "model.keras")
            config = keras.saving.serialize_keras_object(self.model.head)
            assert config["class_name"] == "Dense" and config["module"] == "keras.layers"

    model = keras_dawn.accelerate(resnet())
    model.fit(IMAGES, CLASSES, batch_size=25, verbose=0, callbacks=[Look()])
    assert seen == [True, True]
    loaded = resnet()
    loaded.fit(IMAGES, CLASSES, verbose=0)  # so that it has an optimizer's state to load too
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    expected = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_an_error_in_a_step_puts_the_layers_back():
    class Fails(ResNet):
        def call(self, x, training=False):
            super().call(x, training)
            raise RuntimeError("of the user's")

    model = Fails()
    model.compile("sgd", loss_of_classes())
    keras_dawn.accelerate(model)
    with pytest.raises(RuntimeError, match="of the user's"):
        model.fit(IMAGES, CLASSES, verbose=0)
    assert type(model.head) is layers.Dense
    assert type(model.blocks[0].norms[0]) is layers.BatchNormalization


def test_wrong_shapes_raise_keras_own_error():
    model = keras_dawn.accelerate(resnet())
    model.fit(IMAGES, CLASSES, verbose=0)
    plain = resnet()
    plain.fit(IMAGES, CLASSES, verbose=0)
    errors = []
    for each in (model, plain):
        with pytest.raises(ValueError) as caught:
            each.predict(np.ones((2, 8, 8, 4), "float32"), verbose=0)
        errors.append(str(caught.value).splitlines()[0])
    assert errors[0].split("layer")[0] == errors[1].split("layer")[0]


class Tokens(keras.Model):
    """An embedding whose mask reaches the loss through a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(7, 4, mask_zero=True)
        self.recurrent, self.head = layers.SimpleRNN(5, return_sequences=True), layers.Dense(1)

    def call(self, x):
        return self.head(self.recurrent(self.embedding(x)))


def test_masks_made_in_python_reach_the_loss(true_float64):
    x = RANDOM.integers(0, 7, (20, 6))
    y = RANDOM.normal(size=(20, 6, 1))

    def make():
        model = Tokens()
        model.compile("sgd", "mse")
        return model

    ours, plain = both(make)
    losses = [
        model.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"]
        for model in (ours, plain)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert_equal(ours, plain)


class OwnLoss(keras.Model):
    """A functional model with a loss, metrics and added losses of its own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        return loss + 0.1 * ops.mean(ops.square(y_pred))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        results["largest"] = ops.max(y_pred)
        return results


def test_an_own_loss_and_own_metrics_on_a_graph(true_float64):
    def make():
        inputs = keras.Input((8, 8, 3))
        x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
        model = OwnLoss(inputs, layers.Dense(5)(layers.Flatten()(x)))
        model.compile("sgd", loss_of_classes(), metrics=["accuracy"])
        return model

    ours, plain = both(make)
    histories = [
        m.fit(
            IMAGES, CLASSES, epochs=2, shuffle=False, verbose=0, validation_data=(IMAGES, CLASSES)
        )
        for m in (ours, plain)
    ]
    assert list(histories[0].history) == list(histories[1].history)
    for name, values in histories[1].history.items():
        assert histories[0].history[name] == pytest.approx(values, rel=1e-9), name
    assert_equal(ours, plain)


def test_restore_leaves_nothing_behind():
    model = resnet()
    keras_dawn.accelerate(model)
    model.fit(IMAGES, CLASSES, verbose=0)
    keras_dawn.restore(model)
    assert "fit" not in vars(model) and type(model.head) is layers.Dense
    model.fit(IMAGES, CLASSES, verbose=0)
