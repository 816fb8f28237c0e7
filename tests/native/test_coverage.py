"""Every layer that Keras exports has a rule, or the README says why it is called."""

import re
from pathlib import Path

import keras_dawn.native
from keras_dawn.native.lowering.rules import RULES

import keras

README = Path(keras_dawn.native.__file__).parent / "README.md"
HEADING = "## Called as Keras layers, and why"


def exported():
    """Names of the layer classes of `keras.layers`, each once."""
    found = {}
    for name, value in vars(keras.layers).items():
        if isinstance(value, type) and issubclass(value, keras.Layer):
            found[value] = min(name, found.get(value, name), key=lambda n: n != value.__name__)
    return found


def listed():
    """Names in the README's table."""
    text = README.read_text(encoding="utf-8")
    section = text[text.index(HEADING) :]
    rows = re.findall(r"^\| (`.*?) \| (.+?) \|$", section.split("\n## ")[0], re.MULTILINE)
    assert all(reason.strip() for _, reason in rows)
    return [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)]


def test_every_exported_layer_has_a_rule_or_a_reason():
    without = {name for layer, name in exported().items() if layer not in RULES}
    names = listed()
    assert len(names) == len(set(names))
    assert set(names) == without


def test_no_rule_is_for_a_class_that_is_gone():
    for key in RULES:
        if isinstance(key, str):
            module, _, name = key.rpartition(".")
            found = getattr(__import__(module, fromlist=[name]), name, None)
            assert found is not None, key
