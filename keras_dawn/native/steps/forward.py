"""The forward pass of a step: a lowered graph, or the model's own Python with native layers."""

import contextlib

from keras_dawn.distributed.collectives import broadcast
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_internals
from keras_dawn.native import parallel
from keras_dawn.native.cuda_graph import GraphedForward
from keras_dawn.native.lowering import lower
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.lowering.layouts import AS_IS, Leaf
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.parts import fits
from keras_dawn.native.steps.penalties import Penalties
from keras_dawn.native.steps.reduction import GradientReduction
from keras_dawn.native.steps.special_weights import same, sort_out, special_weights

import keras
import torch


class GraphForward:
    """A Functional or Sequential model, lowered whole for either mode.

    Args:
        model: built `keras.Model`.
        compile: bool, whether to `torch.compile` the lowered graphs.
    """

    by_layer = False

    def __init__(self, model, compile):
        self.model = model
        self._compile = compile
        self._functional = keras_internals.functional_graph(model)
        self._special = special_weights(model)
        self._penalised, self._views = sort_out(self._special, model)
        self._penalties = self._penalties_on({})
        self.evaluating = _lowered(model, training=False, views=self._views)
        self.training = None
        self._call_evaluating = self._callable(self.evaluating)
        self._call_training = None
        self.reduction = None  # of gradients over the ranks, where torch's does not do
        self.needs_rehearsal = False
        self._layers = None

    @property
    def outputs(self):
        """Symbolic outputs, flat."""
        return self.evaluating.functional.outputs

    @property
    def lowered(self):
        return [low for low in (self.evaluating, self.training) if low is not None]

    @property
    def runs_python(self):
        """Whether calls of Keras's or the user's run inside it, which may add losses."""
        return any(low.calls_keras for low in self.lowered) or bool(self._views)

    def lower_training(self):
        """Lowers the training graph."""
        self.training = _lowered(
            self.model, training=True, collect_statistics=True, views=self._views
        )
        if self._penalised:  # a layer may have been frozen since
            self._penalised = sort_out(special_weights(self.model), self.model)[0]
            leaves = self.training.leaves.values()
            tensors = {id(leaf.variable): leaf.tensor for leaf in leaves}
            self._penalties = self._penalties_on(tensors)

    def _penalties_on(self, tensors):
        own = keras_internals.memory_of
        return Penalties(self._penalised, [tensors.get(id(v), own(v)) for v in self._penalised])

    def leaves(self):
        """The leaves that are trained."""
        return [leaf for leaf in self.training.leaves.values() if leaf.tensor.requires_grad]

    def connect_training(self):
        """Puts what calls it around the training graph: ranks, or a CUDA graph."""
        forward = self._callable(self.training)
        if current().several and self._decides_in_python():
            parameters = [leaf.tensor for leaf in self.leaves()]
            broadcast([parameter.detach() for parameter in parameters])
            self.reduction = GradientReduction(parameters)
            self._call_training = forward
        elif current().several:
            self._call_training = parallel.data_parallel(forward)
            self.needs_rehearsal = parallel.needs_rehearsal()
        elif self._compile or self._is_no_cuda_graph():
            self._call_training = forward
        else:
            self._call_training = GraphedForward(forward)

    def _is_no_cuda_graph(self):
        """Whether a CUDA graph would do something else than the module.

        Keras's or the user's Python would be frozen in it, or takes numbers from the host; its
        trial runs would move states that are kept; and its outputs are the same memory in every
        step, which nobody may keep.
        """
        training = self.training
        python = training.calls_keras or training.calls_operations
        return python or training.changes_state or may_keep_outputs(self.model)

    @property
    def adds_losses(self):
        """Whether layers or regularizers may add to the loss."""
        return bool(self._penalised) or self.runs_python

    @property
    def adds_penalties(self):
        """Whether it adds penalties that Keras must not add."""
        return bool(self._penalised)

    def with_added_losses(self, loss):
        """The loss and what layers and regularizers add to it."""
        if not self._penalised or loss.ndim:  # Keras knows what to say of one that is not reduced
            return keras_internals.with_added_losses(self.model, loss)
        if self.runs_python:
            loss = keras_internals.with_added_losses_but_of(self.model, loss, self._penalised)
        return self._penalties.added_to(loss)

    def _decides_in_python(self):
        """Whether another batch, or that of another rank, may reach other weights.

        DistributedDataParallel wants every backward pass to be like the first.
        """
        own_loss = keras_internals.is_overridden(self.model, "compute_loss")
        return own_loss or self.training.calls_keras

    def is_complete(self):
        """Whether all layers were built before the step."""
        return True

    def is_current(self):
        """Whether nothing that was read has changed, and the variables' memory is shared."""
        model = self.model
        if keras_internals.functional_graph(model) is not self._functional:
            return False  # layers were added to a Sequential, or taken from it
        if not keras_internals.is_only_its_call(model):
            return False
        if not same(special_weights(model), self._special):
            return False
        return all(
            low.reads.are_current() and all(leaf.is_shared() for leaf in low.leaves.values())
            for low in self.lowered
        )

    def calls(self):
        """Layers inside those that are called as they are compute natively in this context."""
        if not self.runs_python:
            return contextlib.nullcontext()
        if self._layers is None:
            inside = [layer for low in self.lowered for layer, _ in low.fallbacks]
            self._layers = NativeLayers(self.model, inside=inside)
        return self._layers.in_place()

    def train(self, x):
        """`(outputs, statistics, images in the batch)` of a batch to train on."""
        flat = self._inputs(self.training, x)
        outputs, statistics, *masks = self._run(self.training, self._call_training, flat)
        return self._structured(self.training, outputs, masks), statistics, flat[0].shape[0]

    def evaluate(self, x):
        """`(outputs, images in the batch)`."""
        flat = self._inputs(self.evaluating, x)
        outputs = self._run(self.evaluating, self._call_evaluating, flat)
        masks = ()
        if self.evaluating.masked:
            outputs, _, *masks = outputs
        return self._structured(self.evaluating, outputs, masks), flat[0].shape[0]

    def _run(self, lowered, forward, flat):
        if not lowered.calls_keras:
            return forward(*flat)
        with keras_internals.inside_call(self.model, lowered is self.training):
            return forward(*flat)

    def native(self):
        inside = [] if self._layers is None else self._layers.native()
        return [*(self.training or self.evaluating).native, *inside]

    def fallbacks(self):
        return (self.training or self.evaluating).fallbacks

    def _callable(self, lowered):
        return torch.compile(lowered.module) if self._compile else lowered.module

    def _inputs(self, lowered, x):
        """The batch as the graph's inputs: flat, on the device, in the inputs' dtypes."""
        if isinstance(x, torch.Tensor) and fits([x], lowered.functional.inputs):
            flat = [x]
        else:
            if len(keras.tree.flatten(x)) != len(lowered.functional.inputs):
                raise LoweringError("it was given another number of inputs")
            flat = keras_internals.standardize_inputs(lowered.functional, x)
            for tensor, expected in zip(flat, lowered.functional.inputs, strict=True):
                if tensor is None:
                    raise LoweringError("an optional input is None")
                if not fits([tensor], [expected]):
                    raise LoweringError(
                        f"its graph is for inputs of shape {tuple(expected.shape)}, and it was "
                        f"given {tuple(tensor.shape)}"
                    )
        device = self._device()
        return [
            tensor.to(device, dtype) if (tensor.dtype, tensor.device) != (dtype, device) else tensor
            for tensor, dtype in zip(flat, lowered.input_dtypes, strict=True)
        ]

    def _device(self):
        for parameter in self.evaluating.module.parameters():
            return parameter.device
        return torch.device("cpu")

    def _structured(self, lowered, outputs, masks):
        flat = outputs if isinstance(outputs, tuple) else (outputs,)
        for tensor, mask in zip(flat, masks[0] if masks else (), strict=False):
            if mask is not None:
                keras_internals.attach_mask(tensor, mask)
        if lowered.output_structure == 0:
            return outputs
        return keras.tree.pack_sequence_as(lowered.output_structure, list(flat))


