"""Keras's `predict` for steps that take microseconds: callbacks are told what they listen to."""

import functools

from keras_dawn.foundation import keras_predict
from keras_dawn.native.between_batches import is_fetched_by_python
from keras_dawn.native.fit_callbacks import LastCallback

import keras
import numpy as np
import torch

_LARGE = 2**22  # bytes of outputs, from which on NumPy asks for large pages
_AT_ONCE = 2**26  # bytes of outputs on a GPU that are put together there
_HOOKS = (
    "on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end",
)  # fmt: skip


def predict(model, engine, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
    """What `keras.Model.predict` returns, for a model for which `keras_predict.is_known`.

    Keras makes an array of every batch's outputs for the callbacks, whether one of them looks at
    it or not, and waits for the device to do so; here that is done for those who look.

    Args:
        model: built `keras.Model`.
        engine: the model's `Engine`.
        x, batch_size, verbose, steps, callbacks: as Keras takes them.
    """
    batches = keras_predict.batches_of(x, batch_size, steps)
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1,
            steps=batches.num_batches, model=model,
        )  # fmt: skip
    model.eval()
    model.make_predict_function()
    model.stop_predicting = False
    told = any(_listeners(callbacks, hook) for hook in _HOOKS)
    if told:  # else nothing can have changed since the function was made
        callbacks.on_predict_begin()
    begins = _listeners(callbacks, "on_predict_batch_begin")
    ends = _listeners(callbacks, "on_predict_batch_end")
    look = ends - {keras.callbacks.ProgbarLogger}
    python = is_fetched_by_python(x)
    found = []
    with engine.following():
        for first, last, batch in batches:
            if begins:
                callbacks.on_predict_batch_begin(first)
            if begins or look:
                engine.follow_changes()
            elif python:
                engine.follow_python()
            outputs = model.predict_function(batch)
            found.append(outputs)
            if first == 0 and not (begins or look):
                # What was asked before this batch need not be asked again.
                engine.undisturb(keras_predict.fetches_without_python_of_the_user_s(batches))
            if ends:
                callbacks.on_predict_batch_end(last, {"outputs": outputs} if look else None)
            if model.stop_predicting:
                break
    if told:
        callbacks.on_predict_end()
    return _together(found)


def _listeners(callbacks, hook):
    """The classes of the callbacks that do something in a hook."""
    if type(callbacks) is not keras.callbacks.CallbackList:
        return {type(callbacks)}
    default = getattr(keras.callbacks.Callback, hook)
    return {
        type(each)
        for each in callbacks.callbacks
        if getattr(getattr(each, hook), "__func__", None) is not default
        and type(each) is not LastCallback
    }


def _together(found):
    """The outputs of all batches as arrays, in the structure of one batch's."""
    if all(type(outputs) is torch.Tensor for outputs in found) and _are_alike(found):
        return _joined(found)
    outputs = None
    for batch_outputs in found:
        if outputs is None:
            outputs = keras.tree.map_structure(lambda output: [output], batch_outputs)
        else:
            keras.tree.map_structure_up_to(
                batch_outputs, lambda all_of_it, output: all_of_it.append(output),
                outputs, batch_outputs,
            )  # fmt: skip
    outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
    return keras.tree.map_structure_up_to(batch_outputs, np.concatenate, outputs)


@torch.no_grad()
def _joined(tensors):
    """Tensors that are alike, one after the other, as an array of the dtype that Keras gives."""
    first = tensors[0]
    if not first.is_cpu:
        return keras.ops.convert_to_numpy(torch.cat(tensors))
    bits, of_bits, dtype = _dtypes(first.dtype)
    if sum(one.nbytes for one in tensors) < _LARGE:
        whole = torch.cat(tensors).view(bits)
    else:  # NumPy asks the system for large pages: it takes 0.55 of the time and less
        whole = torch.from_numpy(np.empty((sum(map(len, tensors)), *first.shape[1:]), of_bits))
        torch.cat(tensors, out=whole.view(first.dtype))
    return whole.numpy().view(dtype)


@functools.cache
def _dtypes(dtype):
    """`(dtype of torch's, the same of NumPy's, that of Keras's arrays)` for outputs of a dtype."""
    bits = torch.int16 if dtype is torch.bfloat16 else dtype
    keras_s = keras.ops.convert_to_numpy(torch.empty(0, dtype=dtype)).dtype
    return bits, torch.empty(0, dtype=bits).numpy().dtype, keras_s


def _are_alike(tensors):
    """Whether tensors can be put one after the other where they are."""
    kinds = {(tensor.dtype, tensor.device, tensor.shape[1:]) for tensor in tensors}
    if len(kinds) != 1 or not tensors[0].ndim:
        return False
    return tensors[0].device.type == "cpu" or sum(one.nbytes for one in tensors) <= _AT_ONCE
