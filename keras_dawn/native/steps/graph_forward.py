"""The forward pass of a step by a lowered graph."""

import contextlib

from keras_dawn.distributed.collectives import broadcast
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import (
    keras_context,
    keras_layers,
    keras_models,
    keras_variables,
)
from keras_dawn.native import capture, parallel
from keras_dawn.native.convolution_ways import convolution_ways
from keras_dawn.native.cuda_graph import GraphedForward
from keras_dawn.native.lowering import lower
from keras_dawn.native.lowering.layouts import AS_IS, Leaf
from keras_dawn.native.lowering.module import function_of
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.steps.added_losses import AddedLosses
from keras_dawn.native.steps.buckets import BucketedReduction
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.graph_inputs import graph_inputs, structured
from keras_dawn.native.steps.half_weights import HalfWeights
from keras_dawn.native.steps.kept_outputs import why_frozen
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.reduction import GradientReduction

import torch


class GraphForward:
    """A Functional or Sequential model, lowered whole for either mode.

    Args:
        model: built `keras.Model`.
        compile: bool, whether to `torch.compile` the lowered graphs.

    Attributes:
        runs_python: bool, whether calls of Keras's or the user's run inside it.
        adds_losses: bool, whether layers or regularizers may add to the loss.
        adds_penalties: bool, whether it adds penalties that Keras must not add.
        is_pure: bool, whether evaluating computes outputs by torch's operations and no more.
    """

    by_layer = False

    def __init__(self, model, compile):
        self.model = model
        self._compile = compile
        self._functional = keras_models.functional_graph(model)
        self._added = AddedLosses(model)
        self.evaluating = _lowered(model, training=False, views=self._added.views)
        self._some_weight = next(self.evaluating.module.parameters(), None)
        self.training = None
        self._call_evaluating = None  # made by the first batch that is evaluated
        self._evaluated_halves = None  # copies of the weights in half precision
        self._call_training = None
        self.reduction = None  # of gradients over the ranks, where torch's does not do
        self.needs_rehearsal = False
        self._layers = None
        self._halves = None  # such copies in training
        self._outside = []  # leaves that are trained besides those of the training graph
        self._shapes = None  # of the last batch
        self._inside = keras_layers.all_layers(model)
        self._look()

    @property
    def outputs(self):
        """Symbolic outputs, flat."""
        return self.evaluating.functional.outputs

    @property
    def lowered(self):
        return [low for low in (self.evaluating, self.training) if low is not None]

    def lower_training(self):
        """Lowers the training graph."""
        views = self._added.views
        self.training = _lowered(self.model, training=True, collect_statistics=True, views=views)
        inside = self.training.leaves
        # Weights that no layer of the graph has: the user's loss or a regularizer may use them.
        others = [v for v in self.model.trainable_weights if id(v) not in inside]
        self._outside = [Leaf(variable, AS_IS) for variable in others]
        self._added.follow([*inside.values(), *self._outside])
        # Several ranks average the gradients of the weights, and a compiler sees to the casts.
        alone = not current().several and not self._compile and not self.on_gpu()
        self._halves = HalfWeights(self.training.module) if alone else None
        self._look()

    def _look(self):
        """Takes note of what each step asks."""
        calls = any(lowered.calls_keras for lowered in self.lowered)
        self.is_pure = not (self._compile or calls) and self.evaluating.is_pure()
        self.runs_python = calls or bool(self._added.views)
        self.adds_penalties = self._added.penalties()
        self.adds_losses = self.adds_penalties or self.runs_python

    def leaves(self):
        """The leaves that are trained."""
        leaves = [*self.training.leaves.values(), *self._outside]
        return [leaf for leaf in leaves if leaf.tensor.requires_grad]

    def connect_training(self, whole):
        """Puts what averages over the ranks around the training graph.

        Args:
            whole: bool, whether the whole step may become a CUDA graph.
        """
        forward = self._callable(self.training)
        if current().several and (whole or self._decides_in_python()):
            parameters = [leaf.tensor for leaf in self.leaves()]
            # As DistributedDataParallel does when it is made.
            broadcast([parameter.detach() for parameter in parameters])
            kind = BucketedReduction if whole else GradientReduction
            self.reduction = kind(parameters)
            self._call_training = forward
        elif current().several:
            module = forward if self._compile else self.training.module
            self._call_training = parallel.data_parallel(module)
            self.needs_rehearsal = parallel.needs_rehearsal()
        else:
            self._call_training = forward

    def why_no_graph(self):
        """Why a CUDA graph would do something else than the module, or `None`."""
        if not self.on_gpu():
            return "there is no GPU"
        if current().several and parallel.why_no_graph() is not None:
            return parallel.why_no_graph()
        if self._compile:
            return "torch.compile makes its own"
        if not self.leaves():
            return "no weight to train"
        return why_frozen(self.model, self.training, bool(self._added.views))

    def on_gpu(self):
        """Whether its work can become CUDA graphs."""
        return capture.can_be_captured(self._device())

    def graph_alone(self, alone):
        """Whether forward and backward pass become a CUDA graph of their own."""
        if not alone:
            self._call_training = self._callable(self.training)
        elif self.why_not_alone() is None:
            self._call_training = GraphedForward(self.training.module)

    def why_not_alone(self):
        """Why forward and backward pass become no graph of their own, or `None`."""
        reason = self.why_no_graph()
        return parallel.NO_CUDA_GRAPH if reason is None and current().several else reason

    def averages_in_graph(self):
        """Whether a graph of the whole step would average the gradients over the ranks."""
        return not current().several or isinstance(self.reduction, BucketedReduction)

    def release_graphs(self):
        """Gives the memory of CUDA graphs back."""
        if isinstance(self._call_training, GraphedForward):
            self._call_training.release()

    def settings(self):
        """What the Python of a pass reads in every step."""
        return self._added.settings()

    def with_added_losses(self, loss, apart=False):
        """The loss and what layers and regularizers add to it; see `AddedLosses`."""
        return self._added.added_to(loss, self.runs_python, apart=apart)

    def penalise(self, loss, scale):
        """The loss with the penalties that were left out; see `AddedLosses`."""
        return self._added.penalise(loss, scale)

    def _decides_in_python(self):
        """Whether another batch, or that of another rank, may reach other weights.

        DistributedDataParallel wants every backward pass to be like the first.
        """
        own_loss = keras_models.is_overridden(self.model, "compute_loss")
        return own_loss or self.training.calls_keras or bool(self._outside)

    def is_complete(self):
        """Whether all layers were built before the step."""
        return True

    def is_current(self):
        """Whether nothing that was read has changed, and the variables' memory is shared."""
        model = self.model
        if keras_models.functional_graph(model) is not self._functional:
            return False  # layers were added to a Sequential, or taken from it
        if not keras_layers.is_only_its_call(model):
            return False
        if not self._added.are_current():
            return False
        if not all(leaf.is_shared() for leaf in self._outside):
            return False
        return all(
            low.reads.are_current() and all(leaf.is_shared() for leaf in low.leaves.values())
            for low in self.lowered
        )

    def calls(self):
        """Layers inside those that are called as they are compute natively in this context."""
        if not self.runs_python:
            return _NOTHING
        if self._layers is None:
            # Made when it is needed: most graphs call no Keras layer.
            inside = [layer for low in self.lowered for layer, _ in low.fallbacks]
            self._layers = NativeLayers(self.model, inside=inside)
        return self._layers.in_place()

    def inputs(self, x):
        """What `train` takes: the batch as the graph's inputs."""
        return graph_inputs(self.training, x, self._device())

    def train(self, flat):
        """`(outputs, statistics, images in the batch)` of a batch to train on."""
        self._shapes = [tensor.shape for tensor in flat]
        if self._halves is not None:
            self._halves.refresh()
        outputs, statistics, *masks = self._run(self.training, self._call_training, flat)
        return structured(self.training, outputs, masks), statistics, flat[0].shape[0]

    def take_gradients(self):
        """Gives the weights the gradients of their copies; to be called without gradients."""
        if self._halves is not None:
            self._halves.hand_back()

    def evaluate(self, x, undisturbed=False):
        """`(outputs, images in the batch)`.

        Args:
            x: the batch.
            undisturbed: bool, whether the weights are those of the batch before.
        """
        if self._call_evaluating is None:
            # Where no compiler sees to the casts.
            by_hand = not self._compile and not self.on_gpu()
            self._evaluated_halves = HalfWeights(self.evaluating.module, False) if by_hand else None
            self._call_evaluating = self._callable(self.evaluating)
        flat = graph_inputs(self.evaluating, x, self._device())
        if self._evaluated_halves is not None and not undisturbed:
            self._evaluated_halves.refresh()
        self._shapes = [tensor.shape for tensor in flat]
        outputs = self._run(self.evaluating, self._call_evaluating, flat)
        masks = ()
        if self.evaluating.masked:
            outputs, _, *masks = outputs
        return structured(self.evaluating, outputs, masks), flat[0].shape[0]

    def alone(self, x, undisturbed=False):
        """The outputs of a batch, or `EMPTY` where more is to happen than to compute them.

        Args:
            x: the batch.
            undisturbed: bool, whether nothing of the user's has run since the batch before.
        """
        if not self.is_pure:
            return EMPTY
        # It spares each operation what autograd looks at, a fifth of a short one.
        with torch.inference_mode():
            return self.evaluate(x, undisturbed)[0]

    def _run(self, lowered, forward, flat):
        if not lowered.calls_keras:
            keras_context.drop_added_losses(self._inside)  # those of calls in the other mode
            return forward(*flat)
        with keras_context.inside_call(self.model, lowered is self.training):
            return forward(*flat)

    def native(self):
        inside = [] if self._layers is None else self._layers.native()
        return [*(self.training or self.evaluating).native, *inside]

    def fallbacks(self):
        inside = [] if self._layers is None else self._layers.native()
        native = {id(layer) for layer in inside}  # lowered when they are called
        found = (self.training or self.evaluating).fallbacks
        # What was found when they were called says more than what was not known before.
        known = {} if self._layers is None else self._layers.reasons()
        return [
            (layer, known.get(id(layer), reason))
            for layer, reason in found
            if id(layer) not in native
        ]

    def why_own_call(self):
        """Nothing: a graph has no `call` of its own."""

    def uncalled(self):
        """None: a graph holds the layers that it calls."""
        return []

    def convolutions(self):
        """Which way each convolution went with the last batch; nothing before the first.

        Nor where the user's Python would run, or a generator would count, to find it out.
        """
        evaluating = self.evaluating
        if self._shapes is None or evaluating.calls_keras or evaluating.changes_state:
            return {}
        if self._device().type != "cpu":
            return {}
        return convolution_ways(evaluating.module, self._shapes, evaluating.input_dtypes)

    def _callable(self, lowered):
        if self._compile:
            return torch.compile(lowered.module)
        forward = function_of(lowered.module)
        # Past the module's own call, which looks for hooks: nobody has put any on it.
        return lowered.module.forward if forward is lowered.module else forward

    def _device(self):
        weight = self._some_weight
        return keras_variables.device_of(self.model) if weight is None else weight.device


_NOTHING = contextlib.nullcontext()


def _lowered(model, **arguments):
    """`lower`, whose every error is a reason to go layer by layer."""
    try:
        return lower(model, **arguments)
    except LoweringError:
        raise
    except Exception as error:
        raise LoweringError(f"lowering it failed: {type(error).__name__}: {error}") from error
