"""The call of a model whose own Python is lowered whole, while it predicts.

Then no Python of the user's or of Keras's runs in a batch: no layer has to be put in place, and
torch's inference mode spares each operation what autograd looks at.
"""

from keras_dawn.foundation import keras_context, keras_layers, keras_masks, keras_models
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.parts import REFUSED
from keras_dawn.native.steps.states_before import put_back, states_before

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
        self._last = None, None, None, None  # shape and dtype, function and `Lowered` of a batch

    def __call__(self, x, undisturbed):
        """The outputs, or `EMPTY` where an ordinary call has to compute them.

        Args:
            x: what the model is called with.
            undisturbed: bool, whether nothing of the user's has run since the last call of this.
        """
        part = self._part
        shape, dtype, forward, lowered = self._last
        same = undisturbed and type(x) is torch.Tensor and keras_masks.mask_of(x) is None
        if same and x.shape == shape and x.dtype == dtype:
            flat = [x]
        else:
            forward, lowered, flat = self._found(x)
        if forward is None:
            return EMPTY
        part.drop_added_losses()
        before = states_before(lowered, flat)
        try:
            with torch.inference_mode():
                outputs = forward(*flat)
        except REFUSED:  # the ordinary call knows what to do, or to say
            put_back(before)
            self._last = None, None, None, None
            return EMPTY
        if lowered.losses:
            # They stay at the layers, where whoever looks finds ordinary tensors.
            with torch.no_grad():
                outputs = outputs[0], [loss.clone() for loss in outputs[1]]
        return part.finished(outputs, lowered, False)

    def _found(self, x):
        """`(function, Lowered, tensors)`, or three `None`."""
        self._last = None, None, None, None
        if keras_context.in_stateless_scope() or keras_context.current_call_context() is not None:
            return None, None, None
        if not (self._model.built and keras_layers.is_plain_call(self._model)):
            return None, None, None
        forward, lowered, flat = self._part.known_call(x, self._told)
        if forward is None or not lowered.is_pure():
            return None, None, None
        if len(flat) == 1 and flat[0] is x:
            self._last = x.shape, x.dtype, forward, lowered
        return forward, lowered, flat
