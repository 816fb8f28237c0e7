"""The forward pass of a graph some of whose layers are known for the sizes of a batch only."""

import contextlib
import warnings

from keras_dawn.foundation import keras_context, keras_layers, keras_variables
from keras_dawn.native.lowering.module import function_of
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.steps import graph_report
from keras_dawn.native.steps.averages import average_now
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.eager_forward import EagerForward
from keras_dawn.native.steps.graph_calls import lowered_or_reason
from keras_dawn.native.steps.graph_inputs import graph_inputs, structured
from keras_dawn.native.steps.half_weights import HalfWeights
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.lowerings import has_its_tensors
from keras_dawn.native.steps.parts import OUT_OF_MEMORY, REFUSED
from keras_dawn.native.steps.same_graph import SameGraph
from keras_dawn.native.steps.states_before import put_back, states_before

import torch


class SizedForward(EagerForward):
    """A Functional or Sequential model, lowered whole for the sizes of each batch.

    Layers of the user's, such as KerasHub's, may ask a batch for its sizes: to reshape it, to look
    positions up. Written down for one kind of batch they are operations of torch like all others.
    A batch that cannot be taken so raises `LoweringError`, and a `GraphForward` follows.

    Args:
        model: built `keras.Model`.
        open_sizes: its `Lowered` for batches of any sizes, with the calls of those layers in it.
        shapes: those that it was lowered for, as `lower` takes them.
    """

    by_sizes = True

    def __init__(self, model, open_sizes, shapes=None):
        super().__init__(model)
        self._given = shapes
        self._open_sizes = self._last = open_sizes  # and the `Lowered` of the last batch
        self._graph = SameGraph(model)
        self._inside = keras_layers.all_layers(model)
        self._known = {}  # mode and shapes of a batch → function, `Lowered`, `HalfWeights`
        self._copies = {True: {}, False: {}}  # of weights in half precision, by the mode
        self._halves = None  # `HalfWeights` of the last batch to train on, or `None`
        self._shapes = self._last_key = None  # of the last batch
        self._has_said = False  # that there are more kinds than are written down
        self._layers = None  # `NativeLayers` inside those that the graph for any sizes calls

    @property
    def outputs(self):
        """Symbolic outputs, flat."""
        return self._open_sizes.functional.outputs

    def lower_training(self):
        super().lower_training()
        # Copies of weights are for those that were trained then.
        self._known = {key: entry for key, entry in self._known.items() if not key[0]}
        self._copies[True].clear()

    def has_run(self, training):
        """Whether some batch has gone this way in a mode."""
        return any(key[0] is training for key in self._known)

    def is_complete(self):
        return True

    def is_current(self):
        """Whether nothing that was read has changed; asked whenever Python of a user's has run."""
        if not (self._graph.holds() and self._added.are_current() and self.has_its_tensors()):
            return False
        return all(
            lowered.reads.are_current() and has_its_tensors(lowered)
            for _, lowered, _ in self._known.values()
        )

    def calls(self):
        """Layers inside those that are called as they are compute natively in this context."""
        if len(self._known) < MOST_KINDS:
            return _NOTHING
        if self._layers is None:
            inside = [layer for layer, _ in self._open_sizes.fallbacks]
            self._layers = NativeLayers(self.model, inside=inside)
        return self._layers.in_place()

    def why_no_graph(self):
        return "layers that ask each batch for its sizes"

    def take_gradients(self):
        """Gives the weights the gradients of their copies; to be called without gradients."""
        if self._halves is not None:
            self._halves.hand_back()

    def alone(self, x, undisturbed=False):
        """The outputs of a batch of a known kind where no Python has to run for them."""
        flat = self._flat(x)
        entry = self._known.get(_key(flat, False))
        if entry is None or not entry[1].is_pure():
            return EMPTY
        with torch.inference_mode():  # it spares each operation what autograd looks at
            return self._compute(flat, False, refresh=not undisturbed)

    def _flat(self, x):
        """The batch as the graph's inputs; Keras's error for one that it refuses."""
        return graph_inputs(self._open_sizes, x, keras_variables.device_of(self.model))

    def _call(self, x, training):
        return self._compute(self._flat(x), training)

    def _compute(self, flat, training, refresh=True):
        key = _key(flat, training)
        if key not in self._known:
            if len(self._known) < MOST_KINDS:
                self._lower(key, training, [tuple(tensor.shape) for tensor in flat], whole=True)
            else:
                key = self._of_any_sizes(training)
        forward, lowered, halves = self._known[key]
        # Another kind of batch may use other weights than the last one.
        if halves is not None and (refresh or key != self._last_key):
            halves.refresh()
        outputs = self._run(forward, lowered, flat, training)
        self._last, self._last_key = lowered, key
        self._shapes = [tensor.shape for tensor in flat]
        if training:
            self._halves = halves
        masks = ()
        if training or lowered.masked:
            outputs, statistics, *masks = outputs
            average_now(lowered.statistics, statistics)
        return structured(lowered, outputs, masks)

    def _run(self, forward, lowered, flat, training):
        if lowered.fallbacks:  # an error is the user's, and happens once
            with keras_context.inside_call(self.model, training):
                return forward(*flat)
        keras_context.drop_added_losses(self._inside)  # those of calls in the other mode
        before = states_before(lowered, flat)
        try:
            return forward(*flat)
        except OUT_OF_MEMORY:
            raise
        except REFUSED as error:  # Keras's own call says what is wrong, or can do it
            put_back(before)
            raise LoweringError(f"{type(error).__name__}: {error}") from error

    def _of_any_sizes(self, training):
        """The key of the graph for any sizes, which is made for batches of further kinds."""
        key = (training,)
        if key not in self._known:
            self._lower(key, training, self._given, whole=False)
            if not self._has_said:
                self._has_said = True
                warnings.warn(
                    f"{self.model.name} was given more than {MOST_KINDS} kinds of batches: further "
                    "kinds go on with layers called one by one where they ask a batch for its "
                    "sizes, slower, with the same results. Padded to fewer sizes, all are a graph.",
                    stacklevel=2,
                )
        return key

    @torch.inference_mode(False)  # for later steps, whoever asks first
    def _lower(self, key, training, shapes, whole):
        with keras_variables.no_autocast():
            lowered = lowered_or_reason(
                self.model, training=training, collect_statistics=training, views=None,
                shapes=shapes, whole=whole,
            )  # fmt: skip
        halves = None
        if keras_variables.device_of(self.model).type == "cpu":
            # Before the function, which is made of the module as it is then.
            halves = HalfWeights(lowered.module, training, self._copies[training])
        self._known[key] = function_of(lowered.module), lowered, halves

    def with_added_losses(self, loss, apart=False):
        # Keras penalises the first; no other Python has run but that of layers that were called.
        python = bool(self._added.views) or bool(self._last.fallbacks)
        if not (python or self._added.penalties()):
            return loss
        self._added.follow_memory()
        return self._added.added_to(loss, python, apart=apart)

    def convolutions(self):
        """Which way each convolution went with the last batch; nothing before the first."""
        device = keras_variables.device_of(self.model)
        dtypes = self._last.input_dtypes
        return graph_report.convolutions(self._last, self._shapes, dtypes, device)

    def native(self):
        return graph_report.native(self._last, self._called())

    def fallbacks(self):
        """Those that the last batch called: none where it was of a kind that is written down."""
        return [] if self._last_key is None else graph_report.fallbacks(self._last, self._called())

    def _called(self):
        """`NativeLayers` inside the layers that the last batch called, or `None`."""
        return self._layers if self._last_key is not None and self._last.fallbacks else None

    def why_own_call(self):
        """Nothing: a graph has no `call` of its own."""

    def uncalled(self):
        """The layers that will be known when a batch has come."""
        if self._last_key is not None:
            return []
        return [layer for layer, _ in graph_report.fallbacks(self._last, None)]


def _key(flat, training):
    """What a lowering is for; the dtypes are those of the graph's inputs."""
    return (training, *[tensor.shape for tensor in flat])


MOST_KINDS = 32  # of batches, for both modes, that a graph is written down for
_NOTHING = contextlib.nullcontext()
