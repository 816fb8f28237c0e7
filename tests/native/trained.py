"""The same model trained plain and accelerated: what both end with."""

import keras_dawn
from keras_dawn.native import explain

import keras
import numpy as np


def trained(build, x, y, native, steps=20, **fit_arguments):
    """`(model, losses, weights, outputs)` after some steps of a model that `build` makes."""
    keras.utils.set_random_seed(0)
    model = build()
    if native:
        keras_dawn.accelerate(model)
    batch = max(1, len(keras.tree.flatten(y)[0]) // 4)
    history = model.fit(
        x, y, batch_size=batch, epochs=-(-steps // 4), shuffle=False, verbose=0, **fit_arguments
    ).history
    return model, history, model.get_weights(), model.predict(x, verbose=0)


def assert_trains_alike(build, x, y, tolerance, steps=20, **fit_arguments):
    """Accelerated ends as plain Keras does; returns the accelerated model's explanation."""
    _, *theirs = trained(build, x, y, False, steps, **fit_arguments)
    model, *ours = trained(build, x, y, True, steps, **fit_arguments)
    assert ours[0].keys() == theirs[0].keys()
    for one, other in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        scale = max(1.0, float(np.abs(other).max(initial=0.0)))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)
    return explain(model)
