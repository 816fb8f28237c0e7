"""Layers: what is inside them, what their calls take, and whether a call is as Keras made it."""

import inspect
import operator

from keras_dawn.foundation.acting_classes import acting_class

import keras
import torch
from keras.src.layers.preprocessing.data_layer import DataLayer
from torch.nn.modules import module as torch_module


def all_layers(model):
    """A model and every layer inside it, at any depth."""
    return model._flatten_layers()


def inner_layers(layer):
    """The layers directly inside a layer."""
    return layer._layers


def weights_to_train(layer):
    """The variables that a layer was made to train, whether it is frozen or not."""
    return layer._trainable_variables


def flags_of(objects):
    """A callable that lists which layers and variables are trainable, for every step.

    Args:
        objects: list of `keras.Layer` and `keras.Variable`.
    """
    known = {keras.Layer.trainable, keras.Variable.trainable}
    plain, others = [], []
    for each in objects:
        # Past the property, which costs more than all the rest.
        kept = getattr(type(each), "trainable", None) in known and "_trainable" in vars(each)
        (plain if kept else others).append(each)
    return lambda: [*map(_KEPT, plain), *map(_ASKED, others)]


_KEPT, _ASKED = operator.attrgetter("_trainable"), operator.attrgetter("trainable")


def own_variables(layer):
    """Whether a layer holds variables or generators itself, not in layers inside it."""
    return bool(
        layer._trainable_variables or layer._non_trainable_variables or layer._seed_generators
    )


def own_weights(layer):
    """The trained variables that a layer holds itself, not in layers inside it."""
    return layer._trainable_variables


def namespaces(layer):
    """The dicts in which a layer's own attributes are, those of its class apart."""
    return vars(layer), layer._modules, layer._parameters, layer._buffers


def is_of_weights(value):
    """Whether a value is a variable, or a tensor that no gradient goes to."""
    if isinstance(value, keras.Variable):
        return True
    return type(value) is torch.Tensor and not value.requires_grad


def takes(layer, argument):
    """Whether a layer's `call` has an argument of this name."""
    return argument in layer.call_signature_parameters


def converts_inputs(layer):
    """Whether a layer casts the floats that it is called with to its compute dtype."""
    return layer._convert_input_args and layer.autocast


def default_training(layer):
    """The default of `call`'s argument `training`, or `None`."""
    parameter = layer._call_signature.parameters.get("training")
    default = None if parameter is None else parameter.default
    return None if default is inspect.Parameter.empty else default


def trains_untold(operation):
    """Whether a layer, or one inside it, takes training for the mode where it is told none.

    Keras then tells those that it calls afterwards, too.
    """
    layers = all_layers(operation) if isinstance(operation, keras.Layer) else ()
    return any(map(default_training, layers))


def has_own_masks(layer):
    """Whether a layer's class says the masks of its outputs, instead of handing masks on."""
    return class_of(layer).compute_mask is not keras.Layer.compute_mask


def only_passes_mask_on(layer):
    """Whether a layer's output has the mask of its input, as `Layer.compute_mask` says."""
    return "compute_mask" not in vars(layer) and not has_own_masks(layer)


_HOOKS_OF_ALL = (  # what `torch.nn.modules.module.register_module_forward_hook` and its like fill
    torch_module._global_forward_pre_hooks,
    torch_module._global_forward_hooks,
    torch_module._global_backward_pre_hooks,
    torch_module._global_backward_hooks,
)


def hooks_of_all():
    """Whether a hook of torch's runs when any module is called."""
    return any(_HOOKS_OF_ALL)


def is_plain_call(layer):
    """Whether nothing of torch's or the user's is hung into a layer's call.

    Keras layers are torch modules: hooks run when they are called. `call` may also have been
    replaced on the instance.
    """
    return not any(_HOOKS_OF_ALL) and _is_plain(layer)


def _is_plain(layer):
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return False
    if layer._backward_pre_hooks or layer._remat_mode is not None:
        return False
    return "call" not in layer.__dict__ and "forward" not in layer.__dict__


def replaced_method(layer):
    """The name of a method of Keras's that somebody has put another in place of on this one layer.

    `None` where there is none, and for layers of one's own, whose attributes are theirs.
    """
    kind = acts_as(layer)
    if not kind.__module__.startswith("keras."):
        return None
    names = (name for name in vars(layer) if name not in _OF_EACH_LAYER)
    return next((name for name in names if callable(getattr(kind, name, None))), None)


_OF_EACH_LAYER = ("build", "quantize")  # which Keras wraps


class ReplacedMethod:
    """`replaced_method` of a layer that is looked at in every call."""

    __slots__ = ("_layer", "_name", "_size")

    def __init__(self, layer):
        self._layer, self._name, self._size = layer, None, None

    @property
    def now(self):
        """The name, or `None`; looked for again when the layer has more attributes, or fewer."""
        size = len(vars(self._layer))
        if size != self._size:  # to look through all attributes takes longer than all else
            self._size, self._name = size, replaced_method(self._layer)
        return self._name


class CallSettings:
    """What is hung into a layer's call, or replaced in it, as one value."""

    __slots__ = ("_last", "_layer", "_replaced")

    def __init__(self, layer):
        self._layer, self._last = layer, None
        self._replaced = ReplacedMethod(layer)

    @property
    def now(self):
        """The settings; the same tuple as long as they are."""
        layer = self._layer
        kind = class_of(layer)
        hung_in = _is_plain(layer), layer.activity_regularizer
        now = (*hung_in, kind, kind.call, kind.__call__, kind.forward, self._replaced.now)
        if now != self._last:
            self._last = now
        return self._last


def built_for(layer):
    """The shape of the input that a layer was built for."""
    return layer._build_input_shape


def flattens_channels_first(layer):
    """Whether a `Flatten` puts the channels last before it flattens, as it was told when made."""
    return layer._channels_first


def check_input(layer, symbolic):
    """Raises Keras's `ValueError` for an input that a layer's `input_spec` does not allow."""
    layer._assert_input_compatibility(symbolic)


def is_called_as_a_layer(layer):
    """Whether calling a layer does what Keras does for its own layers, and no more."""
    return class_of(layer).__call__ in (keras.Layer.__call__, DataLayer.__call__)


def class_of(layer):
    """A layer's class, that behind the swapped one inside a step."""
    return vars(type(layer)).get("native_base", type(layer))


def acts_as(layer):
    """The class whose computing a layer does; see `acting_class`."""
    kind = class_of(layer)
    acting = acting_class(kind) if isinstance(layer, keras.Layer) else kind
    return kind if acting in (keras.Layer, keras.Model) else acting


def computes_as_keras_s(layer):
    """Whether a layer is of a class of Keras's, or of one that acts as such."""
    return acts_as(layer).__module__.startswith("keras.src.")


def keeps_keras_call(layer):
    """Whether a layer's class calls as Keras does, and the call adds nothing to the loss."""
    return layer.activity_regularizer is None and is_called_as_a_layer(layer)


def is_only_its_call(layer):
    """Whether calling a layer or model does no more than its `call`."""
    return keeps_keras_call(layer) and is_plain_call(layer)
