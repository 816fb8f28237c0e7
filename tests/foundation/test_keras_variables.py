"""The scopes of dtypes, beside those that Keras itself opens."""

import contextlib

from keras_dawn.foundation import keras_variables

import keras
import pytest
from keras.src.backend.common.variables import AutocastScope, get_autocast_scope

POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "float64", "float16", "int32"]
NO_SCOPE = "no scope"


class Noting(keras.Layer):
    """Notes the scope in which its `call` runs."""

    def call(self, x):
        self.scope = get_autocast_scope()
        return x


def dtype_of(scope):
    return NO_SCOPE if scope is None else scope.dtype


@pytest.mark.parametrize("around", [NO_SCOPE, None, "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_layers_scope_is_the_one_that_keras_opens(policy, autocast, around):
    layer = Noting(dtype=policy, autocast=autocast)
    scope = None if around is NO_SCOPE else AutocastScope(around)
    with contextlib.nullcontext() if scope is None else scope:
        layer(keras.ops.zeros((2, 3)))
        with keras_variables.autocast_scope(layer):
            assert dtype_of(get_autocast_scope()) == dtype_of(layer.scope)
        assert get_autocast_scope() is scope
    assert dtype_of(keras_variables.scope_inside(layer, scope)) == dtype_of(layer.scope)
