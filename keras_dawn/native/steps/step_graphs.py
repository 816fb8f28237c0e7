"""Which part of a model's training step is a CUDA graph."""

from keras_dawn.data.unmade import Unmade
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_variables
from keras_dawn.foundation.model_state import metric_variables
from keras_dawn.native.cuda_graph import MOST_GRAPHS
from keras_dawn.native.steps.agreement import NO_MORE, CaptureAgreement
from keras_dawn.native.steps.autocast import numerics
from keras_dawn.native.steps.whole_step import WholeStep

import keras

WHOLE = "the whole step"


class StepGraphs:
    """The graph of a whole step where one can be made, else of its forward and backward pass.

    Args:
        steps: `NativeSteps`.
        take: callable `(inputs, targets, sample weights)`, the whole step on tensors.

    Attributes:
        whole: `WholeStep`, or `None`.
        reason: str, why there is none, or `None`.
    """

    def __init__(self, steps, take):
        self._steps = steps
        self._take_step = take
        self.whole = self.reason = self._memory = None
        self._agreement = CaptureAgreement(False)

    def connect(self):
        """Looks at a step that was just prepared."""
        self.release()
        self.whole, self.reason = None, self.why_not_whole()
        averages = self._steps.forward.averages_in_graph()
        # Also where this rank makes no graph now: another one must not record alone.
        self._agreement = CaptureAgreement(current().several and averages)
        if self.reason is None and not averages:
            self.reason = "its gradients are averaged by DistributedDataParallel already"
        if self.reason is None:
            optimization = self._steps.optimization
            optimization.update.follow_on_device()
            self._memory = self._where_it_lies()
            self.whole = WholeStep(self, optimization.update.device, self._agreement)
        self._steps.forward.graph_alone(self.whole is None)

    def why_not_whole(self):
        """Why the whole step cannot become a graph, or `None`."""
        steps = self._steps
        reason = steps.forward.why_no_graph()
        if reason is None and steps.loss.reason is not None:
            reason = f"the loss: {steps.loss.reason}"
        if reason is None:
            reason = steps.metrics.reason
        return steps.optimization.why_no_graph() if reason is None else reason

    def step(self, batch):
        """A training step, with the whole of it as a graph as soon as that can be.

        Args:
            batch: `(inputs, targets, weights)`, tensors on the device, or `Unmade`.
        """
        self.whole(batch)
        if self.whole.reason is not None:
            self.whole, self.reason = None, self.whole.reason
            self._steps.forward.graph_alone(True)

    def stay_out(self):
        """Tells other ranks, before an ordinary step, that this one makes no graphs."""
        self._agreement.next_step(NO_MORE)

    def take(self, batch):
        """An ordinary step; why a graph would not do the same, or `None`."""
        self._take(*(self.parts(batch.made()) if isinstance(batch, Unmade) else batch))
        return self._why_not_the_same()

    def record(self, unmade, tensors):
        """The same with an `Unmade`'s tensors that a graph writes its batches to."""
        self._take(*self.parts(unmade.make(*tensors)))
        return self._why_not_the_same()

    def parts(self, batch):
        """Inputs, targets and weights of a batch as its data gives it."""
        return self._steps.parts(batch)

    def _take(self, inputs, targets, weights):
        self._steps.optimization.clear()  # of what a capture that failed has left
        self._take_step(inputs, targets, weights)

    def _why_not_the_same(self):
        steps = self._steps
        parts = steps.loss, steps.metrics, steps.optimization
        if any(part.left_to_keras for part in parts):
            return "a batch that Keras has to look at"
        return self.why_not_whole()

    def settings(self):
        """All that the Python of a step reads, and a graph would freeze."""
        steps = self._steps
        config = keras.config.epsilon(), keras.config.floatx(), steps.keep_gradients
        config = *config, steps.rank_weight, numerics(steps.optimization.update.device)
        parts = steps.forward, steps.optimization, steps.loss, steps.metrics
        return config, *(part.settings() for part in parts)

    def kept(self):
        """The gradients that the last step has left in the variables, where that is asked for."""
        return self._steps.optimization.kept() if self._steps.keep_gradients else []

    def hand_out(self, gradients):
        """Leaves gradients in the variables."""
        self._steps.optimization.hand_out(gradients)

    def how(self):
        """What is a graph, and why not more; `None` without a GPU."""
        forward = self._steps.forward
        if self._steps.averages is None or not forward.on_gpu():
            return None
        if self.whole is not None and self.whole.crowded:
            return f"{WHOLE}, for {MOST_GRAPHS} kinds of batch; there are more, which run eagerly"
        if self.whole is not None and self.whole.uneven and not self.whole.made:
            return f"{WHOLE}, as soon as no rank has batches of other shapes, which run eagerly"
        if self.whole is not None:
            return WHOLE
        alone = forward.why_not_alone()
        if alone is not None:
            why = "" if self.reason in (alone, None) else f"; nor of the whole step: {self.reason}"
            return f"none: {alone}{why}"
        return f"forward and backward pass; not the whole step: {self.reason}"

    def check_memory(self):
        """Drops graphs that would write to where a weight or a state was before."""
        # A graph writes to addresses: a weight that was assigned a new tensor is elsewhere.
        if self.whole is not None and self._where_it_lies() != self._memory:
            self.whole.release()
            self._memory = self._where_it_lies()

    def _where_it_lies(self):
        model = self._steps.model
        variables = [*model.variables, *model.optimizer.variables, *metric_variables(model)]
        return [keras_variables.memory_of(variable).data_ptr() for variable in variables]

    def release(self):
        """Gives the memory of graphs back; steps that follow make new ones."""
        self._steps.forward.release_graphs()
        if self.whole is not None:
            self.whole.release()
