"""Accelerates every model that a test compiles, and writes down what its methods did."""

import functools

import numpy as np

METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


def how_it_stepped(model):
    """`(whether its last steps were native, or None if it is not accelerated, why not)`.

    The only place that looks into an engine.
    """
    from keras_dawn.native.accelerate import engine_of

    engine = engine_of(model)
    if engine is None:
        return None, "not accelerated"
    if engine.is_native():
        return True, None
    return False, engine.refusal or "no layer with a rule, or no steps"


class Watch:
    """Patches Keras's trainer in this process.

    Args:
        accelerated: bool, whether models are accelerated after their `compile`.

    Attributes:
        compiled: bool, whether a model was compiled since `begin`.
        calls: list of `(method, native, reason, raised, numbers)` since `begin`: the
            numbers are the sums of what the method returned and of the weights after it.
    """

    def __init__(self, accelerated):
        import keras

        self.compiled, self.calls = False, []
        self._accelerated = accelerated
        self._model_class = keras.Model
        owner = next(c for c in keras.Model.__mro__ if "compile" in vars(c))
        owner.compile = self._compiling(owner.compile)
        for name in METHODS:
            owner = next(c for c in keras.Model.__mro__ if name in vars(c))
            setattr(owner, name, self._recording(name, vars(owner)[name]))

    def begin(self):
        """A new test begins."""
        self.compiled, self.calls = False, []

    def _compiling(self, compile):
        @functools.wraps(compile)
        def compile_and_accelerate(model, *args, **kwargs):
            compile(model, *args, **kwargs)
            self.compiled = True
            if self._accelerated and isinstance(model, self._model_class):
                from keras_dawn import accelerate

                accelerate(model)

        return compile_and_accelerate

    def _recording(self, name, method):
        @functools.wraps(method)
        def recorded(model, *args, **kwargs):
            raised, result = True, None
            try:
                result = method(model, *args, **kwargs)
                raised = False
            finally:
                native, reason = how_it_stepped(model) if self._accelerated else (None, None)
                numbers = (
                    None if raised else _numbers(result, model, "train" in name or name == "fit")
                )
                self.calls.append((name, native, reason, raised, numbers))
            return result

        return recorded


def _numbers(result, model, trained):
    import keras

    if isinstance(result, keras.callbacks.History):
        result = result.history
    leaves = keras.tree.flatten(result)
    if trained:
        leaves += [weight.value.detach() for weight in model.weights]
    try:
        return [float(np.abs(np.asarray(leaf, "float64")).sum()) for leaf in leaves]
    except (TypeError, ValueError):  # strings, tensors of a test's own kind
        return None
