"""What `compile` made for a model's steps, to know whether it was called again."""

from keras_dawn.foundation import keras_losses, keras_models


def compiled_parts(model):
    """Optimizer, loss, loss weights, metrics; and the methods that are called with them: a list."""
    optimizer = getattr(model, "optimizer", None)
    own = [keras_models.method_of(model, f"compute_{name}") for name in ("loss", "metrics")]
    return [optimizer, *own, *keras_losses.compiled_loss(model), *model.metrics]


def are_same(now, then):
    """Whether they are the same objects: another `compile` makes new ones, equal settings or not.

    Args:
        now, then: lists of `compiled_parts`.
    """
    return len(now) == len(then) and all(a is b for a, b in zip(now, then, strict=True))
