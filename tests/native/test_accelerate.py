import keras_dawn
from keras_dawn import SGD, OneCycle
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
from keras import layers

X = np.random.default_rng(0).normal(size=(48, 8, 8, 3)).astype("float32")
Y = np.arange(48) % 5


def network(**compile_arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(5, name="head"),
        ]
    )
    return compiled(model, **compile_arguments)


def compiled(model, **compile_arguments):
    arguments = {
        "optimizer": SGD(0.05, weight_decay=1e-3),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
    }
    model.compile(**{**arguments, **compile_arguments})
    return model


def fit(model, **arguments):
    settings = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(X, Y, **settings).history


def test_after_training_plain_and_native_evaluation_agree():
    model = keras_dawn.accelerate(network())
    fit(model)
    native = model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0)
    keras_dawn.restore(model)
    plain = model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0)
    np.testing.assert_allclose(native[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(native[1], plain[1], rtol=1e-4, atol=1e-5)


def test_saving_and_loading_in_the_middle_equals_an_unbroken_run(tmp_path):
    unbroken = keras_dawn.accelerate(network())
    fit(unbroken, epochs=4)
    broken = keras_dawn.accelerate(network())
    fit(broken)
    broken.save(tmp_path / "model.keras")
    loaded = keras_dawn.accelerate(keras.models.load_model(tmp_path / "model.keras"))
    fit(loaded)
    for one, other in zip(loaded.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_weights_set_between_fits_are_the_ones_trained():
    model = keras_dawn.accelerate(network())
    start = model.get_weights()
    first = fit(model)["loss"]
    model.set_weights(start)
    for variable in model.optimizer.variables[2:]:
        variable.assign(np.zeros(variable.shape))
    assert fit(model)["loss"] == pytest.approx(first, rel=1e-5)


def test_restore_gives_the_untouched_model_back():
    model = network()
    before = {name for name in vars(model) if not name.endswith("_function")}
    keras_dawn.accelerate(model)
    fit(model, epochs=1)
    keras_dawn.restore(model)
    after = {name for name in vars(model) if not name.endswith("_function")}
    assert not [name for name in after - before if "train_on" in name or "make" in name]
    assert model.make_train_function.__func__ is type(model).make_train_function
    plain, expected = network(), network()
    fit(plain), fit(expected, epochs=1)
    assert engine_of(model) is None
    assert fit(model, epochs=1)["loss"][0] == pytest.approx(
        fit(expected, epochs=1)["loss"][0], rel=1e-4
    )
    keras_dawn.restore(model)  # once more does nothing


def test_the_rate_tells_the_truth_and_can_be_set():
    model = keras_dawn.accelerate(network())
    seen = []

    class Spy(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))

    fit(model, callbacks=[OneCycle(0.2), Spy()])
    planned = OneCycle(0.2).values(2, 3)["learning_rate"]
    assert seen == pytest.approx(planned, rel=1e-6)
    model.optimizer.learning_rate = 0.0
    before = model.get_layer("conv").kernel.numpy().copy()
    fit(model, epochs=1)
    np.testing.assert_array_equal(model.get_layer("conv").kernel.numpy(), before)


def test_frozen_layers_and_a_new_compile_are_noticed():
    model = keras_dawn.accelerate(network())
    fit(model, epochs=1)
    model.get_layer("conv").trainable = False
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    kernel = model.get_layer("conv").kernel.numpy().copy()
    head = model.get_layer("head").kernel.numpy().copy()
    fit(model, epochs=1)
    np.testing.assert_array_equal(model.get_layer("conv").kernel.numpy(), kernel)
    assert np.abs(model.get_layer("head").kernel.numpy() - head).max() > 0


class Thaw(keras.callbacks.Callback):
    """Freezes a layer in the second of three epochs only, at its beginning or before a batch."""

    def __init__(self, event):
        super().__init__()
        setattr(self, event, self.set)

    def set(self, *arguments, logs=None):
        epoch = int(self.model.optimizer.iterations) // 3
        self.model.get_layer("conv").trainable = epoch != 1


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_train_batch_begin"])
def test_freezing_and_thawing_in_a_callback_equals_plain_keras(event):
    plain, model = network(), keras_dawn.accelerate(network())
    for each in (plain, model):
        fit(each, epochs=3, callbacks=[Thaw(event)])
    for ours, theirs in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)
    thawed = keras_dawn.accelerate(network())
    fit(thawed, epochs=3)
    kernels = [each.get_layer("conv").kernel.numpy() for each in (model, thawed)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3  # the freezing made a difference


def normalized(affine, nested):
    """A model whose normalisation `freeze_me` stands alone, or inside another model."""
    keras.utils.set_random_seed(0)
    norm = layers.BatchNormalization(
        momentum=0.7, center=affine, scale=affine, name=None if nested else "freeze_me"
    )
    if nested:
        norm = keras.Sequential([keras.Input((6, 6, 4)), norm, layers.ReLU()], name="freeze_me")
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), norm, layers.GlobalAveragePooling2D(),
         layers.Dense(5)]
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.05), loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    "between, affine, nested",
    [("fits", False, True), ("fits", True, False), ("epochs", False, False)],
)
def test_a_normalisation_frozen_for_a_while_equals_plain_keras(
    between, affine, nested, true_float64
):
    """Without a scale and an offset, the layer's own `trainable` is all that freezing changes."""

    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.get_layer("freeze_me").trainable = epoch != 1

    def train(model):
        if between == "epochs":
            return fit(model, epochs=3, callbacks=[Freeze()])["loss"]
        losses = []
        for trainable in (True, False, True):
            model.get_layer("freeze_me").trainable = trainable
            statistics = [w.numpy().copy() for w in model.non_trainable_variables[-2:]]
            losses += fit(model, epochs=1)["loss"]
            moved = [
                not np.array_equal(old, new.numpy())
                for old, new in zip(statistics, model.non_trainable_variables[-2:], strict=True)
            ]
            assert moved == [trainable] * 2
        return losses

    plain, model = (normalized(affine, nested) for _ in range(2))
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(train(model), train(plain), rtol=1e-6)
    for ours, theirs in zip(model.variables, plain.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, err_msg=ours.path)
    np.testing.assert_allclose(
        model.evaluate(X, Y, verbose=0), plain.evaluate(X, Y, verbose=0), rtol=1e-6
    )


