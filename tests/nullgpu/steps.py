"""A program for the null GPU: what a training step costs its host, in each of the settings.

Prints one line of JSON for each: launches outside graphs, launches of graphs, waits, copies, MiB
reserved. A step's costs are the difference of two trainings of different length.
"""

import json
import sys
import traceback
import warnings

import keras_dawn

import counters
import keras
import torch
from each import EACH
from settings import BATCH, MOST_STEPS, SETTINGS

ALL = {**SETTINGS, **EACH}
FEW = MOST_STEPS // 2


def counted(make_model, make_data, make_callbacks=list):
    """The costs of a step of `fit`, whose logs are not refreshed meanwhile."""
    keras.backend.clear_session()
    model = keras_dawn.accelerate(make_model(), log_every=10**9)
    found = []
    for steps in (FEW, FEW, MOST_STEPS):
        given = make_data(steps)
        given = given if isinstance(given, tuple) else (given,)
        options = {"batch_size": BATCH} if len(given) > 1 else {}
        counters.reset()
        model.fit(*given, shuffle=False, verbose=0, callbacks=make_callbacks(), **options)
        found.append(counters.counts())
    few, many = found[1:]

    def per_step(*keys):
        return round(sum(many[key] - few[key] for key in keys) / (MOST_STEPS - FEW), 2)

    return {
        "launches": per_step("launch"),
        "graphs": per_step("graph_launch"),
        "waits": per_step(*counters.WAITS),
        "pageable copies": per_step("copy_h2d_pageable", "copy_d2h_pageable"),
        "copies": per_step(*counters.COPIES),
        "MiB": round(torch.cuda.memory_reserved() / 2**20),
    }


def report(settings):
    """Prints the costs of each of `(name, arguments of counted)`."""
    for name, setting in settings:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = counted(*setting)
        except Exception as error:  # reported: the others are counted all the same
            traceback.print_exc()
            found = {"error": repr(error)[:500]}
        torch.cuda.empty_cache()
        print(json.dumps({"name": name, **found}), flush=True)


if __name__ == "__main__":
    report((name, ALL[name]) for name in sys.argv[1:] or ALL)
