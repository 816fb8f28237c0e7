"""The call context of Keras: how a layer that is not told the mode finds it out."""

import contextlib
import threading

from keras_dawn.foundation.keras_variables import autocast_scope

from keras.src.backend.common import global_state
from keras.src.layers import layer as layer_module


def current_call_context():
    """The context of the Keras call under way (it knows the mode), or `None`."""
    return global_state.get_global_attribute("current_call_ctx")


@contextlib.contextmanager
def told_mode(model, training):
    """What a layer that a model calls finds of the mode.

    A layer without a `training` argument passes the mode on to the layers inside it by Keras's
    call context. As at the beginning of a model's own call, losses that were added are dropped.
    """
    context = layer_module.CallContext(entry_layer=model)
    context.set_value("training", training)
    before = current_call_context()
    global_state.set_global_attribute("current_call_ctx", context)
    if before is None:  # the outermost call: inside another one they are that one's
        clear_added_losses(model)
    try:
        yield
    finally:
        global_state.set_global_attribute("current_call_ctx", before)


@contextlib.contextmanager
def inside_call(model, training):
    """What a layer finds when a model calls it: the mode, and the dtype of its weights."""
    with told_mode(model, training), autocast_scope(model):
        yield


@contextlib.contextmanager
def apart(layer, training):
    """A call context of its own, in which symbolic calls leave no mode and lose no losses."""
    # A layer that finds no context takes its call for the outermost, and drops the model's losses.
    context = layer_module.CallContext(entry_layer=layer)
    context.set_value("training", training)
    before = current_call_context()
    global_state.set_global_attribute("current_call_ctx", context)
    try:
        with autocast_scope(layer):
            yield
    finally:
        global_state.set_global_attribute("current_call_ctx", before)


def drop_added_losses(layers):
    """Drops what earlier calls have added to the loss, as Keras does when an outermost call begins.

    Args:
        layers: the layer that is called and all that are inside it.
    """
    if current_call_context() is None:
        for layer in layers:
            if layer._losses:
                layer._losses.clear()
                layer._loss_ids.clear()


def clear_added_losses(layer):
    """Drops what was added to the loss by a layer and those that it has now.

    Keras clears each list anew, which takes 2 µs a layer; most are empty.
    """
    if in_stateless_scope():
        layer._clear_losses()
        return
    if layer._losses:
        layer._losses.clear()
    if layer._loss_ids:
        layer._loss_ids.clear()
    for inner in layer._layers:
        clear_added_losses(inner)


def set_mode(training):
    """Restates the mode in the present call context, as a layer does that is told it."""
    context = current_call_context()
    if context is not None:
        context.set_value("training", training)


@contextlib.contextmanager
def inside_part(model, context, training):
    """`inside_call` for a model that may itself be called inside another one's call."""
    if context is None:
        with inside_call(model, training):
            yield
        return
    context.set_value("training", training)
    with autocast_scope(model):
        yield


def in_stateless_scope():
    """Whether Keras computes with other values than its variables hold."""
    return global_state.get_global_attribute("stateless_scope") is not None


def is_noting(thread):
    """Whether Python runs on symbolic tensors here: in this thread, and not for shape inference.

    Args:
        thread: int, the one in which a call is noted.
    """
    return threading.get_ident() == thread and not in_stateless_scope()
