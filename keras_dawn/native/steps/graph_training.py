"""A lowered graph in training: as it is, averaged over the ranks, or as a CUDA graph."""

from keras_dawn.distributed.collectives import broadcast
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_losses, keras_models
from keras_dawn.native import parallel
from keras_dawn.native.cuda_graph import GraphedForward
from keras_dawn.native.steps.buckets import BucketedReduction
from keras_dawn.native.steps.graph_calls import callable_of
from keras_dawn.native.steps.half_weights import HalfWeights
from keras_dawn.native.steps.kept_outputs import why_frozen
from keras_dawn.native.steps.reduction import GradientReduction


class GraphTraining:
    """What computes a model's outputs in training, and hands the gradients back.

    Args:
        model: `keras.Model`.
        lowered: `Lowered`, its training graph.
        outside: list of `Leaf`s that are trained and not in the graph.
        compile: bool, whether to `torch.compile` the graph.
        on_gpu: bool, whether its work can become CUDA graphs.
        hooked: bool, whether hooks or regularizers of the user's wait for gradients of weights.

    Attributes:
        call: callable from the graph's inputs to what it computes; `connect` makes it.
        reduction: what averages gradients over the ranks where torch's own does not do, or `None`.
        needs_rehearsal: bool; see `parallel.needs_rehearsal`.
    """

    def __init__(self, model, lowered, outside, compile, on_gpu, hooked):
        self._model = model
        self._lowered = lowered
        self._outside = outside
        self._compile = compile
        self._hooked = hooked
        # Several ranks average the gradients of the weights, and a compiler sees to the casts.
        alone = not current().several and not compile and not on_gpu
        self._halves = HalfWeights(lowered.module) if alone else None
        self.call = None
        self.reduction = None
        self.needs_rehearsal = False

    def leaves(self):
        """The leaves that are trained."""
        leaves = [*self._lowered.leaves.values(), *self._outside]
        return [leaf for leaf in leaves if leaf.tensor.requires_grad]

    def connect(self, whole):
        """Puts what averages over the ranks around the graph.

        Args:
            whole: bool, whether the whole step may become a CUDA graph.
        """
        forward = callable_of(self._lowered, self._compile)
        if current().several and (whole or self._decides_in_python()):
            parameters = [leaf.tensor for leaf in self.leaves()]
            # As DistributedDataParallel does when it is made.
            broadcast([parameter.detach() for parameter in parameters])
            kind = BucketedReduction if whole else GradientReduction
            self.reduction = kind(parameters)
            self.call = forward
        elif current().several:
            module = forward if self._compile else self._lowered.module
            self.call = parallel.data_parallel(module)
            self.needs_rehearsal = parallel.needs_rehearsal()
        else:
            self.call = forward

    def why_no_graph(self, on_gpu):
        """Why a CUDA graph would do something else than the module, or `None`.

        Args:
            on_gpu: bool, whether its work can become CUDA graphs now.
        """
        if not on_gpu:
            return "there is no GPU"
        if current().several and parallel.why_no_graph() is not None:
            return parallel.why_no_graph()
        if self._compile:
            return "torch.compile makes its own"
        if not self.leaves():
            return "no weight to train"
        return why_frozen(self._model, self._lowered, self._hooked)

    def why_not_alone(self, on_gpu):
        """Why forward and backward pass become no graph of their own, or `None`."""
        reason = self.why_no_graph(on_gpu)
        return parallel.NO_CUDA_GRAPH if reason is None and current().several else reason

    def graph(self, graphed):
        """Whether `call` is a CUDA graph of forward and backward pass."""
        if graphed:
            self.call = GraphedForward(self._lowered.module)
        else:
            self.call = callable_of(self._lowered, self._compile)

    def release_graph(self):
        """Gives the memory of the CUDA graph back."""
        if isinstance(self.call, GraphedForward):
            self.call.release()

    def averages_in_graph(self):
        """Whether a graph of the whole step would average the gradients over the ranks."""
        return not current().several or isinstance(self.reduction, BucketedReduction)

    def outside_is_current(self):
        """Whether the weights outside the graph share their variables' memory."""
        return all(leaf.is_shared() for leaf in self._outside)

    def refresh(self):
        """Casts the weights anew, which the last step has changed."""
        if self._halves is not None:
            self._halves.refresh()

    def take_gradients(self):
        """Gives the weights the gradients of their copies; to be called without gradients."""
        if self._halves is not None:
            self._halves.hand_back()

    def _decides_in_python(self):
        """Whether another batch, or that of another rank, may reach other weights.

        DistributedDataParallel wants every backward pass to be like the first, and to begin at
        every output.
        """
        own_loss = keras_models.is_overridden(self._model, "compute_loss")
        count = len(self._lowered.functional.outputs)
        left_out = keras_losses.leaves_outputs_out(self._model, count)
        return own_loss or left_out or self._lowered.calls_keras or bool(self._outside)
