import keras_dawn
from keras_dawn.models import freeze

import keras
import numpy as np
import pytest


@pytest.mark.parametrize("accelerated", [False, True])
def test_frozen_scales_and_stem_stay_while_statistics_and_the_rest_move(accelerated):
    model = keras_dawn.models.WideResNet(10, 1, input_shape=(8, 8, 3))
    frozen = freeze(model, "_bn/gamma", "^stem/")
    assert "stem/kernel" in frozen
    model.compile(
        keras_dawn.SGD(0.1, weight_decay=0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    if accelerated:
        keras_dawn.accelerate(model)
    before = {v.path: v.numpy().copy() for v in model.variables}
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
    model.fit(x, np.arange(16) % 10, batch_size=8, verbose=0)
    for v in model.variables:
        stays = "gamma" in v.path or v.path.startswith("stem/")
        if "seed" not in v.path:
            assert np.array_equal(v.numpy(), before[v.path]) == stays, v.path
    if accelerated:
        assert keras_dawn.explain(model).native


def test_a_pattern_that_matches_nothing_is_an_error():
    model = keras_dawn.models.WideResNet(10, 1, input_shape=(8, 8, 3))
    with pytest.raises(ValueError, match="matches no trainable weight"):
        freeze(model, "prep/")
    with pytest.raises(ValueError, match="regular expression"):
        freeze(model, "(")
    freeze(model, "")
    with pytest.raises(ValueError, match="All are frozen already"):
        freeze(model, "stem/")
