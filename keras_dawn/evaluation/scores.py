"""What a model's outputs mean: probabilities or logits, of one class or of each class alone."""

import math
from dataclasses import dataclass

from keras_dawn.foundation import keras_losses

import keras
import torch

_OF_EACH_CLASS = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)


@dataclass(frozen=True)
class Scores:
    """The meaning of a model's outputs `(batch, classes)`, by the loss it was compiled with.

    Args:
        logits: bool, whether they are logits.
        of_each_class: bool, whether each class has a probability of its own (a sigmoid's, as
            under `BinaryCrossentropy`), and not all together one distribution (a softmax's).

    Example:
        >>> each = Scores(logits=True, of_each_class=True)
        >>> each.probabilities(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    logits: bool
    of_each_class: bool

    @classmethod
    def of(cls, model, otherwise=None):
        """Those of a compiled model.

        Args:
            model: `keras.Model`.
            otherwise: `Scores` of a model without a loss, which would say what its outputs are.

        Raises:
            ValueError: a model without a loss, where nothing is given for it.
        """
        loss, _ = keras_losses.compiled_loss(model)
        if isinstance(loss, (dict, list, tuple)) and len(loss) == 1:
            (loss,) = loss.values() if isinstance(loss, dict) else loss
        if loss is None:
            if otherwise is not None:
                return otherwise
            raise ValueError(
                "The model must be compiled with a loss, which says whether its outputs are logits."
            )
        if isinstance(loss, str):
            loss = keras.losses.get(loss)
        logits = bool(getattr(loss, "get_config", dict)().get("from_logits", False))
        functions = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
        return cls(logits, isinstance(loss, _OF_EACH_CLASS) or loss in functions)

    def probabilities(self, outputs):
        """float32 `(batch, classes)`."""
        if not self.logits:
            return outputs.float()
        return torch.sigmoid(outputs.float()) if self.of_each_class else outputs.float().softmax(-1)

    def logarithms(self, outputs):
        """Logarithms of probabilities, float32: finite where a probability is 0 in float32.

        `(batch, classes)`, or `(batch, classes, 2)`, of yes and no, if each class has its own.
        Whether the outputs are probabilities, where they are to be, is for `OutputCheck` to say.
        """
        if self.logits:
            outputs = outputs.float()
            if self.of_each_class:
                outputs = torch.stack([outputs, torch.zeros_like(outputs)], -1)
            return outputs.log_softmax(-1)
        outputs = outputs.float()
        if self.of_each_class:
            outputs = torch.stack([outputs, 1 - outputs], -1)
        return outputs.clamp_min(torch.finfo(torch.float32).tiny).log()

    def from_logarithms(self, logarithms):
        """Outputs of this meaning, from what `logarithms` returned or a mean of it."""
        if not self.of_each_class:
            return logarithms if self.logits else logarithms.exp()
        yes, no = logarithms.unbind(-1)
        return yes - no if self.logits else yes.exp()


AS_THEY_ARE = Scores(logits=False, of_each_class=False)


class OutputCheck:
    """Whether all outputs of an evaluation are probabilities, where they are to be.

    Asked once, at its end: the answer waits for the device.

    Args:
        meaning: `Scores`.
    """

    def __init__(self, meaning):
        self._expected = not meaning.logits
        self._found = None

    def add(self, outputs):
        """Looks at the outputs of a batch, on their device."""
        if not self._expected:
            return
        now = ((outputs < 0) | (outputs > 1.001)).any()
        self._found = now if self._found is None else self._found | now

    def finish(self):
        """Raises `ValueError` where some outputs were no probabilities."""
        if self._found is not None and bool(self._found):
            raise ValueError(
                "The model's outputs are no probabilities, some are below 0 or above 1, and its "
                "loss does not say that they are logits. Compile the model with a loss that does, "
                "such as keras.losses.CategoricalCrossentropy(from_logits=True)."
            )


def mean_of_logarithms(weighted):
    """The logarithm of the weighted mean of probabilities that are given as logarithms.

    Args:
        weighted: iterable of `(weight, logarithms)`; the weights add up to 1.
    """
    total = None
    for weight, logarithms in weighted:
        part = logarithms + (math.log(weight) if weight else -math.inf)
        total = part if total is None else torch.logaddexp(total, part)
    return total
