"""The call of a model whose own Python is lowered whole, while it predicts.

Then no Python of the user's or of Keras's runs in a batch: no layer has to be put in place, and
torch's inference mode spares each operation what autograd looks at.
"""

from keras_dawn.foundation import keras_context, keras_layers, keras_models
from keras_dawn.native.steps.parts import EMPTY, REFUSED

import torch


class WholeCall:
    """Calls a model by what its `call` was lowered to when it was called the ordinary way.

    Args:
        model: built `keras.Model`.
        part: `Part` of the model's own Python.
    """

    def __init__(self, model, part):
        self._model, self._part = model, part
        # As `LayerForward` calls it; nobody tells a `call` without the argument the mode.
        takes_mode = keras_models.has_training_argument(model)
        self._told = False if takes_mode else part.default_training

    def __call__(self, x):
        """The outputs, or `EMPTY` where an ordinary call has to compute them."""
        part, model = self._part, self._model
        if keras_context.in_stateless_scope() or keras_context.current_call_context() is not None:
            return EMPTY
        if not (model.built and keras_layers.is_plain_call(model)):
            return EMPTY
        forward, lowered, flat = part.known_call(x, self._told)
        if forward is None or not lowered.is_pure():
            return EMPTY
        part.drop_added_losses()
        try:
            with torch.inference_mode():
                outputs = forward(*flat)
        except REFUSED:  # the ordinary call knows what to do, or to say
            return EMPTY
        if lowered.losses:
            # They stay at the layers, where whoever looks finds ordinary tensors.
            with torch.no_grad():
                outputs = outputs[0], [loss.clone() for loss in outputs[1]]
        return part.finished(outputs, lowered, False)
