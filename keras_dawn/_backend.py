"""Chooses Keras's torch backend before Keras is imported."""

import os
import sys
import warnings


def select_torch_backend():
    """Makes torch the Keras backend, or says what to change when that is too late.

    Keras reads `KERAS_BACKEND` once, when it is first imported. Before that, this
    function sets it to `"torch"`; an environment that asks for another backend is
    overruled with a `RuntimeWarning`.

    Raises:
        ImportError: Keras is already imported with another backend.
    """
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
        if backend != "torch":
            raise ImportError(
                "keras_dawn needs Keras's torch backend, but Keras is already imported with "
                f"the {backend!r} backend, which cannot be changed in a running process. "
                "Put `import keras_dawn` before `import keras`, or start Python with "
                "KERAS_BACKEND=torch."
            )
        return
    asked = os.environ.get("KERAS_BACKEND")
    if asked not in (None, "", "torch"):
        warnings.warn(
            f"KERAS_BACKEND={asked} is set; keras_dawn uses the torch backend for this process.",
            RuntimeWarning,
            stacklevel=3,
        )
    os.environ["KERAS_BACKEND"] = "torch"
