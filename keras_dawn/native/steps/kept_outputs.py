"""Who may keep the outputs of a step, which a CUDA graph would write over in the next."""

from keras_dawn.foundation import keras_models


def may_keep_outputs(model):
    """Whether code of the user's sees a step's outputs, and may look at them later."""
    if any(keras_models.is_overridden(model, f"compute_{n}") for n in ("loss", "metrics")):
        return True
    parts = [part for metric in model.metrics for part in getattr(metric, "metrics", [metric])]
    return not all(type(part).__module__.startswith(("keras.", "keras_dawn.")) for part in parts)
