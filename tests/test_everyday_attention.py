"""The models of the everyday benchmark and their twins by hand compute the same."""

import everyday_attention
import pytest

CASES = everyday_attention.cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_model_and_its_twin_compute_the_same(case):
    assert everyday_attention.difference(case) < 2e-5


@pytest.mark.parametrize("number", [3, 4])
def test_a_model_and_its_twin_train_the_same(number):
    case = CASES[number]  # without dropout
    model, batch = case.keras_model(), case.batch()
    loop = everyday_attention.Loop(case, model)
    loop.train(batch, 5)
    x, y = (part.tile(5, 1) for part in batch)
    history = model.fit(x, y, batch_size=len(batch[1]), shuffle=False, verbose=0).history
    assert float(loop.total) / len(y) == pytest.approx(history.pop("loss")[0], rel=1e-4)
    names = {"BinaryAccuracy": "accuracy", "AUC": "AUC", "AbsoluteError": "mae"}
    for counter in loop.counters:
        (value,) = history[names[type(counter).__name__]]
        assert float(counter.result()) == pytest.approx(value, rel=1e-4)
