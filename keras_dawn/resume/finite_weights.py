"""Weights that are not finite, from which no training can go on."""

import torch


def are_finite(model):
    """Whether all weights that a model trains are.

    Args:
        model: `keras.Model`.
    """
    # One number a weight, in one copy to the host: a NaN anywhere makes its norm NaN.
    weights = [v.value.detach() for v in model.trainable_variables]
    return not weights or bool(torch.stack(torch._foreach_norm(weights)).isfinite().all())


def in_words(epoch, step, folder):
    """What is said where they are not.

    Args:
        epoch, step: int, the place in the training.
        folder: `CheckpointFolder`.
    """
    files = folder.whole_files()
    kept = f"{files[-1]} is the last good one" if files else "there is no good one yet"
    return (
        f"The weights are not finite in epoch {epoch + 1} after step {step}, so no checkpoint "
        f"is written; {kept}. Lower the learning rate, or clip the gradients, and start again "
        "from there."
    )
