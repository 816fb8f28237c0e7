"""Snapshots of the weights at the ends of cycles, and their ensemble."""

import math

from keras_dawn.callbacks.weight_copies import refuse_backup
from keras_dawn.evaluation.scores import AS_THEY_ARE, Scores
from keras_dawn.evaluation.views import check_order

import keras
import numpy as np
import torch


class Snapshots(keras.callbacks.Callback):
    """Keeps the weights at given points of the training: one model per cycle of SGDR.

    A cosine schedule with restarts (`schedules.cosine_restarts`) ends each cycle in a model that
    is good by itself; together they make an ensemble for the price of one training (Huang
    et al. 2017, arXiv:1704.00109). Checkpoints of `ResumeTraining` include the snapshots.

    Args:
        at: floats in (0, 1], fractions of the training; `schedules.restart_ends()` for the
            ends of `cosine_restarts()`.

    Attributes:
        weights: list of what `model.get_weights()` returned, one a snapshot.

    Raises:
        ValueError: fractions that do not increase or lie outside (0, 1]; when the training begins,
            Keras's `BackupAndRestore` beside it.

    Example:
        >>> from keras_dawn.schedules import restart_ends
        >>> snapshots = Snapshots(restart_ends())
        >>> [round(fraction, 3) for fraction in snapshots.at]
        [0.143, 0.429, 1.0]
    """

    def __init__(self, at):
        super().__init__()
        at = [float(fraction) for fraction in at]
        if not at or at != sorted(set(at)) or at[0] <= 0 or at[-1] > 1:
            raise ValueError(f"`at` must be increasing fractions in (0, 1], got {at}.")
        self.at = at
        self.weights = []
        self._begins = False

    def on_train_begin(self, logs=None):
        refuse_backup(self)
        self._begins = True

    def on_epoch_begin(self, epoch, logs=None):
        steps = self.params.get("steps")
        if not steps:
            raise ValueError("Snapshots needs to know the steps: pass `steps_per_epoch=` to `fit`.")
        # Within this epoch alone: those of a plan's phases have different lengths.
        epochs = self.params["epochs"]
        # Halves up: to the even number, one between two epochs could belong to neither.
        due = [math.floor((fraction * epochs - epoch) * steps + 0.5) for fraction in self.at]
        self._due = {max(1, step) if epoch == 0 else step for step in due}
        if self._begins and epoch == 0:
            self.weights = []
        self._begins = False

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 in self._due:
            self.weights.append(self.model.get_weights())

    def predict(self, x, **arguments):
        """The mean of what the model predicts with each snapshot's weights.

        Logits are turned into probabilities before they are averaged, if the model was compiled
        with a loss on logits.

        Args:
            x, **arguments: as for `model.predict`; in the same order each time.

        Returns:
            float32 array `(count, classes)`: probabilities.

        Raises:
            ValueError: no snapshots yet, or data that shuffles itself.
        """
        if not self.weights:
            raise ValueError("There are no snapshots yet: train first.")
        check_order(x, "`x`")
        own, total, meaning = self.model.get_weights(), 0, Scores.of(self.model, AS_THEY_ARE)
        try:
            for weights in self.weights:
                self.model.set_weights(weights)
                outputs = self.model.predict(x, **arguments)
                total = total + meaning.probabilities(torch.as_tensor(outputs)).numpy()
        finally:
            self.model.set_weights(own)
        return np.asarray(total / len(self.weights), "float32")

    def state_dict(self):
        """The snapshots, for checkpoints."""
        weights = [[torch.as_tensor(w) for w in weights] for weights in self.weights]
        return {"weights": weights, "begins": self._begins}

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        self._begins = state["begins"]
        self.weights = [[w.numpy() for w in weights] for weights in state["weights"]]
