import keras_dawn

import keras
import numpy as np
import pytest

from tests.on_device import torch


class Doubled(keras.Model):
    def __init__(self, policy):
        super().__init__()
        self.table = keras.layers.Embedding(50, 4, dtype=policy)

    def call(self, x):
        return self.table(x) * 2


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def models(request):
    plain, ours = (Doubled(request.param) for _ in range(2))
    for model in (plain, ours):
        model(torch.zeros(1, 3, dtype=torch.int64))
        model.compile("sgd", "mse")
    ours.set_weights(plain.get_weights())
    return plain, keras_dawn.accelerate(ours)


def test_an_error_in_the_native_code_names_the_layer():
    users, films = keras.Input((4,), name="user"), keras.Input((4,), name="film")
    both = keras.layers.Concatenate()(
        [keras.layers.Embedding(10, 2, name="users")(users),
         keras.layers.Embedding(20, 2, name="films")(films)]
    )  # fmt: skip
    model = keras_dawn.accelerate(keras.Model([users, films], both, name="taste"))
    inside, outside = np.zeros((8, 4), "int64"), np.full((8, 4), 30)
    with pytest.raises(IndexError) as caught:
        model.predict([inside, outside], verbose=0)
    (note,) = caught.value.__notes__
    assert note.startswith(
        "keras_dawn: in the native code of taste, layer 'films' (Embedding): films = "
    )
    assert model.predict([inside, inside], verbose=0).shape == (8, 4, 4)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32", "bool"])
def test_rows_of_numbers_in_any_dtype_are_those_of_keras(models, dtype):
    plain, ours = models
    numbers = np.arange(-6, 6).reshape(4, 3).astype(dtype)
    assert np.array_equal(*(model.predict(numbers, verbose=0) for model in (plain, ours)))


def test_numbers_beyond_int32_are_cast_as_keras_does(models):
    plain, ours = models
    numbers = np.array([[2**32 + 7, 7, 2**33 - 1]])
    assert np.array_equal(*(model.predict(numbers, verbose=0) for model in (plain, ours)))


class TrainedForInference(Doubled):
    """Trains what it computes outside training, as a step for adversarial inputs does."""

    def train_step(self, data):
        x, y = data
        loss = (self(x, training=False).float() * y).sum()
        self.zero_grad()
        loss.backward()
        self.gradient = self.table.embeddings.value.grad.clone()
        return {"loss": loss}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_gradients_of_a_call_for_inference_are_added_up_as_those_of_keras(policy):
    # One row many times: its gradient is a sum, in float32 in a model of the same policy.
    keras.config.set_dtype_policy(policy)
    numbers, weights = torch.full((1, 200), 7), torch.randn(1, 200, 4)
    plain, ours = (TrainedForInference(policy) for _ in range(2))
    for model in (plain, ours):
        model(numbers)
        model.compile("sgd")
    ours.set_weights(plain.get_weights())
    keras_dawn.accelerate(ours)
    for model in (plain, ours):
        model.fit(numbers, weights, verbose=0)
    assert torch.equal(plain.gradient, ours.gradient)
