"""What a layer, or a graph of layers, has been lowered to: once for each kind of call."""

import itertools
from collections import Counter

from keras_dawn.foundation import keras_layers, keras_models, keras_variables
from keras_dawn.native.convolution_ways import goes_by_ways
from keras_dawn.native.lowering import lower, lower_layer
from keras_dawn.native.lowering.module import function_of
from keras_dawn.native.lowering.rules import find_rule
from keras_dawn.native.steps import graph_report, layer_calls
from keras_dawn.native.steps.graph_inputs import fits, opened
from keras_dawn.native.steps.layer_calls import symbolic

import keras
import torch

MOST_SHAPES = 16  # of one layer's input; more are taken with unknown sizes
_SIZES = layer_calls.ALL_BUT_BATCH, layer_calls.LAST  # what a lowering is for, in this order
MOST_TRIES = 3  # to note the calls of one's own Python
_CALLS = itertools.count()  # of all that have convolutions, to tell the last


class Lowerings:
    """The lowerings of a layer, by the mode, shapes and dtypes of its calls.

    Args:
        layer: built Keras layer or model.

    Attributes:
        is_own: bool, whether its Python may do another thing for another size.
        is_graph: bool, whether it is a whole Functional or Sequential model.
        inside: the layer and those inside it; empty before the first lowering.
        infers_untold: bool, whether one of them takes inference for the mode where it is told none.
        reasons: dict from mode and shapes to why the layer's own call is used there.
        reason: the last of them, also of those that are tried again.
    """

    def __init__(self, layer):
        self.layer = layer
        self.is_own = find_rule(layer) is None
        self.is_graph = keras_models.functional_graph(layer) is not None
        self.inside, self.infers_untold = (), False
        self.reasons = {}
        self.reason = None
        self._entries = {}  # the function and the `Lowered`
        self._convolve = {}  # kinds of call with convolutions: the last one, shapes, dtypes
        self._tries = 0
        self._failed = set()  # kinds of call that failed while they ran, as with one bad batch
        self._refused_sizes = Counter()  # how often a graph could not be lowered for a kind of call
        self._opened = None  # shapes that a `Sequential` is lowered for besides those of its inputs
        self.by_sizes = None  # whether a graph is lowered for sizes; unknown before the first call

    def entry(self, mode, args, kwargs, flat):
        """`(key, (function, Lowered))` for a call, or `(key, None)`."""
        key = self._key(mode, args, kwargs, flat)
        if self.by_sizes and key is not None:
            found = self._entry_of_sizes(mode, flat)
            if found is not None:
                return found
        entry = self._current(key)
        if entry is None:
            if key in self.reasons or key is None:
                return key, None
            if torch._C._functorch.peek_interpreter_stack() is not None:
                return key, None  # inside vmap and the like no weight can be laid out
            entry = self._lower(key, mode, args, kwargs)
            if self.is_graph and entry is not None and self.by_sizes is None:
                self.by_sizes = entry[1].wants_sizes()
                if self.by_sizes:
                    return self.entry(mode, args, kwargs, flat)
        self._note_convolutions(key, flat)
        return key, entry

    def _shapes_for(self, flat):
        """The shapes that a graph is lowered for: `()` for its own, `None` where it takes no such.

        Keras's own call of a `Sequential` takes other sizes than it was built for.
        """
        made = keras_models.functional_graph(self.layer).inputs
        if fits(flat, made):
            return ()
        if not isinstance(self.layer, keras.Sequential):
            return None
        known = [keras.KerasTensor(shape) for shape in self._opened or ()] or made
        if self._opened is not None and fits(flat, known):
            return self._opened
        shapes = opened(known, flat)
        return None if shapes is None else tuple(shapes)

    def _entry_of_sizes(self, mode, flat):
        """What `entry` returns, for a graph and the sizes of a batch; `None` if there is none."""
        key = _with_sizes(mode, flat)
        entry = self._current(key)
        if entry is None:
            kinds = self._entries.keys() | self._refused_sizes.keys()
            full = len(kinds) >= MOST_SHAPES and key not in kinds
            if full or key in self.reasons or self._refused_sizes[key] >= MOST_TRIES:
                return None
            if torch._C._functorch.peek_interpreter_stack() is not None:
                return None
            entry = self._lower(key, mode, shapes=[tuple(x.shape) for x in flat])
            if entry is None:
                self._refused_sizes[key] += 1
                return None  # what is there for all sizes does
        self._note_convolutions(key, flat)
        return key, entry

    def _note_convolutions(self, key, flat):
        if key in self._convolve:
            shapes, dtypes = [x.shape for x in flat], [x.dtype for x in flat]
            self._convolve[key] = next(_CALLS), shapes, dtypes

    def known(self, mode, args, flat):
        """`(function, Lowered)` of a call that was lowered before and holds, or `None`."""
        if self.by_sizes:
            return self._current(_with_sizes(mode, flat))
        return self._current(self._key(mode, args, {}, flat))

    def _current(self, key):
        entry = self._entries.get(key)
        holds = entry is not None and entry[1].reads.are_current() and has_its_tensors(entry[1])
        return entry if holds else None

    @keras_variables.no_autocast()
    @torch.inference_mode(False)
    def _lower(self, key, mode, args=(), kwargs=None, shapes=None):
        whole = shapes is not None
        try:
            if self.is_graph:
                shapes = shapes or list(key[1]) or None
                lowered = lower(self.layer, mode, mode, views=None, shapes=shapes, whole=whole)
            else:
                *_, sizes_of = key
                args = tuple(symbolic(part, sizes_of) for part in args)
                kwargs = {name: symbolic(part, sizes_of) for name, part in kwargs.items()}
                lowered = lower_layer(self.layer, args, kwargs, mode)  # `None`: nobody says
        except Exception as error:  # a rule may be the user's: its layer works as it is
            self.refuse(key, str(error))
            return None
        entry = (function_of(lowered.module), lowered)
        self._entries[key] = entry
        if self.is_graph and not whole:
            self._opened = key[1] or self._opened
        if goes_by_ways(lowered.module):
            self._convolve[key] = next(_CALLS), None, None
        self.inside = keras_layers.all_layers(self.layer)
        self.infers_untold = any(keras_layers.default_training(x) is False for x in self.inside)
        return entry

    def _key(self, mode, args, kwargs, flat):
        """What a lowering is for; sizes are left open for a graph, and where there are many.

        `None` where a graph takes no such sizes, and where a layer's own Python was called with too
        many.
        """
        if self.is_graph:
            shapes = self._shapes_for(flat)
            kinds = [(x.ndim, x.dtype, x.device) for x in flat]
            return None if shapes is None else (mode, shapes, *kinds)
        for sizes_of in (layer_calls.ALL,) if self.is_own else _SIZES:
            key = (mode, *layer_calls.described_call(args, kwargs, sizes_of), sizes_of)
            if key in self._entries or len(self._entries) < MOST_SHAPES:
                return key
        return key if not self.is_own or key in self.reasons else None

    def try_again(self):
        """What settings refused may be possible now; what Python refused, hardly ever."""
        self._tries += 1
        if not self.is_own or self._tries <= MOST_TRIES or self._entries:
            self.reasons.clear()
        for key in self._failed:
            self.reasons.pop(key, None)
        self._failed.clear()

    def refuse(self, key, reason, failed=False):
        """Leaves a kind of call to the layer's own, for this reason.

        Args:
            key: what `entry` returned.
            reason: str.
            failed: bool, whether it failed while it ran, as it may with one batch alone.
        """
        if failed:
            self._failed.add(key)
        if self._opened is not None and key[1] == self._opened:
            self._opened = None  # sizes that the layer does not take are open in it
        self._entries.pop(key, None)
        self._convolve.pop(key, None)
        self.reasons[key] = self.reason = reason

    def all(self):
        """The `Lowered` of every kind of call so far."""
        return [lowered for _, lowered in self._entries.values()]

    def convolutions(self):
        """Of the last call of each kind: which call of all it was, and the ways as a dict."""
        found = []
        device = keras_variables.device_of(self.layer) if self._convolve else None
        for key, (number, shapes, dtypes) in self._convolve.items():
            lowered = self._entries[key][1]
            dtypes = lowered.input_dtypes or dtypes
            found.append((number, graph_report.convolutions(lowered, shapes, dtypes, device)))
        return found


def _with_sizes(mode, flat):
    return (mode, *[(x.shape, x.dtype, x.device) for x in flat])


def has_its_tensors(lowered):
    """Whether the variables still have the tensors that were lowered."""
    for leaf in lowered.leaves.values():
        if keras_variables.memory_of(leaf.variable) is not leaf.tensor:
            return False
    return True
