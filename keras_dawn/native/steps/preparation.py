"""What the steps of a model are made of: made ready when it is asked for, and kept up to date."""

import warnings

from keras_dawn.distributed.metrics import check_metrics
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_layers, keras_models
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.native.lowering.layouts import moves
from keras_dawn.native.statistics import MovingAverages
from keras_dawn.native.steps.beside import flat_tensors
from keras_dawn.native.steps.graph_forward import GraphForward
from keras_dawn.native.steps.graph_way import GraphWay
from keras_dawn.native.steps.layer_forward import LayerForward
from keras_dawn.native.steps.metrics import NativeMetrics
from keras_dawn.native.steps.optimization import Optimization, Trainability
from keras_dawn.native.steps.sized_forward import SizedForward
from keras_dawn.native.steps.step_graphs import StepGraphs
from keras_dawn.native.steps.step_loss import StepLoss


class Preparation:
    """Forward pass, loss, metrics, optimizer, averages and CUDA graphs of one model's steps.

    Args:
        model: built `keras.Model`.
        train: callable, the step that may become a CUDA graph; see `StepGraphs`.
        compile: bool, whether to `torch.compile` the lowered graphs.
        way: `GraphWay` of a model that is a graph of layers.
    """

    def __init__(self, model, train, compile=False, way=None):
        self.model = model
        self.forward = make_forward(model, compile, way or GraphWay())
        self.metrics = None
        self.optimization = None
        self.averages = None
        self.graphs = StepGraphs(self, train)
        self.loss = StepLoss(model, self.forward)
        self._output_ranks = None

    def prepare_losses(self):
        """Reads loss and metrics from `compile`, once they are built and the outputs are known."""
        if self.metrics is None and self.forward.outputs is not None:
            self._read_compiled(self.forward.outputs)

    def _read_compiled(self, outputs):
        self.loss.read(outputs)
        self.metrics = NativeMetrics(self.model)

    def look_at(self, outputs):
        """Takes note of the outputs of a model whose Python decides what they are."""
        flat = flat_tensors(outputs)
        ranks = [tensor.ndim for tensor in flat]
        if ranks != self._output_ranks:
            self._output_ranks = ranks
            self._read_compiled(flat)

    def prepare_training(self):
        """Makes the forward pass for training ready and lays out the optimizer's state.

        Whether what is ready still holds is for `is_current` to say, before.
        """
        self.prepare_losses()
        if self.optimization is not None:
            return
        keras_models.clear_gradients(self.model)  # a weight that is frozen now gets no other
        optimizer = self.model.optimizer
        inner = unwrap(optimizer)
        if not inner.built:
            inner.build(self.model.trainable_variables)
        if current().several:
            check_metrics(self.model)
        self.forward.lower_training()
        self._optimize()
        self._trainability = Trainability(self.model)
        self.forward.connect_training(self.graphs.why_not_whole() is None)
        training = self.forward.training
        self.averages = MovingAverages(training.statistics if training else [])
        self.graphs.connect()
        halves = [layer for layer in self.forward.native() if _in_float16(layer)]
        if halves and optimizer is inner and optimizer.loss_scale_factor is None:
            warnings.warn(
                f"{halves[0].name} and others compute in float16, but the optimizer does not "
                "scale the loss, so small gradients become 0. Set the mixed_float16 policy "
                "before the model is made, or compile with keras.optimizers.LossScaleOptimizer.",
                stacklevel=2,
            )

    def follow_trainability(self):
        """Takes up a layer or weight that was frozen or thawed since the last step."""
        if self._trainability.changed():  # Keras looks at `trainable` in every step, too
            self.optimization = None
            self.prepare_training()

    def follow_the_call(self):
        """Takes up what a call with Python in it has changed: layers are lowered in it.

        Weights laid out for torch want their optimizer state laid out alike. Layers that were
        built just now have weights that the optimizer may not know, which is Keras's error.
        """
        if moves.count != self._moves or not self.forward.is_complete():
            self._moves = moves.count
            self._optimize()

    def _optimize(self):
        python = self.forward.runs_python or self.loss.reason is not None  # a loss of the user's
        leaves, may_vary = self.forward.leaves(), self.forward.by_sizes
        self.optimization = Optimization(self.model, leaves, python, may_vary)
        self._moves = moves.count

    @property
    def update(self):
        """The optimizer step that is taken when every weight gets a gradient."""
        return None if self.optimization is None else self.optimization.update

    def is_current(self):
        """Whether what was read of the model still holds."""
        # Layers may have been built since, by Keras too, which does so when a `fit` begins.
        if self.optimization is not None and not (
            self._trainability.is_of_all() and self.optimization.is_current()
        ):
            return False
        if self.averages is not None and not self.averages.are_shared():
            return False
        self.graphs.check_memory()
        return self.forward.is_current()


def make_forward(model, compile, way):
    """`GraphForward` of a model that is a graph of layers, else `LayerForward`.

    `SizedForward` of a graph whose layers are known for the sizes of a batch only.
    """
    graph = keras_models.functional_graph(model) is not None
    if not graph or way.by_layer or not keras_layers.is_only_its_call(model):
        return LayerForward(model)
    forward = GraphForward(model, compile, way.shapes)
    # On several ranks the graph's own reduction averages whatever its layers leave.
    may_know_sizes = way.by_sizes and not compile and not current().several
    if may_know_sizes and forward.evaluating.wants_sizes():
        return SizedForward(model, forward.evaluating, way.shapes)
    return forward


def _in_float16(layer):
    return getattr(layer, "compute_dtype", None) == "float16"
