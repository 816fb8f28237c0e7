"""How another process plans otherwise, in words."""

import math

from keras_dawn import Phase, TrainingPlan
from keras_dawn.plans import Crops, one_cycle_by_size
from keras_dawn.resume.planned import changed_plan


def test_a_plan_is_compared_epoch_by_epoch():
    def plan(sizes, epochs=5, scale=0.35, **options):
        crops = Crops((scale, 1.0))
        made = one_cycle_by_size(sizes, epochs, 8, 0.1, crops=crops, **options).by_epoch()
        return {name: [*map(str, e)] if name == "crops" else e for name, e in made.items()}

    first = plan({0.0: 16, 0.5: 24, 0.8: 32})
    assert changed_plan(first, first, 3) == []
    later = plan({0.0: 16, 0.5: 24, 0.8: 48})
    words = "image_size of the epochs 16 ×2, 24 ×2, 32 ×1 → 16 ×2, 24 ×2, 48 ×1"
    assert changed_plan(first, later, 3)[0] == (words, False)
    assert changed_plan(first, later, 4)[0] == (words, True)
    longer = dict(changed_plan(first, plan({0.0: 16, 0.5: 24, 0.8: 32}, epochs=7), 1))
    assert not longer["image_size of the epochs 16 ×2, 24 ×2, 32 ×1 → 16 ×4, 24 ×2, 32 ×1"]
    assert any(words.startswith("learning_rate from epoch ") for words in longer)
    crops = changed_plan(first, plan({0.0: 16, 0.5: 24, 0.8: 32}, scale=0.9), 3)
    assert crops == [("crops of the epochs 0.35–1 ×5 → 0.9–1 ×5", True)]
    seen = changed_plan(first, plan({0.0: 16, 0.5: 24, 0.8: 32}, validation=40), 3)
    assert [decides for _, decides in seen] == [False]
    assert changed_plan(None, first, 3) == []  # of an earlier version


def test_curves_of_a_phase_are_compared_between_the_ends_of_epochs_too():
    def by_epoch(*highest):
        return TrainingPlan([Phase(2, 16, 8, hills(each)) for each in highest]).by_epoch()

    def hills(highest):  # one in each of the two epochs
        return lambda progress: 0.1 + (highest - 0.1) * math.sin(2 * math.pi * progress) ** 2

    first = by_epoch(0.5, 0.5)
    assert changed_plan(first, by_epoch(0.5, 0.5), 1) == []
    ((words, decides),) = changed_plan(first, by_epoch(0.5, 0.9), 1)
    assert words == "learning_rate from epoch 3 on another curve of 0.1 to 0.1 (highest 0.5 → 0.9)"
    assert not decides
