"""What of a step a CUDA graph would freeze, or write over in the next one."""

from keras_dawn.foundation import keras_models


def may_keep_outputs(model):
    """Whether code of the user's sees a step's outputs, and may look at them later."""
    if any(keras_models.is_overridden(model, f"compute_{n}") for n in ("loss", "metrics")):
        return True
    parts = [part for metric in model.metrics for part in getattr(metric, "metrics", [metric])]
    return not all(type(part).__module__.startswith(("keras.", "keras_dawn.")) for part in parts)


def why_frozen(model, training, hooked):
    """Why a graph of a model's training pass would do something else than the pass, or `None`.

    Keras's or the user's Python would be frozen in it, or takes numbers from the host; its trial
    runs would move states that are kept; and its outputs are the same memory in every step, which
    nobody may keep.

    Args:
        model: `keras.Model`.
        training: its `Lowered` graph.
        hooked: bool, whether hooks or regularizers of the user's wait for gradients of weights.
    """
    if model.run_eagerly:
        return "run_eagerly is set"
    if training.calls_keras or training.calls_operations or hooked:
        return "calls of Keras's or of the user's, which would be frozen in it"
    if training.changes_state:
        return "draws from layers' own generators, or states"
    if may_keep_outputs(model):
        return "code of the user's gets the outputs, and may keep them"
    return None