def test_a_single_weight_frozen_for_a_while_equals_plain_keras(true_float64):
    def train(model):
        for trainable in (True, False, True):
            model.get_layer("norm").gamma.trainable = trainable
            gamma = model.get_layer("norm").gamma.numpy().copy()
            fit(model, epochs=1)
            assert np.array_equal(model.get_layer("norm").gamma.numpy(), gamma) != trainable
        return model.get_weights()

    for ours, theirs in zip(train(keras_dawn.accelerate(network())), train(network()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_another_precision_of_a_layer_is_noticed():
    def predict(model):
        model.predict(X, verbose=0)
        model.get_layer("head").dtype_policy = "mixed_float16"
        return model.predict(X, verbose=0)

    ours, theirs = predict(keras_dawn.accelerate(network())), predict(network())
    assert ours.dtype == theirs.dtype == np.float16
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: compiled(model, optimizer=keras.optimizers.Adam(0.01)),
        lambda model: compiled(
            model, optimizer=model.optimizer, loss=keras.losses.SparseCategoricalCrossentropy()
        ),
        lambda model: compiled(
            model,
            optimizer=model.optimizer,
            metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2)],
        ),
        lambda model: setattr(model, "optimizer", keras.optimizers.Adam(0.01)),
    ],
    ids=["optimizer", "loss", "metrics", "optimizer without compile"],
)
def test_what_changes_between_two_fits_is_noticed(change, true_float64):
    def train(model):
        fit(model, epochs=1)
        change(model)
        return fit(model, epochs=1), model.get_weights()

    (ours, weights), (theirs, expected) = (
        train(model) for model in (keras_dawn.accelerate(network()), network())
    )
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-6, err_msg=name)
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_train_on_batch_and_test_on_batch_return_exact_logs():
    ours, plain = keras_dawn.accelerate(network(), log_every=50), network()
    for _ in range(3):
        assert ours.train_on_batch(X[:16], Y[:16]) == pytest.approx(
            plain.train_on_batch(X[:16], Y[:16]), rel=1e-4
        )
        assert ours.test_on_batch(X, Y) == pytest.approx(plain.test_on_batch(X, Y), rel=1e-4)


def test_an_interrupted_fit_leaves_a_usable_model():
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    model = keras_dawn.accelerate(network())
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[Interrupt()])
    assert np.isfinite(fit(model)["loss"]).all()
    assert np.isfinite(model.evaluate(X, Y, verbose=0)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("model",), "keras.Model"), ((keras.Sequential(), 0), "log_every")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_dawn.accelerate(arguments[0], **({"log_every": 0} if len(arguments) > 1 else {}))


