"""The attributes behind Keras's properties: as long as they stay, the property does."""

from keras_dawn.foundation.keras_models import flat_inputs, functional_graph, standardize_inputs
from keras_dawn.foundation.keras_properties import deciding

import keras
import pytest
from keras import layers

from tests.on_device import torch

WEIGHTED = [
    (lambda: layers.Dense(2), (None, 4), "kernel"),
    (lambda: layers.EinsumDense("ab,bc->ac", output_shape=2), (None, 4), "kernel"),
    (lambda: layers.Conv1D(2, 3), (None, 5, 4), "kernel"),
    (lambda: layers.Conv2DTranspose(2, 3), (None, 5, 5, 4), "kernel"),
    (lambda: layers.Embedding(5, 2), (None, 4), "embeddings"),
]


def made(make, shape):
    layer = make()
    layer.build(shape)
    return layer


def holds(layer, found):
    return all(getattr(layer, name) is value for name, value in found)


@pytest.mark.parametrize(("make", "shape", "name"), WEIGHTED)
def test_a_weight_is_decided_by_attributes_that_another_one_changes(make, shape, name):
    layer = made(make, shape)
    found = deciding(layer, name, getattr(layer, name))
    if found is None:  # then it is no property that Keras computes
        assert vars(layer)[name] is getattr(layer, name)
        return
    assert holds(layer, found)
    assert deciding(layer, name, object()) is None
    layer.enable_lora(1)
    assert not holds(layer, found)
    assert deciding(layer, name, getattr(layer, name)) is None


@pytest.mark.parametrize("name", ["compute_dtype", "variable_dtype", "quantization_mode"])
def test_dtypes_are_decided_by_the_policy(name):
    layer = made(*WEIGHTED[0][:2])
    found = deciding(layer, name, getattr(layer, name))
    assert [attribute for attribute, _ in found] == ["_dtype_policy"]
    layer.dtype_policy = "mixed_bfloat16"
    assert not holds(layer, found)
    assert deciding(layer, name, "another") is None


def test_a_quantized_kernel_is_left_to_the_property():
    layer = made(*WEIGHTED[0][:2])
    found = deciding(layer, "kernel", layer.kernel)
    layer.quantize("int8")
    assert not holds(layer, found)
    assert deciding(layer, "kernel", layer.kernel) is None


def test_an_attribute_and_a_property_of_the_user_s_are_read_as_they_are():
    class Own(layers.Dense):
        @property
        def kernel(self):
            return super().kernel

    layer = made(lambda: Own(2), (None, 4))
    assert deciding(layer, "kernel", layer.kernel) is None
    assert deciding(layer, "bias", layer.bias) is None


def graph(structure):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    y = layers.Concatenate()([layers.Dense(2)(b), a])
    return functional_graph(keras.Model(structure(a, b), y))


A, B = torch.zeros(4, 2), torch.ones(4, 3)


@pytest.mark.parametrize(
    ("structure", "given"),
    [
        (lambda a, b: [a, b], (A, B)),
        (lambda a, b: (a, b), [A, B]),
        (lambda a, b: {"b": b, "a": a}, {"a": A, "b": B}),
    ],
)
def test_flat_inputs_are_those_of_keras(structure, given):
    functional = graph(structure)
    found = flat_inputs(functional, given)
    assert [x is y for x, y in zip(found, (A, B), strict=True)] == [True, True]
    for x, y in zip(found, standardize_inputs(functional, given), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("given", [A, [A], [A, B, B], {"a": A}, [A, None], [A, [B]], [A, B.numpy]])
def test_other_inputs_are_left_to_keras(given):
    assert flat_inputs(graph(lambda a, b: [a, b]), given) is None
