"""What is said of a training that is complete: its weights, who ended it, how to train on."""

from keras_dawn.resume.checkpoints import CheckpointFolder, name_of

import keras


def weights_of(state, params, callbacks):
    """Where in the training the weights are of that a `fit` with nothing to do returns.

    Args:
        state: dict, the checkpoint.
        params: the parameters of the `fit`, with its epochs.
        callbacks: list of the callbacks beside `ResumeTraining`, with their states.
    """
    epoch, step = state["epoch"], state["step"]
    stops = [one for one in callbacks if isinstance(one, keras.callbacks.EarlyStopping)]
    best = [one for one in stops if one.restore_best_weights and one.best_weights is not None]
    place = f"of epoch {epoch + 1} after step {step}" if step else f"of the end of epoch {epoch}"
    if best:  # as `fit` ends, this time too
        place = f"of the end of epoch {best[-1].best_epoch + 1}, the best, by EarlyStopping"
    beyond = not state["stopped"] and (epoch, step) > (params["epochs"], 0)
    more = f", beyond the {params['epochs']} that this fit was asked for" if beyond else ""
    if beyond and best:
        more = f"; trained were {epoch}" + more
    if state["stopped"]:
        by = [type(one).__name__ for one in stops if one.stopped_epoch == epoch - 1 > 0]
        more += f"; {by[0] if by else 'a callback'} ended the training after epoch {epoch}"
    return f"the weights are those {place}{more}"


def not_taken_up(changed, state, path):
    """A line about what a script has changed that has nothing left to train.

    Args:
        changed: list of str.
        state: dict, the checkpoint.
        path: folder of the checkpoints.
    """
    newest = name_of(state["fit"], state["epoch"], state["step"])
    older = [file for file in CheckpointFolder(path, 1).files() if file.name < newest]
    how = "give another folder"
    if not state["stopped"]:
        how = f"ask for more than {state['epoch']} epochs, or {how}"
    elif older:
        how = f"delete {newest}, to go on from {older[-1].name}, or {how}"
    return (
        f"not taken up, as nothing is left to train: {', '.join(changed)}. To train with it, {how}"
    )
