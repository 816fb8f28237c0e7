"""Layers that compute natively when they are called, inside Python that stays the user's.

A part stands for one layer with a rule, or for a whole Functional or Sequential model. Whatever
is unusual about a call (symbolic tensors, arrays, a masked input of a model, an error) is left to
the layer's own `__call__`.
"""

from keras_dawn.foundation import (
    keras_context,
    keras_layers,
    keras_losses,
    keras_masks,
    keras_models,
    keras_version,
)
from keras_dawn.foundation.swapped_classes import class_with_call
from keras_dawn.native.steps import guarding
from keras_dawn.native.steps.averages import average_now
from keras_dawn.native.steps.beside import packed
from keras_dawn.native.steps.graph_inputs import fits
from keras_dawn.native.steps.layer_calls import EMPTY, TENSORS, tensors_of, unmask
from keras_dawn.native.steps.lowerings import Lowerings
from keras_dawn.native.steps.states_before import put_back, states_before

import keras
import torch

# From 3.16 on Keras tells the layers after one the mode that this one was given by name, also in a
# graph; before, every layer's mode was handed on, and a graph told each of its layers.
_MODES_STAY = keras_version.VERSION >= (3, 16)


class Part:
    """What a layer or a graph of layers computes, lowered when it is first called.

    Args:
        layer: built Keras layer or model.

    Attributes:
        lowerings: `Lowerings` of the layer.
        left: bool, whether the last call in some mode was left to the layer's own Python.
    """

    def __init__(self, layer):
        self.layer = layer
        self.lowerings = Lowerings(layer)
        self.is_own, self.is_graph = self.lowerings.is_own, self.lowerings.is_graph
        self.base = keras_layers.class_of(layer)
        self.default_training = keras_layers.default_training(layer)
        self._left = {}  # whether the last call in a mode was left to the layer's own
        self.refused_modes = set()  # `training=` of calls that were left to Python of one's own
        self._replaced = keras_layers.ReplacedMethod(layer)
        self.swapped = class_with_call(self.base, self._make_call())

    def _make_call(self):
        base, compute = self.base, self.compute

        def __call__(layer, *args, **kwargs):  # noqa: N807
            # Everything unusual goes to Keras's own call, which the swapped class inherits.
            # A copy made inside a step has this class too, and is another layer.
            if layer is self.layer:
                outputs = compute(args, kwargs)
                if outputs is not EMPTY:
                    return outputs
            return base.__call__(layer, *args, **kwargs)

        return __call__

    def compute(self, args, kwargs):
        """The outputs, or `EMPTY` where the layer's own call has to compute them."""
        layer = self.layer
        if not layer.built or not self._is_called_plainly():
            return EMPTY
        if keras_context.in_stateless_scope():
            return EMPTY  # other weights than the layer's own
        training = EMPTY
        if "training" in kwargs:
            kwargs = dict(kwargs)
            training = kwargs.pop("training")
        flat = self._flat(args, kwargs)
        if not flat:
            if self.is_own and _is_of_numbers((args, kwargs)):
                self.lowerings.reason = _UNUSUAL
            return EMPTY
        context = keras_context.current_call_context()
        if training is EMPTY:
            told = context.get_value("training") if context is not None else None
            told = self.default_training if told is None else told
        else:
            told = training
        mode = self.default_training if told is None else told
        if mode is not None and type(mode) is not bool:
            return EMPTY  # a tensor or a number: Keras knows what it makes of it
        # Where nobody is told the mode, each layer that Python of the user's calls takes its own
        # default: a `RandomFlip` flips, a `Dropout` does not drop.
        key_mode = None if told is None else bool(mode)
        key, entry = self.lowerings.entry(key_mode, args, kwargs, flat)
        self._left[key_mode] = entry is None
        if entry is None and self.is_own and self.reason is None:
            self.lowerings.reason = "it was called with more kinds of batch than are lowered"
        if entry is None:
            if self.is_own and type(training) is bool:
                self.refused_modes.add(training)
            return EMPTY
        forward, lowered = entry
        if lowered.calls_keras and self.is_graph and _MODES_STAY:
            return EMPTY  # a layer that Keras calls may tell those after it another mode
        if lowered.calls_keras and told is None:
            # Nobody says the mode. Then what one layer inside says holds for those after it, which
            # a graph, lowered for one mode, does not follow.
            return EMPTY
        leaves_something = lowered.statistics or lowered.losses
        hooked = torch._C._autograd._top_saved_tensors_default_hooks(True)
        hooked = hooked and not guarding.is_saving()
        if leaves_something and hooked:
            # Checkpointed: the second pass may end early, before the averages would be moved.
            return EMPTY
        tensors = _cast(flat, lowered)
        guards = not hooked and guarding.is_guarding()
        if guards:
            forward = guarding.saving_apart(forward, flat)
        if lowered.calls_keras:  # an error is the user's, and happens once
            with keras_context.inside_part(layer, context, bool(mode)):
                outputs = forward(*tensors)
        else:
            if context is None:
                keras_context.drop_added_losses(
                    self.lowerings.inside
                )  # those of calls in the other mode
            before = states_before(lowered, tensors)
            try:
                outputs = forward(*tensors)
            except OUT_OF_MEMORY:
                raise
            except REFUSED as error:
                # Keras's own call says what is wrong, or can do it. Moving averages have not been
                # touched.
                put_back(before)
                self._left[key_mode] = True
                self.lowerings.refuse(key, f"{type(error).__name__}: {error}", failed=True)
                return EMPTY
        if lowered.unmasked:
            unmask(lowered.unmasked, flat)
        outputs = self.finished(outputs, lowered, bool(mode))
        if guards:
            outputs = guarding.fresh(outputs, flat)
        tells = training is not EMPTY or not _MODES_STAY
        if context is not None and tells and not lowered.calls_keras:
            if training is EMPTY and told is None and self.lowerings.infers_untold:
                told = False
            context.set_value("training", told)  # as Keras does, for layers that are called next
        return outputs

    def _is_called_plainly(self):
        """Whether nothing is hung into the call, and no method replaced on this one layer."""
        if self.layer.activity_regularizer is not None:
            return False  # it was set since the last look
        replaced = None if self.is_graph else self._replaced.now
        return replaced is None and keras_layers.is_plain_call(self.layer)

    def finished(self, outputs, lowered, mode):
        """What the call returns, after moving averages, losses and masks have been seen to."""
        if lowered.losses:
            outputs, losses = outputs
            for layer, loss in zip(lowered.losses, losses, strict=True):
                keras_losses.keep_added_loss(layer, loss)
        if lowered.masked or mode:
            outputs, statistics, *masks = outputs
            average_now(lowered.statistics, statistics)
            for output, mask in zip(_tuple(outputs), masks[0] if masks else (), strict=False):
                if mask is not None:
                    keras_masks.attach_mask(output, mask)
        if lowered.output_structure == 0:
            return outputs
        return packed(lowered.output_structure, iter(_tuple(outputs)))

    def known_call(self, x, told):
        """`(function, Lowered, tensors)` of a call that was lowered before, or three `None`.

        Args:
            x: the one argument of the call.
            told: bool, or `None` where nobody is told the mode.
        """
        flat = self._flat((x,), {})
        if flat:
            entry = self.lowerings.known(told, (x,), flat)
            if entry is not None:
                return *entry, _cast(flat, entry[1])
        return None, None, None

    def drop_added_losses(self):
        """What an outermost call does first, for the layer and those inside it."""
        keras_context.drop_added_losses(self.lowerings.inside)

    def _flat(self, args, kwargs):
        """The tensors of a call, a graph's in its order; `None` where the call is unusual."""
        if not self.is_graph:
            return tensors_of(args, kwargs)
        if len(args) != 1 or kwargs:
            return None
        (inputs,) = args
        if type(inputs) in TENSORS:
            flat = [inputs]
        else:
            functional = keras_models.functional_graph(self.layer)
            flat = keras_models.flat_inputs(functional, inputs)  # Keras's walks take 100 µs
            if flat is None or not fits(flat, functional.inputs):
                try:
                    flat = keras_models.standardize_inputs(functional, inputs)
                except ValueError:
                    return None
        usual = all(type(x) in TENSORS and keras_masks.mask_of(x) is None for x in flat)
        return flat if usual else None

    def try_again(self):
        """What settings refused may be possible now; what Python refused, hardly ever."""
        self.refused_modes.clear()
        self.lowerings.try_again()

    @property
    def left(self):
        return any(self._left.values())

    @property
    def lowered(self):
        """The `Lowered` of every mode and shape so far."""
        return self.lowerings.all()

    @property
    def reason(self):
        """Why the layer's own call was used at last, or `None`."""
        return self.lowerings.reason


_UNUSUAL = (
    "it is called with more than tensors, lists, tuples and dicts of them, and settings by name"
)


def _is_of_numbers(arguments):
    """Whether a call is none of those that build a layer from symbolic tensors."""
    return not any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(arguments))


REFUSED = (RuntimeError, ValueError, TypeError, IndexError)
_FATAL = ("OutOfMemoryError", "AcceleratorError")  # which another try would not help
OUT_OF_MEMORY = tuple(getattr(torch, name) for name in _FATAL if hasattr(torch, name))


def _cast(flat, lowered):
    """The inputs in the dtypes that a graph casts them to."""
    dtypes = lowered.input_dtypes
    if not dtypes:
        return flat
    return [x if x.dtype == dtype else x.to(dtype) for x, dtype in zip(flat, dtypes, strict=True)]


def _tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)
