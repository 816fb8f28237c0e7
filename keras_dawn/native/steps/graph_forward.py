"""The forward pass of a step by a lowered graph."""

import contextlib

from keras_dawn.foundation import keras_context, keras_layers, keras_variables
from keras_dawn.native import capture
from keras_dawn.native.lowering.layouts import AS_IS, Leaf
from keras_dawn.native.steps import graph_report
from keras_dawn.native.steps.added_losses import AddedLosses
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.graph_calls import lowered_or_reason
from keras_dawn.native.steps.graph_evaluation import GraphEvaluation
from keras_dawn.native.steps.graph_inputs import graph_inputs, structured
from keras_dawn.native.steps.graph_training import GraphTraining
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.same_graph import SameGraph

import torch


class GraphForward:
    """A Functional or Sequential model, lowered whole for either mode.

    Args:
        model: built `keras.Model`.
        compile: bool, whether to `torch.compile` the lowered graphs.
        shapes: as `lower` takes them.

    Attributes:
        runs_python: bool, whether calls of Keras's or the user's run inside it.
        adds_losses: bool, whether layers or regularizers may add to the loss.
        adds_penalties: bool, whether it adds penalties that Keras must not add.
        is_pure: bool, whether evaluating computes outputs by torch's operations and no more.
    """

    by_layer = by_sizes = False

    def __init__(self, model, compile, shapes=None):
        self.model = model
        self._compile, self._given = compile, shapes
        self._added = AddedLosses(model)
        self.evaluating = lowered_or_reason(
            model, training=False, views=self._added.views, shapes=shapes
        )
        self._some_weight = next(self.evaluating.module.parameters(), None)
        self.training = None
        self._evaluation = None  # made by the first batch that is evaluated
        self._training_call = None  # made with the training graph
        self.reduction = None  # of gradients over the ranks, where torch's does not do
        self.needs_rehearsal = False
        self._layers = None
        self._shapes = None  # of the last batch
        self._inside = keras_layers.all_layers(model)
        self._graph = SameGraph(model)
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
        self.training = lowered_or_reason(
            self.model, training=True, collect_statistics=True, views=views, shapes=self._given
        )
        inside = self.training.leaves
        # Weights that no layer of the graph has: the user's loss or a regularizer may use them.
        others = [v for v in self.model.trainable_weights if id(v) not in inside]
        outside = [Leaf(variable, AS_IS) for variable in others]
        self._added.follow([*inside.values(), *outside])
        self._training_call = GraphTraining(
            self.model, self.training, outside, self._compile, self.on_gpu(), bool(views)
        )
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
        return self._training_call.leaves()

    def connect_training(self, whole):
        """Puts what averages over the ranks around the training graph.

        Args:
            whole: bool, whether the whole step may become a CUDA graph.
        """
        call = self._training_call
        call.connect(whole)
        self.reduction, self.needs_rehearsal = call.reduction, call.needs_rehearsal

    def on_gpu(self):
        """Whether its work can become CUDA graphs."""
        return capture.can_be_captured(self._device())

    def why_no_graph(self):
        """Why a CUDA graph would do something else than the module, or `None`."""
        return self._training_call.why_no_graph(self.on_gpu())

    def why_not_alone(self):
        """Why forward and backward pass become no graph of their own, or `None`."""
        return self._training_call.why_not_alone(self.on_gpu())

    def graph_alone(self, alone):
        """Whether forward and backward pass become a CUDA graph of their own."""
        if not alone or self.why_not_alone() is None:
            self._training_call.graph(alone)

    def averages_in_graph(self):
        """Whether a graph of the whole step would average the gradients over the ranks."""
        return self._training_call.averages_in_graph()

    def release_graphs(self):
        """Gives the memory of CUDA graphs back."""
        if self._training_call is not None:
            self._training_call.release_graph()

    def settings(self):
        """What the Python of a pass reads in every step."""
        return self._added.settings()

    def with_added_losses(self, loss, apart=False):
        """The loss and what layers and regularizers add to it; see `AddedLosses`."""
        return self._added.added_to(loss, self.runs_python, apart=apart)

    def penalise(self, loss, scale):
        """The loss with the penalties that were left out; see `AddedLosses`."""
        return self._added.penalise(loss, scale)

    def is_complete(self):
        """Whether all layers were built before the step."""
        return True

    def is_current(self):
        """Whether nothing that was read has changed, and the variables' memory is shared."""
        if not self._graph.holds() or not self._added.are_current():
            return False
        if self._training_call is not None and not self._training_call.outside_is_current():
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
        self._training_call.refresh()
        outputs, statistics, *masks = self._run(self.training, self._training_call.call, flat)
        return structured(self.training, outputs, masks), statistics, flat[0].shape[0]

    def take_gradients(self):
        """Gives the weights the gradients of their copies; to be called without gradients."""
        self._training_call.take_gradients()

    def evaluate(self, x, undisturbed=False):
        """`(outputs, images in the batch)`.

        Args:
            x: the batch.
            undisturbed: bool, whether the weights are those of the batch before.
        """
        if self._evaluation is None:
            by_hand = not self._compile and not self.on_gpu()  # where no compiler sees to the casts
            self._evaluation = GraphEvaluation(self.evaluating, self._compile, by_hand)
        flat = graph_inputs(self.evaluating, x, self._device())
        self._shapes = [tensor.shape for tensor in flat]
        if not undisturbed:
            self._evaluation.refresh()
        outputs = self._run(self.evaluating, self._evaluation.call, flat)
        return self._evaluation.structured(outputs), flat[0].shape[0]

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
        return graph_report.native(self.training or self.evaluating, self._layers)

    def fallbacks(self):
        return graph_report.fallbacks(self.training or self.evaluating, self._layers)

    def why_own_call(self):
        """Nothing: a graph has no `call` of its own."""

    def uncalled(self):
        """None: a graph holds the layers that it calls."""
        return []

    def convolutions(self):
        """Which way each convolution went with the last batch; nothing before the first."""
        dtypes = self.evaluating.input_dtypes
        found = graph_report.convolutions(self.evaluating, self._shapes, dtypes, self._device())
        return found if self._layers is None else found | self._layers.convolutions()

    def _device(self):
        weight = self._some_weight
        return keras_variables.device_of(self.model) if weight is None else weight.device


_NOTHING = contextlib.nullcontext()
