"""What the range test is given beside the range: arguments of `fit`, and a batch to validate on."""

import inspect


def check_fit_arguments(model, given):
    """Arguments for a range test's `fit`, silent by default.

    Args:
        model: `keras.Model`.
        given: dict by name.

    Raises:
        ValueError: what the model's `fit` does not take, or what the range test sets itself.
    """
    parameters = inspect.signature(type(model).fit).parameters
    named = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for name in given:
        if name in ("epochs", "initial_epoch"):
            raise ValueError(f"`{name}` is not for a range test: its `steps` say how long it goes.")
        if name not in parameters and not named:
            raise ValueError(
                f"There is no argument `{name}`: a range test takes `start`, `end` (the range), "
                "`steps` (how many batches), `validation_data` and what "
                f"{type(model).__name__}.fit takes, such as `batch_size`."
            )
    rest = dict(given)
    if rest.pop("callbacks", None):
        raise ValueError(
            "A range test takes no `callbacks`: it puts the model back, and not what these have "
            "written or counted."
        )
    return {"verbose": 0, **rest}


def check_validation(data):
    """Raises `ValueError` for what is not `None` or one batch `(inputs, targets)`."""
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    if data is not None and (not pair or isinstance(data[0], (int, float, str))):
        raise ValueError(
            "`validation_data` must be one batch (inputs, targets), which is measured after every "
            f"step; this is a {type(data).__name__}."
        )
