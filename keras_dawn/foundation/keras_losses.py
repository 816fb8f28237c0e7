"""What `compile` made of a loss, what a loss object calls, and what layers add to the loss."""

import dataclasses

import keras
import torch


def compiled_loss(model):
    """What `compile(loss=…)` was given, and its weights: `(loss, loss_weights)`."""
    compile_loss = getattr(model, "_compile_loss", None)
    if compile_loss is None:
        return None, None
    return compile_loss._user_loss, compile_loss._user_loss_weights


def leaves_outputs_out(model, count):
    """Whether `compile` was told losses of fewer outputs than a model has, `count`."""
    loss, _ = compiled_loss(model)
    if not isinstance(loss, (dict, list, tuple)):
        return False  # one for all
    losses = loss.values() if isinstance(loss, dict) else loss
    return sum(one is not None for one in losses) < count


def keep_added_loss(layer, loss):
    """What `layer.add_loss(loss)` does with a tensor outside of stateless scopes."""
    layer._losses.append(loss)


@dataclasses.dataclass(frozen=True)
class LossPlan:
    """The losses as `compile` understood them.

    Args:
        losses: list of `(loss, weight)`, the weight a number or `None`.
        keys: list of each one's index or name among the outputs; `None` for one further inside.
        means: list of the metrics that keep each loss's mean, empty for one loss.
        outputs, targets: what these were like, with `None` for each tensor.
        names: list of the outputs' names, or `None`.
    """

    losses: list
    keys: list
    means: list
    outputs: object
    targets: object
    names: list | None


def loss_plan(model):
    """The `LossPlan` of a compiled model, or `None` before its loss is built."""
    compile_loss = getattr(model, "_compile_loss", None)
    if compile_loss is None or compile_loss._flat_losses is None:
        return None
    flat = compile_loss._flat_losses
    return LossPlan(
        losses=[(each.loss, each.loss_weights) for each in flat],
        # A path leads to an output by names and numbers; a longer one into nested outputs.
        keys=[each.path[0] if len(each.path) == 1 else None for each in flat],
        means=list(compile_loss.metrics),
        outputs=compile_loss._y_pred_build_structure,
        targets=compile_loss._y_true_build_structure,
        names=compile_loss.output_names,
    )


def dtype_of_total_loss(model):
    """The dtype that `compile`'s loss casts every loss to."""
    return model._compile_loss.dtype


def function_of_loss(loss):
    """The function that a loss object calls, or `None` if it does more than that."""
    kind = type(loss)
    plain = getattr(kind, "call", None) is _WRAPPER.call and kind.__call__ is _WRAPPER.__call__
    plain = plain and "call" not in vars(loss)
    return loss.fn if plain else None


def reduces_as_keras(loss):
    """Whether all that a loss object brings of its own is its `call`."""
    return isinstance(loss, keras.Loss) and type(loss).__call__ is keras.Loss.__call__


def settings_of_loss(loss):
    """What a loss object calls its function with."""
    return loss._fn_kwargs


def compute_loss(model, inputs, targets, outputs, sample_weight, training):
    """The loss the Keras way, with everything that `compile` and the layers add."""
    return model._compute_loss(
        x=inputs, y=targets, y_pred=outputs, sample_weight=sample_weight, training=training
    )


def with_added_losses(model, loss, layers=None):
    """A loss with what layers have added (`add_loss`) and regularizers, as Keras sums them.

    Args:
        model: `keras.Model`.
        loss: scalar tensor.
        layers: all layers of the model where no weight has a regularizer, so that one added loss
            is one addition; `None` where that is not sure.
    """
    if layers is not None and not model._losses_override:
        added = [one for layer in layers for one in layer._losses]
        if not added:
            return loss
        both = (loss, *added)
        if len(both) == 2 and all(x.dtype == torch.float32 and x.ndim == 0 for x in both):
            return loss + added[0]
    added = [model._aggregate_additional_loss(one) for one in model.losses]
    return loss if not added else keras.ops.sum([loss, *added])


def has_compiled_loss(model):
    """Whether `compile` was told a loss."""
    return getattr(model, "_compile_loss", None) is not None


def compiled_loss_of(model, targets, outputs, sample_weight):
    """What `compile(loss=…)` gives, past what layers and regularizers add; `None` for nothing."""
    return model._compile_loss(targets, outputs, sample_weight)


def with_added_losses_but_of(model, loss, variables, layers=None):
    """`with_added_losses` without the regularizers of some variables.

    Args:
        model, loss: as there.
        variables: list of Keras variables.
        layers: all layers of the model, or `None` to look for them.
    """
    layers = model._flatten_layers() if layers is None else layers
    added = [one for layer in layers for one in layer._get_own_losses()]
    left_out = set(map(id, variables))
    for variable in model.trainable_weights:
        if variable.regularizer is not None and id(variable) not in left_out:
            added.append(variable.regularizer(variable))
    added = [model._aggregate_additional_loss(one) for one in added]
    return loss if not added else keras.ops.sum([loss, *added])


_WRAPPER = keras.losses.MeanSquaredError.__mro__[1]  # what Keras does not export
