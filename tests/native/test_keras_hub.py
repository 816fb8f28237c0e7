"""KerasHub's models from a config with random weights train accelerated as in plain Keras."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest

pytest.importorskip("keras_hub")
hub_models = pytest.importorskip("tests.native.hub_models")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # TensorFlow's, grain's and KerasHub's own
]


class ForgetGradients(keras.callbacks.Callback):
    """Plain Keras does not clear the gradient of a weight whose path another one has, too."""

    def on_train_batch_begin(self, batch, logs=None):
        for variable in self.model.trainable_variables:
            variable.value.grad = None


def both(make, change=lambda model: None):
    """`(model, its data)`, accelerated and plain."""
    state, pair = hub_models.RANDOM.bit_generator.state, []
    for native in (True, False):
        hub_models.RANDOM.bit_generator.state = state
        keras.utils.set_random_seed(1)
        model, data = make()
        change(model)
        pair.append((keras_dawn.accelerate(model) if native else model, data))
    return pair


def train(model, data, **arguments):
    """What `fit`, `evaluate` and `predict` make of a model: logs, numbers, outputs."""
    if engine_of(model) is None:
        arguments["callbacks"] = [ForgetGradients()]
    keras.utils.set_random_seed(2)
    history = model.fit(**data, batch_size=4, epochs=3, verbose=0, **arguments).history
    evaluated = model.evaluate(**data, batch_size=4, verbose=0)
    predicted = model.predict(data["x"], batch_size=4, verbose=0)
    return [history, evaluated, *keras.tree.flatten(predicted)]


def assert_equal(make, tolerance, change=lambda model: None, **arguments):
    """Trains both ways; returns the accelerated model."""
    pair = both(make, change)
    found, expected = (train(*each, **arguments) for each in pair)
    assert found[0].keys() == expected[0].keys()
    for name, values in expected[0].items():
        np.testing.assert_allclose(found[0][name], values, rtol=tolerance, err_msg=name)
    for one, other in zip(found[1:], expected[1:], strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)
    (ours, _), (plain, _) = pair
    for one, other in zip(ours.variables, plain.variables, strict=True):
        difference = np.abs(one.numpy() - other.numpy()).max()
        assert difference <= tolerance * max(1, np.abs(other.numpy()).max()), one.path
    assert engine_of(ours).is_native()
    return ours


@pytest.mark.parametrize("make", hub_models.BACKBONES + hub_models.TASKS)
def test_training_is_the_same_in_float64(make, true_float64):
    in_float32 = make in (hub_models.llama, hub_models.llama_lm)  # its norms, whatever the policy
    assert_equal(make, 1e-6 if in_float32 else 1e-9)


@pytest.mark.parametrize("make", hub_models.BACKBONES + hub_models.TASKS)
def test_training_is_the_same_in_float32(make):
    assert_equal(make, 1e-3)  # batch normalisation of four numbers makes rounding large


@pytest.mark.parametrize(
    "make", [hub_models.image_classifier, hub_models.text_classifier_with_a_preprocessor]
)
@pytest.mark.parametrize("arguments", [{"class_weight": {0: 2.0, 1: 0.5, 2: 1.0, 3: 3.0}}, {}])
def test_a_task_takes_what_its_own_fit_takes(make, arguments, true_float64):
    _, data = make()
    assert_equal(make, 1e-9, validation_data=(data["x"], data["y"]), **arguments)


def test_a_frozen_backbone_stays_as_it_is(true_float64):
    def freeze(model):
        model.backbone.trainable = False

    ours = assert_equal(hub_models.image_classifier, 1e-9, freeze)
    assert len(ours.trainable_variables) == 2


def test_low_rank_adapters_are_trained(true_float64):
    def adapt(model):
        model.backbone.enable_lora(2)
        model.compile(keras.optimizers.SGD(0.1), model.loss)

    ours = assert_equal(hub_models.causal_lm, 1e-9, adapt)
    trained = [v.path for v in ours.trainable_variables if "lora" in v.path]
    assert len(trained) == 8


def test_text_is_generated_as_before(true_float64):
    texts = []
    for model, data in both(hub_models.causal_lm_with_a_preprocessor):
        model.compile(optimizer=keras.optimizers.SGD(0.1), sampler="greedy")
        model.fit(**data, verbose=0)
        texts.append(model.generate(["a fox", "the"], max_length=hub_models.LENGTH))
    assert texts[0] == texts[1]


def test_a_task_is_saved_and_loaded_as_before(tmp_path):
    model, data = both(hub_models.text_classifier_with_a_preprocessor)[0]
    model.fit(**data, verbose=0)
    model.save(tmp_path / "task.keras")
    model.save_to_preset(str(tmp_path / "preset"))
    expected = model.predict(data["x"], verbose=0)
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    np.testing.assert_allclose(loaded.predict(data["x"], verbose=0), expected, rtol=1e-4, atol=1e-6)
    loaded = type(model).from_preset(str(tmp_path / "preset"))
    np.testing.assert_allclose(loaded.predict(data["x"], verbose=0), expected, rtol=1e-4, atol=1e-6)
