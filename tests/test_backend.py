import subprocess
import sys

import pytest


def run(code, **environment):
    import os

    env = {**os.environ, **environment}
    if not environment.get("KERAS_BACKEND"):
        env.pop("KERAS_BACKEND", None)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=env, timeout=120
    )


def test_importing_first_picks_torch_and_leaves_keras_as_it_is():
    result = run("""
import keras_dawn, keras
keras.config.set_floatx("float64")  # of no effect once a layer has settled the dtype policy
inputs = keras.Input((3,))
model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
names = [model.name, *(layer.name for layer in model.layers)]
print(keras.config.backend(), model.layers[1].kernel.dtype, *names)
""")
    assert result.stdout.strip() == "torch float64 functional input_layer dense", result.stderr


def test_another_backend_in_the_environment_is_overruled_with_a_warning():
    result = run("import keras_dawn, keras; print(keras.config.backend())", KERAS_BACKEND="jax")
    assert result.stdout.strip() == "torch"
    assert "KERAS_BACKEND=jax is set" in result.stderr


def test_keras_already_loaded_with_torch_is_fine():
    result = run("import keras; import keras_dawn; print('fine')", KERAS_BACKEND="torch")
    assert result.stdout.strip() == "fine", result.stderr


def test_keras_already_loaded_with_another_backend_says_what_to_change(monkeypatch):
    from keras_dawn._backend import select_torch_backend

    import keras

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="Put `import keras_dawn` before `import keras`"):
        select_torch_backend()