def test_float16_without_loss_scaling_is_warned_about():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5, dtype="mixed_float16")]
    )
    model.compile(SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    keras_dawn.accelerate(model)
    with pytest.warns(UserWarning, match="does not scale the loss"):
        fit(model, epochs=1)


def test_a_layer_called_twice_averages_twice(true_float64):
    def train(native):
        keras.utils.set_random_seed(0)
        a = keras.Input((8, 8, 3))
        norm = layers.BatchNormalization(momentum=0.5)
        b = norm(layers.Conv2D(3, 3, padding="same")(norm(a)))
        model = keras.Model(a, layers.Dense(5)(layers.GlobalAveragePooling2D()(b)))
        model.compile(SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        if native:
            keras_dawn.accelerate(model)
        fit(model)
        return model.get_weights()

    for ours, theirs in zip(train(True), train(False), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_parameter_that_gets_no_gradient_is_left_alone(true_float64):
    def train(native):
        keras.utils.set_random_seed(0)
        a = keras.Input((8, 8, 3))
        flat = layers.Flatten()(a)
        outputs = {"used": layers.Dense(5, name="used")(flat),
                   "unused": layers.Dense(2, name="unused")(flat)}  # fmt: skip
        model = keras.Model(a, outputs)
        loss = {"used": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
        model.compile(SGD(0.05, weight_decay=0.1), loss={**loss, "unused": None})
        if native:
            keras_dawn.accelerate(model)
        model.fit(X, {"used": Y, "unused": Y}, shuffle=False, verbose=0)
        return model.get_weights()

    for ours, theirs in zip(train(True), train(False), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_outputs_of_higher_rank_are_counted_by_keras(true_float64):
    def train(native):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 1)])
        model.compile(
            SGD(0.05),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        if native:
            keras_dawn.accelerate(model)
        y = np.random.default_rng(0).integers(0, 4, (48, 8, 8))
        return model.fit(X, y, epochs=2, shuffle=False, verbose=0).history

    ours, theirs = train(True), train(False)
    for name, values in theirs.items():
        assert ours[name] == pytest.approx(values, rel=1e-6)


def test_input_of_another_shape_gets_a_clear_error():
    model = keras_dawn.accelerate(network())
    with pytest.raises(ValueError, match=r"shape"):
        model.predict(np.zeros((4, 9, 9, 3), "float32"), verbose=0)


def test_an_accelerated_model_is_freed():
    import gc
    import weakref

    model = keras_dawn.accelerate(network())
    fit(model, epochs=1)
    alive = weakref.ref(model)
    del model
    keras.utils.clear_session()
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("structure", [lambda y: y, lambda y: [y], lambda y: {"a": y},
                                       lambda y: (y, [y, y])])  # fmt: skip
def test_predictions_have_the_structure_of_the_models_outputs(structure):
    x = keras.Input((4,))
    model = keras.Model(x, structure(layers.Dense(2)(x)))
    data = np.ones((3, 4), "float32")
    plain = model.predict(data, verbose=0)
    native = keras_dawn.accelerate(model).predict(data, verbose=0)
    keras.tree.assert_same_structure(native, plain)
    for ours, theirs in zip(keras.tree.flatten(native), keras.tree.flatten(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_another_fit_does_not_repeat_the_order_of_the_one_before(dense_model):
    from keras_dawn import data

    seen = []

    class Data(data.DeviceImages):
        def batch(self, indices, epoch, number):
            seen.append(epoch)
            return super().batch(indices, epoch, number)

    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    keras_dawn.accelerate(model)
    pixels, labels = np.zeros((8, 4, 4, 3), np.uint8), np.zeros(8, np.int64)
    images = Data(pixels, labels, 8, sampler=data.Shuffled())
    for _ in range(3):
        model.fit(images, epochs=1, verbose=0, shuffle=False)
    model.fit(images, initial_epoch=7, epochs=8, verbose=0, shuffle=False)
    assert sorted(set(seen)) == [0, 1, 2, 7]


@pytest.mark.parametrize("name", ["fit", "predict"])
def test_an_argument_that_does_not_exist_is_said_with_the_method(name):
    model = keras_dawn.accelerate(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=rf"Sequential\.{name}\(\) .*'epoch'"):
        getattr(model, name)(np.ones((8, 4)), epoch=3)
