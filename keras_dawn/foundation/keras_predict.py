"""What Keras's `predict` goes through its data by."""

from keras_dawn.foundation.keras_version import VERSION

import keras
from keras.src.backend.torch.trainer import TorchEpochIterator


def is_known(model):
    """Whether a model's `predict` is the one that is known here: Keras's, up to 3.15."""
    own = "predict" in vars(type(model)) or type(model).predict is not keras.Model.predict
    return not own and VERSION < (3, 16) and model.steps_per_execution == 1


def batches_of(x, batch_size, steps):
    """Keras's iterator over what `predict` is given: `(first step, last step, [batch])`."""
    return TorchEpochIterator(
        x=x, batch_size=batch_size, steps_per_epoch=steps, shuffle=False, steps_per_execution=1
    )