class LayerForward:
    """A model that keeps its Python: its own call, with layers that compute natively.

    Args:
        model: built `keras.Model`.
    """

    by_layer = True
    runs_python = adds_losses = True
    adds_penalties = False
    reduction = None  # `fit` does that, whose step may be the model's own
    needs_rehearsal = False
    training = evaluating = None

    def __init__(self, model):
        self.model = model
        self.layers = NativeLayers(model)

    outputs = None  # symbolic outputs are not known

    def lower_training(self):
        """Nothing: each part is lowered when it is called."""

    connect_training = lower_training

    def leaves(self):
        return [Leaf(variable, AS_IS) for variable in self.model.trainable_variables]

    def with_added_losses(self, loss):
        layers = self.layers
        sure = layers.complete and not layers.regularized
        if sure and not keras_internals.has_added_losses(layers.all):
            return loss
        return keras_internals.with_added_losses(self.model, loss)

    def is_complete(self):
        return not self.layers.found_more()

    def is_current(self):
        self.layers.refresh()
        return True  # each part looks at its settings when it is called

    def calls(self):
        return self.layers.in_place()

    def train(self, x):
        return self._call(x, True), (), _batch_size(x)

    def evaluate(self, x):
        return self._call(x, False), _batch_size(x)

    def _call(self, x, training):
        # Exactly what `Model.train_step` and `test_step` do: a `call` without the argument is
        # not told the mode.
        if keras_internals.has_training_argument(self.model):
            return self.model(x, training=training)
        return self.model(x)

    def native(self):
        return self.layers.native()

    def fallbacks(self):
        return self.layers.fallbacks()


def _batch_size(x):
    return next(leaf for leaf in keras.tree.flatten(x) if leaf is not None).shape[0]


def may_keep_outputs(model):
    """Whether code of the user's sees a step's outputs, and may look at them later."""
    if any(keras_internals.is_overridden(model, f"compute_{n}") for n in ("loss", "metrics")):
        return True
    parts = [part for metric in model.metrics for part in getattr(metric, "metrics", [metric])]
    return not all(type(part).__module__.startswith(("keras.", "keras_dawn.")) for part in parts)


def _lowered(model, **arguments):
    """`lower`, whose every error is a reason to go layer by layer."""
    try:
        return lower(model, **arguments)
    except LoweringError:
        raise
    except Exception as error:
        raise LoweringError(f"lowering it failed: {type(error).__name__}: {error}") from error
