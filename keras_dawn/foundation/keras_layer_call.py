"""What `keras.Layer.__call__` does for tensors and lists of them without masks, and nothing more.

The private attributes of Keras that this reads are those of 3.15; a test of short calls holds it
against Keras's own call.
"""

import inspect

from keras_dawn.foundation import keras_layers, keras_variables, keras_version

import keras
import torch
from keras.src.backend.common import global_state
from keras.src.backend.common.name_scope import name_scope
from keras.src.utils import traceback_utils

_SAME_METHODS = ("__call__", "_get_call_context", "_maybe_reset_call_context")
_SAME_PROPERTIES = ("input_dtype", "compute_dtype", "variable_dtype")
_ONE_POLICY = (keras.dtype_policies.DTypePolicy, keras.dtype_policies.FloatDTypePolicy)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


# What is said here in short is the call of this version; by another one every layer is called at
# length, which is right and slower.
KNOWN = keras_version.VERSION == (3, 15)


def is_ordinary(layer):
    """Whether a layer's class leaves Keras's `__call__` and what it asks as they are.

    The user's own may say the masks of their outputs, which Keras asks for after `call`.
    """
    own = not keras_layers.computes_as_keras_s(layer)
    return why_not_ordinary(layer, own_masks=own) is None


def why_not_ordinary(layer, own_masks=False):
    """What a layer's class changes of what Keras does around `call`, or `None`.

    Args:
        layer: Keras layer.
        own_masks: bool, whether it may say the masks of its outputs.
    """
    if not KNOWN:
        return f"what Keras {keras.__version__} does around `call` is not known"
    kind = keras_layers.class_of(layer)
    names = (*_SAME_METHODS, *_SAME_PROPERTIES, *(() if own_masks else ("compute_mask",)))
    own = [name for name in names if getattr(kind, name) is not getattr(keras.Layer, name)]
    if own:
        return f"its class has a `{own[0]}` of its own"
    named = layer._call_signature.parameters
    parameters = named.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return "its `call` takes any number of arguments"
    # Those that Keras fills in: the mask of the one tensor, or of an argument by its name.
    masks = [p for p in parameters if p.name == "mask" or p.name.removesuffix("_mask") in named]
    masks = [p for p in masks if p.name.endswith("mask")]
    if any(p.default is not None for p in masks):
        return "its `call` takes a mask with another default than None"
    if layer._call_context_args != {"training"}:
        return "its `call` has further arguments that Keras hands on to inner layers"
    return None


class ShortCall:
    """Calls one layer with tensors, in the context in which Keras calls it.

    Args:
        layer: Keras layer that `is_ordinary`.
    """

    def __init__(self, layer):
        self.layer = layer
        self._kind = keras_layers.class_of(layer)
        self._says_masks = keras_layers.has_own_masks(layer)
        names = [p.name for p in layer._call_signature.parameters.values() if p.kind in _POSITIONAL]
        self._takes_mode = "training" in layer._call_signature.parameters
        self._default = keras_layers.default_training(layer)
        # With lists Keras fills in lists of `None` for masks.
        self._reads_masks = any(name.endswith("mask") for name in layer._call_signature.parameters)
        # Where the mode would come as a tensor is left to Keras.
        self._most = names.index("training") if "training" in names else len(names)
        self._policy = self._call = self._wrapped = self._scope = None

    def suits(self, tensors, settings):
        """Whether a call needs no more than this: tensors or lists of them, and the mode at most.

        Args:
            tensors: tuple, the call's positional arguments.
            settings: dict, those by name.
        """
        if settings and (len(settings) > 1 or type(settings.get("training")) is not bool):
            return False
        layer = self.layer
        if self._says_masks or not layer.built or not keras_layers.is_plain_call(layer):
            return False
        if layer.activity_regularizer is not None or not 0 < len(tensors) <= self._most:
            return False
        # The instance's own: `compute_mask` may have been replaced on it.
        own = layer.__dict__
        if own["_dtype_policy"] is not self._policy and not self._read_policy(layer):
            return False
        if "compute_mask" in own or not own["_convert_input_args"] or own["_parent_path"] is None:
            return False
        attribute = global_state.get_global_attribute
        if attribute("stateless_scope") is not None or attribute("distribution") is not None:
            return False
        for x in tensors:
            parts = (x,)
            if type(x) in (list, tuple):
                if not x or self._reads_masks:
                    return False
                parts = x
            for part in parts:
                if type(part) not in keras_variables.TENSORS:
                    return False
                if part.dtype is not self._dtype and part.is_floating_point():
                    return False
                if getattr(part, "_keras_mask", None) is not None:
                    return False
        return True

    def _read_policy(self, layer):
        policy = layer._dtype_policy
        if type(policy) not in _ONE_POLICY or policy.quantization_mode is not None:
            return False
        dtype = getattr(torch, policy.compute_dtype)
        if not dtype.is_floating_point:
            return False
        self._policy, self._dtype = policy, dtype
        return True

    def __call__(self, tensors, training):
        layer = self.layer
        if list in map(type, tensors):  # `call` may change a list, which is not the caller's
            tensors = tuple(list(x) if type(x) is list else x for x in tensors)
        if layer.input_spec:
            layer._assert_input_compatibility(tensors[0])
        context = layer._get_call_context()
        if training is None:
            training = context.get_value("training")
            if training is None:
                training = self._default
        context.training = training
        arguments = {}
        if training is not None and self._takes_mode:
            arguments["training"] = training
        try:
            return self._in_scopes(layer, tensors, arguments)
        finally:
            if context.entry_layer is layer:
                global_state.set_global_attribute("current_call_ctx", None)

    def _in_scopes(self, layer, tensors, arguments):
        """The layer's own `call`; names of variables that it makes begin with the layer's."""
        call = self._kind.call
        if call is not self._call:  # Keras's message of an error names the arguments
            self._call = call
            self._wrapped = traceback_utils.inject_argument_info_in_traceback(
                layer.call, object_name=f"{self._kind.__name__}.call()"
            )
        scope = self._scope
        if scope is None or (scope.name, scope.override_parent) != (layer.name, layer._parent_path):
            scope = self._scope = name_scope(layer.name, caller=layer)
        attribute = global_state.get_global_attribute
        stack = attribute("name_scope_stack", [], set_to_default=True)
        # A call within the layer's own call (`super().call`) adds no second part to the names.
        again = bool(stack) and stack[-1].caller is layer and stack[-1].name == scope.name
        if not again:
            stack.append(scope)
        try:
            present = attribute("autocast_scope")
            inside = keras_variables.scope_inside(layer, present)
            if inside is present:
                return self._wrapped(*tensors, **arguments)
            with inside:
                return self._wrapped(*tensors, **arguments)
        finally:
            if not again:
                stack.pop()
