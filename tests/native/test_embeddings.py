import keras_dawn
from keras_dawn.native.lowering.rules.embeddings import lookup, lookup_in_half

import keras
import numpy as np
import pytest

from tests.on_device import on_processor, torch


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


@on_processor  # a GPU looks at no number
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("number", [10, -11, 1000])
def test_a_number_that_is_in_no_row_is_said_with_the_rows_that_there_are(number, policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(10, 2)])
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    x = np.array([[-10, 9, 0], [3, number, number]], "int32")
    for method in (model.predict, lambda x, verbose: model.fit(x, np.zeros((2, 3, 2)), verbose=0)):
        with pytest.raises(IndexError, match=f"numbers below 10, .* from -10 on, .* got {number}"):
            method(x, verbose=0)
    assert model.predict(x[:1], verbose=0).shape == (1, 3, 2)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32", "bool"])
def test_rows_of_numbers_in_any_dtype_are_those_of_keras(models, dtype):
    plain, ours = models
    numbers = np.arange(-6, 6).reshape(4, 3).astype(dtype)
    assert np.array_equal(*(model.predict(numbers, verbose=0) for model in (plain, ours)))


def test_numbers_beyond_int32_are_cast_as_keras_does(models):
    plain, ours = models
    numbers = np.array([[2**32 + 7, 7, 2**33 - 1]])
    assert np.array_equal(*(model.predict(numbers, verbose=0) for model in (plain, ours)))


@pytest.mark.parametrize("count", [12, 36, 40, 60])
def test_in_half_precision_many_rows_are_looked_up_in_a_table_that_is_cast_first(
    count, monkeypatch
):
    model = Doubled("mixed_bfloat16")
    words = keras.Input((count,), dtype="int32")
    model = keras.Model(words, keras.layers.LSTM(3)(model.table(words)))
    model.compile("sgd", "mse")
    numbers = np.arange(-count // 2, count // 2).reshape(1, count) % 50
    expected, seen = model.predict(numbers, verbose=0), []
    embedding = torch.embedding
    monkeypatch.setattr(torch, "embedding", lambda t, i: (seen.append(t.dtype), embedding(t, i))[1])
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(model.predict(numbers, verbose=0), expected, rtol=0.02, atol=0.01)
    assert seen == [torch.bfloat16 if count >= 40 else torch.float32]


def test_rows_in_half_precision_are_the_same_bits_whichever_is_cast_first():
    table, numbers = torch.randn(9, 4), torch.arange(-9, 9)
    for some in (numbers, numbers[:5]):
        rows = lookup_in_half(table, some, torch.bfloat16)
        assert torch.equal(rows, lookup(table, some).bfloat16())


def test_a_table_that_is_trained_outside_training_has_its_gradients_added_up_in_float32():
    table = torch.zeros(2, 1, requires_grad=True)
    lookup_in_half(table, torch.ones(700, dtype=torch.int32), torch.bfloat16).sum().backward()
    assert table.grad.tolist() == [[0.0], [700.0]]  # in bfloat16 it would stop at 256


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
