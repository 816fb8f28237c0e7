"""How a scenario trains a model, evaluates it and predicts with it; what it then looks at."""

import keras_dawn
from keras_dawn.foundation import model_state

import keras
import numpy as np
import torch
from scenarios import rank

EPOCHS = 2


def in_policy(function):
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(100 + rank())  # each rank with weights of its own
    try:
        return function()
    finally:
        keras.config.set_dtype_policy("float32")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def trained(model, x, y=None, few=13, callbacks=()):
    """What a training, an evaluation and a prediction leave behind."""
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    history = model.fit(
        x, y, batch_size=8, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=list(callbacks)
    )

    def first(data):
        return keras.tree.map_structure(lambda array: array[:few], data)

    result = {
        "start": start,
        "weights": [torch.as_tensor(w) for w in model.get_weights()],
        "history": history.history,
        "optimizers": [v.value.detach().double() for v in model_state.optimizer_variables(model)],
    }
    if type(model).call is not keras.Model.call:
        predicted = model.predict(first(x), batch_size=4, verbose=0)
        result["predicted"] = [torch.as_tensor(p) for p in keras.tree.flatten(predicted)]
        validated = (first(x), first(y)) if y is not None else (first(x),)
        result["evaluated"] = model.evaluate(*validated, batch_size=4, verbose=0, return_dict=True)
    return result


def message_of(call):
    try:
        call()
    except ValueError as error:
        return {"message": str(error)}
    return {"message": None}
