"""Tells a training's restart from another training that was given the same folder."""

import weakref

from keras_dawn.foundation.keras_random import explicit_seed
from keras_dawn.resume.compiled_numbers import in_words
from keras_dawn.resume.description import check_same

_LAST = {}  # folders of this process, with the object that trained there last and each fit's seed


def check_not_another(resume, fit, state, description, ended):
    """Raises `ValueError` where a loop, such as over seeds, gives each training the same folder.

    The second one would be handed the first one's weights. A process that is started anew, and a
    notebook's cell that is run again, do the same on purpose, so that only this is told apart:
    another `ResumeTraining` object in the same process, whose training is complete already, and
    for which another seed was set (`keras.utils.set_random_seed`), or data, settings or numbers
    of the optimizers are others. Where all of that is the same, it is taken for a restart.

    Args:
        resume: `ResumeTraining`.
        fit: int, which `fit` of the training begins.
        state: dict, the checkpoint that it would go on from, or `None`.
        description: what `describe` says of its `fit`.
        ended: bool, whether that checkpoint leaves nothing to train.
    """
    path, seed = resume.folder.path, explicit_seed()
    before, seeds = _LAST.get(path.resolve(), (lambda: resume, {}))
    if state is not None and ended and before() is not resume:
        rates, changed = check_same(state, description, path, 0)
        changed = [in_words(*rate[1:]) for rate in rates] + changed
        seed_before = seeds.get(fit)
        if None not in (seed, seed_before) and seed != seed_before:
            _refuse(path, f"its random seed was {seed_before}, that of this one is {seed}")
        if changed:
            _refuse(path, f"this one has other settings ({', '.join(changed)})")
    if state is None and fit == 0:
        seeds = {}  # the folder was emptied: they are another training's
    _LAST[path.resolve()] = weakref.ref(resume), {**seeds, fit: seed}


def _refuse(path, why):
    raise ValueError(
        f"The training in {path} is complete, this process has trained it, and {why}: it would get "
        "that one's weights. Give every training a folder of its own, or delete this one."
    )
