"""What Keras's test files import that is not there, or not what should be tested."""

import builtins
import sys
import types

import pytest

_TRAINER = "keras.src.backend.torch.trainer"


class Absent:
    """Stands for a package that is not installed; whoever calls it fails.

    Many of Keras's test files import TensorFlow or JAX at the top for a test or two. With
    this in place only those tests fail, in the plain run already, and not the whole file.
    """

    def __init__(self, path):
        self._path = path

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._path}.{name}")

    def __call__(self, *args, **kwargs):
        raise ModuleNotFoundError(f"{self._path} is not installed")


def _skip_if_backend(backend, reason):
    return pytest.mark.skipif(backend == "torch", reason=reason)


def _real_model():
    """Keras's trainer tests mix a `Trainer` into a layer; here they make a `keras.Model`.

    `accelerate` is for models. Both runs use this class, so that the same thing is compared.
    """
    import keras

    class TrainerModel(keras.Model):
        def __init__(self):  # as Trainer's: the tests have called the layer's own already
            super(keras.Model, self).__init__()

        def __init_subclass__(cls):
            super().__init_subclass__()
            ancestors = cls.__mro__[cls.__mro__.index(keras.Model) + 1 :]
            mixed_in = [
                ancestor
                for ancestor in ancestors
                if issubclass(ancestor, keras.layers.Layer) and ancestor is not keras.layers.Layer
            ]
            for ancestor in reversed([c for c in mixed_in if not issubclass(keras.Model, c)]):
                for name in set(vars(ancestor)) & set(vars(keras.Model)):
                    if not name.startswith("__") and name not in vars(cls):
                        setattr(cls, name, vars(ancestor)[name])

    return TrainerModel


def install():
    """Makes test files, and only them, import what is described above."""
    plain_import = builtins.__import__
    trainer = []

    def import_for_tests(name, globals=None, locals=None, fromlist=(), level=0):
        file = (globals or {}).get("__file__") or ""
        if not file.endswith("_test.py"):
            return plain_import(name, globals, locals, fromlist, level)
        if name == _TRAINER and tuple(fromlist or ()) == ("TorchTrainer",):
            if not trainer:
                trainer.append(_real_model())
            return types.SimpleNamespace(TorchTrainer=trainer[0])
        try:
            return plain_import(name, globals, locals, fromlist, level)
        except ModuleNotFoundError as error:
            top = name.partition(".")[0]
            if level or top == "keras" or (error.name or "").partition(".")[0] != top:
                raise
            return Absent(name if fromlist else top)

    builtins.__import__ = import_for_tests
    conftest = types.ModuleType("conftest")  # Keras's own is not in its wheel
    conftest.skip_if_backend = _skip_if_backend
    sys.modules["conftest"] = conftest
