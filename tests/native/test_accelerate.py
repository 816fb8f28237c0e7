import keras_dawn
from keras_dawn import SGD
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
    with pytest.raises(ValueError, match="`compile` must be True or False, got 'no'"):
        keras_dawn.accelerate(keras.Sequential(), compile="no")


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


@pytest.mark.parametrize("name", ["fit", "save", "make_train_function"])
def test_a_method_put_on_one_model_is_not_replaced(name):
    model = network()
    setattr(model, name, getattr(model, name))
    with pytest.raises(ValueError, match=f"has a `{name}` of its own"):
        keras_dawn.accelerate(model)
    assert vars(model)[name] is not None
    delattr(model, name)
    keras_dawn.accelerate(keras_dawn.accelerate(model))
    own = vars(model)[name]
    setattr(model, name, lambda *args, **kwargs: own(*args, **kwargs))
    with pytest.raises(ValueError, match="of its own"):
        keras_dawn.accelerate(model)
