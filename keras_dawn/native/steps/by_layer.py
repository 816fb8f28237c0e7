"""Lets a model's layers compute natively for the duration of a step; its Python stays as it is."""

import contextlib
import itertools

from keras_dawn.foundation import keras_layers, keras_models
from keras_dawn.foundation.keras_layer_call import is_ordinary
from keras_dawn.foundation.swapped_classes import put_class
from keras_dawn.native.lowering import why_not_combined
from keras_dawn.native.lowering.changing_python import may_change_in_place
from keras_dawn.native.lowering.rules import find_rule
from keras_dawn.native.steps import guarding
from keras_dawn.native.steps.find_parts import find_parts
from keras_dawn.native.steps.own_layers import OwnLayer

import keras


class NativeLayers:
    """The parts of a model that compute natively, put in place for a step at a time.

    While a step runs, each such layer has a class of the same name with another `__call__`. In
    between (in callbacks, when the model is saved, cloned or pickled) it has its own.

    Args:
        model: `keras.Model`.
        include_self: bool, whether the model itself may be called natively, as a graph.
        inside: layers to look into, or `None` for the whole model.
    """

    def __init__(self, model, include_self=True, inside=None):
        self.model = model
        self._include_self = include_self
        self._inside = inside
        self.parts = []
        self._own = []  # layers that keep their Python, called by a shorter way
        self._seen, self._changing = {}, []  # layers whose Python may change tensors in place
        self.refresh()

    def refresh(self):
        """Looks for layers anew; what was lowered stays."""
        known = {id(part.layer): part for part in self.parts}
        found = {}
        if self._inside is None:
            found = find_parts(self.model, self._include_self)
        else:
            for layer in self._inside:
                if isinstance(layer, keras.Layer):
                    found |= find_parts(layer, include_self=False)
        # A part keeps what it has lowered: to lower again takes milliseconds for each shape.
        self.parts = [known.get(key, part) for key, part in found.items()]
        for part in self._all_parts():
            part.try_again()
        self._find_own()
        self._note_changing()
        self.all = [x for x in keras_layers.all_layers(self.model) if hasattr(x, "call")]
        self._unbuilt = [layer for layer in self.all if not layer.built]
        self.complete = not self._unbuilt
        self.regularized = any(
            getattr(v, "regularizer", None) is not None for v in self.model.trainable_variables
        )

    def _find_own(self):
        # What lies inside a part, such as the cell of an LSTM, is called where that is not native.
        # A graph calls those of its layers that it does not lower.
        inside = [keras_layers.all_layers(part.layer) for part in self.parts if not part.is_graph]
        native = {id(layer) for layers in inside for layer in layers}
        known = {id(own.layer): own for own in self._own}
        self._own = [
            known.get(id(layer)) or OwnLayer(layer)
            for layer in keras_layers.all_layers(self.model)
            if id(layer) not in native
            and (self._include_self or layer is not self.model)
            and isinstance(layer, keras.Layer)
            and layer.built
            and is_ordinary(layer)
        ]

    def _note_changing(self):
        """Notes the layers whose Python may change tensors in place."""
        inside = [self.model] if self._inside is None else self._inside
        for layer in itertools.chain(*map(keras_layers.all_layers, inside)):
            if id(layer) not in self._seen:
                self._seen[id(layer)] = layer
                if isinstance(layer, keras.Layer) and may_change_in_place(layer):
                    self._changing.append(layer)

    def _may_change(self):
        """Whether Python that runs as it is may change tensors in place."""
        if not self._changing:
            return False
        native = {id(layer) for layer in self.native()}
        return any(id(x) not in native or keras_models.has_own_step(x) for x in self._changing)

    def _all_parts(self):
        return [*self.parts, *(own.part for own in self._own if own.part is not None)]

    def found_more(self):
        """Whether layers were built since the last look; they are looked for, then."""
        if self.complete or [x for x in self.all if not x.built] == self._unbuilt:
            return False
        self.refresh()
        return True

    @contextlib.contextmanager
    def in_place(self):
        """The layers compute natively inside this context."""
        self.found_more()
        swapped = []
        try:
            for part in (*self.parts, *self._own):
                if type(part.layer) is part.base:  # else an outer step has swapped it already
                    swapped.append(part)
                    put_class(part.layer, part.swapped)
            with guarding.guarded() if self._may_change() else _NOTHING:
                yield
        finally:
            for part in swapped:
                put_class(part.layer, part.base)

    def whole(self):
        """The `Part` of the model's own Python, or `None`."""
        return next((own.part for own in self._own if own.layer is self.model), None)

    def native(self):
        """The layers that have been lowered, those inside graphs one by one."""
        layers, seen = [], set()
        for part in self._all_parts():
            if part.is_own and part.left:
                continue  # those inside compute natively, each for itself
            for lowered in part.lowered:
                for layer in lowered.native:
                    if isinstance(layer, keras.Layer) and id(layer) not in seen:
                        seen.add(id(layer))
                        layers.append(layer)
            # Operations are others for each kind of batch that a part was lowered for.
            for each in max(map(_operations, part.lowered), key=len, default=[]):
                if id(each) not in seen:
                    seen.add(id(each))
                    layers.append(each)
        return layers

    def convolutions(self):
        """Which way each convolution went with the last batches, as a dict."""
        found, owners = {}, {}
        calls = [
            (number, {id(layer) for layer in keras_layers.all_layers(part.layer)}, ways)
            for part in self._all_parts()
            for number, ways in part.lowerings.convolutions()
        ]
        for _, inside, ways in sorted(calls, key=lambda call: call[0]):
            for name, way in ways.items():
                # Layers of several blocks may have one name; a graph's may be called alone, too.
                names = itertools.chain([name], (f"{name}_{n}" for n in itertools.count(1)))
                free = next(one for one in names if inside & owners.get(one, inside))
                found[free], owners[free] = way, inside
        return found

    def why_own_call(self):
        """Why the model's own `call` keeps its Python, or `None`: unknown, or it does not."""
        for own in self._own:
            if own.layer is self.model:
                return own.reason if own.part is None else _why_left(own.part)
        if not self.model.built or is_ordinary(self.model):
            return None
        return why_not_combined(self.model)

    def awaits_own_call(self):
        """Whether no batch has shown so far what the model's own `call` is lowered to."""
        if not self.model.built:
            return True
        part = self.whole()
        known = part is None or part.reason is not None
        return not known and not any(each.lowered for each in self._all_parts())

    def uncalled(self):
        """The layers that would be lowered in their first call, which has not come."""
        return [
            layer
            for layer in keras_layers.all_layers(self.model)
            if layer is not self.model and self._is_uncalled(layer)
        ]

    def _is_uncalled(self, layer):
        if isinstance(layer, keras.layers.InputLayer) or not hasattr(layer, "call"):
            return False
        return not layer.built and bool(find_rule(layer) or keras_models.functional_graph(layer))

    def reasons(self):
        """Why layers could not be lowered when they were called: a dict by their ids."""
        return {
            id(part.layer): part.reason
            for part in self._all_parts()
            if part.reason is not None and (not part.lowered or (part.is_own and part.left))
        }

    def fallbacks(self):
        """`(layer, reason)` of the layers whose own call was used, wholly or at times."""
        native = {id(layer) for layer in self.native()}
        for layer in self.native():
            if isinstance(layer, keras.Layer):  # a cell is part of what its RNN computes
                native |= {id(each) for each in keras_layers.all_layers(layer)}
        parts = {id(part.layer): part for part in self._all_parts()}
        doubts = {id(own.layer): own.reason for own in self._own if own.part is None}
        found = []
        for layer in keras_layers.all_layers(self.model):
            if id(layer) in native or layer is self.model or not hasattr(layer, "call"):
                continue
            if isinstance(layer, keras.layers.InputLayer):
                continue
            part = parts.get(id(layer))
            if part is not None and part.lowered and not (part.is_own and part.left):
                continue
            if part is not None and part.reason is not None:
                found.append((layer, part.reason))
            elif part is None and not self._is_uncalled(layer):
                inner = keras_layers.all_layers(layer)[1:]
                reason = doubts.get(id(layer)) or "no rule"
                if any(id(each) in native for each in inner):
                    reason = f"{reason.removeprefix('no rule, and ')}; layers inside it natively"
                found.append((layer, reason))
        return found


_NOTHING = contextlib.nullcontext()


def _why_left(part):
    """Why a model's own `call` is not native, or `None` where that is not known."""
    called = part.lowered or part.reason is not None
    return part.reason if called else "nothing has called it so far"


def _operations(lowered):
    """The operations of `keras.ops` in a lowering, which no layer has."""
    return [each for each in lowered.native if not isinstance(each, keras.Layer)]
