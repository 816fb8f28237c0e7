"""Puts the native steps under a model's own `fit`, `evaluate` and `predict`."""

from keras_dawn.foundation import keras_fit
from keras_dawn.native.engine import ATTRIBUTE, Engine, engine_of
from keras_dawn.native.explain import explanation

_OVERRIDDEN = (
    "make_train_function",
    "make_test_function",
    "make_predict_function",
    "reset_metrics",
    "train_on_batch",
    "test_on_batch",
    "fit",
    "evaluate",
    "predict",
    "predict_on_batch",
    "get_metrics_result",
    "save",
    "save_weights",
)


def accelerate(model, *, log_every=10, compile=False):
    """Makes a model's `fit`, `evaluate` and `predict` run as straight PyTorch.

    The model stays the Keras model it is: `summary()`, saving and loading, callbacks,
    `optimizer.learning_rate`, `History`, `trainable` all work as before, during and
    after. What cannot be reproduced stays on the plain Keras path, and `explain` says
    why. `restore` undoes it. Nothing outside this one model is changed.

    Within an epoch the logs that Keras's callbacks see are refreshed every few steps and for
    the last one, so that no other step waits for the device; a callback of your own that uses
    the logs of every batch gets exact ones. An epoch's logs are exact.

    After `keras_dawn.distribute()`, `fit` and `evaluate` work on all processes together, and
    `save` and `save_weights` save on rank 0.

    Args:
        model: `keras.Model`, compiled or not; the work begins with the first `fit`,
            `evaluate` or `predict`.
        log_every: int from 1 up, in how many steps the logs within an epoch are refreshed.
        compile: bool, whether to hand the graph of a Functional or Sequential model to
            `torch.compile`, which takes from seconds to minutes at the first batch and draws other
            random numbers (of dropout, say) than Keras. Not used for models that keep Python of
            their own; `explain` says so.

    Returns:
        The model itself.

    Raises:
        ValueError: what is not a Keras model, a bad `log_every` or `compile`, a model with a
            `fit` or the like of its own, put on this one model and not on its class, or a call
            within a `fit`, `evaluate` or `predict` of the model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> model = keras_dawn.accelerate(model)
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
        >>> model = keras_dawn.restore(model)
    """
    if not isinstance(log_every, int) or log_every < 1:
        raise ValueError(f"`log_every` must be a whole number from 1 up, got {log_every!r}.")
    if not isinstance(compile, bool):
        raise ValueError(f"`compile` must be True or False, got {compile!r}.")
    _check_methods(model)
    # A second call takes its settings, and no engine is left below another one.
    restore(model)
    if keras_fit.epoch_iterator(model) is not None:  # of plain Keras, which has its functions
        raise ValueError(_under_way(model, "`accelerate` before it begins or"))
    engine = Engine(model, log_every, compile, explanation)
    object.__setattr__(model, ATTRIBUTE, engine)  # past Keras's tracking of attributes
    for name in _OVERRIDDEN:
        object.__setattr__(model, name, getattr(engine, name))
    _forget_functions(model)
    return model


def restore(model):
    """Takes a model back to plain Keras; its weights and optimizer state stay.

    Returns:
        The model itself.

    Raises:
        ValueError: within a `fit`, `evaluate` or `predict` of the model.
    """
    engine = engine_of(model)
    if engine is not None and engine.running:
        raise ValueError(_under_way(model, "`restore` (or `accelerate` again)"))
    if engine is not None:
        for name in (*_OVERRIDDEN, ATTRIBUTE):
            object.__delattr__(model, name)
        _forget_functions(model)
    return model


def _under_way(model, call):
    return (
        f"{model.name} is in the middle of `fit`, `evaluate` or `predict`: call {call} when it has "
        "returned."
    )


def _check_methods(model):
    engine = engine_of(model)
    for name in _OVERRIDDEN:
        own = vars(model).get(name)
        if own is not None and (engine is None or getattr(own, "__self__", None) is not engine):
            raise ValueError(
                f"{model.name} has a `{name}` of its own, which was put on this one model: "
                "`accelerate` would put another in its place. Give the method to the model's "
                "class, or put it there after `accelerate`."
            )


def native_forward(model):
    """A callable from a batch to a model's outputs: native where it is accelerated."""
    engine = engine_of(model)
    steps = engine.prepare("predict_function") if engine is not None else None
    if steps is None:
        return lambda inputs: model(inputs, training=False)
    return lambda inputs: steps.predict_step([(inputs,)])


def _forget_functions(model):
    # Keras makes each of them once and keeps it, so a change of engine has to take them away.
    for name in ("train_function", "test_function", "predict_function"):
        setattr(model, name, None)
