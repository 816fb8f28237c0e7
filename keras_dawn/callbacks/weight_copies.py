"""What the callbacks that keep another copy of the weights share."""

import contextlib

from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics
from keras_dawn.foundation.keras_fit import callbacks_of_fit

import keras
import torch


class WeightCopies(keras.callbacks.Callback):
    """Keeps a copy of a model's weights, which stands in for them when the training is over.

    The copy holds the trainable weights and the moving averages of batch normalisation. It
    begins with epoch 0; a `fit` with `initial_epoch` goes on with it, and so do the phases of
    `fit_plan`. The checkpoints of `ResumeTraining` include it.

    Where validation saw the copy, the model has it until the next epoch begins: what is saved,
    compared and restored by the metrics of that validation are the weights that reached them.

    Raises:
        ValueError: Keras's `BackupAndRestore` beside it, when the training begins.

    Attributes:
        updates: int, how often the weights were taken in.
        goes_on: bool, whether another `fit` of the same training follows: the weights then
            stay as they are at the end of this one.
    """

    def __init__(self):
        super().__init__()
        self.updates = 0
        self.goes_on = False
        self._copies = None
        self._begins = self._swapped = False

    def on_train_begin(self, logs=None):
        refuse_backup(self)
        if self._swapped:  # an earlier `fit` was cut off while it validated
            self._swap()
        self._begins = True

    def on_epoch_begin(self, epoch, logs=None):
        if self._swapped:
            self._swap()
        if self._begins and (epoch == 0 or self._copies is None):
            self._make()
        self._begins = False

    @torch.no_grad()
    def on_train_end(self, logs=None):
        if self._swapped and self.goes_on:
            self._swap()
        elif self._swapped:  # the model has it, or what another callback chose by its metrics
            self._swapped = False
            torch._foreach_copy_(self._copies, self._tensors()[0])  # they held the trained weights
        elif self.updates and not self.goes_on:
            self._put_in_place()

    @contextlib.contextmanager
    def in_place(self):
        """A context in which the model has the copy's weights, for instance to save them.

        Raises:
            ValueError: nothing was copied yet.
        """
        if not self.updates:
            raise ValueError(f"{type(self).__name__} has no weights yet: train first.")
        if self._swapped:  # validation has just seen it
            yield self.model
            return
        self._swap()
        try:
            yield self.model
        finally:
            self._swap()

    def state_dict(self):
        """The copy, on the CPU, for checkpoints."""
        return {
            "updates": self.updates,
            "begins": self._begins,  # before the first epoch of a `fit`, which may make it anew
            "swapped": self._swapped,
            "trainable": self._on_cpu(trainable=True),
        }

    def rank_state_dict(self):
        """What of it differs between ranks: the moving averages."""
        return {"statistics": self._on_cpu(trainable=False)}

    def load_state_dict(self, state):
        """Takes up what `state_dict` and `rank_state_dict` returned, merged."""
        self._begins, self._swapped = state["begins"], state["swapped"]
        if state["trainable"] is None:
            self._copies, self.updates = None, 0
            return
        self._make()
        self.updates = state["updates"]
        for trainable, name in ((True, "trainable"), (False, "statistics")):
            # Moving averages are the floats that nobody trains; each rank has its own.
            copies = [c for v, c in self._pairs() if v.trainable == trainable]
            for copy, value in zip(copies, state[name], strict=True):
                copy.copy_(value)

    def _make(self):
        """Makes the copy, of the weights as they are."""
        self._copies = [v.value.detach().clone() for v in self._variables()]
        self.updates = 0

    def _variables(self):
        """The model's weights that have a fraction: no counters, no seeds."""
        return [v for v in self.model.variables if v.value.is_floating_point()]

    def _pairs(self):
        return list(zip(self._variables(), self._copies, strict=True))

    def _tensors(self):
        """The model's tensors and the copies, as two lists."""
        return [v.value.detach() for v in self._variables()], self._copies

    def _on_cpu(self, trainable):
        if self._copies is None:
            return None
        return [copy.cpu().clone() for v, copy in self._pairs() if v.trainable == trainable]

    @torch.no_grad()
    def _swap(self):
        self._swapped = not self._swapped
        for tensor, copy in zip(*self._tensors(), strict=True):
            # In place: a CUDA graph and the optimizer hold these very tensors.
            kept = tensor.clone()
            tensor.copy_(copy)
            copy.copy_(kept)

    @torch.no_grad()
    def _put_in_place(self):
        """Gives the model the copy's weights for good."""
        torch._foreach_copy_(*self._tensors())
        if current().several:
            average_moving_statistics(self.model)


def refuse_backup(callback):
    """Raises `ValueError` where Keras's `BackupAndRestore` is beside a callback that keeps weights.

    It saves the model alone, and that in the state in which validation has seen it.
    """
    if any(isinstance(one, keras.callbacks.BackupAndRestore) for one in callbacks_of_fit(callback)):
        raise ValueError(
            f"{type(callback).__name__} keeps weights that Keras's BackupAndRestore does not save: "
            "a training that was cut off would go on with others. Use keras_dawn's "
            "ResumeTraining in its place."
        )
