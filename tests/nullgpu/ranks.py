"""A program for two null GPUs: all that ranks do, on a group that takes no tensor of the host's.

There is no NCCL. gloo stands in for it on GPUs alone, so that the default group refuses a tensor in
the host's memory, as NCCL's does; in a capture, which it cannot be part of, nothing is sent. Each
rank prints a line of JSON for each kind of work.
"""

import json
import os
import sys
import tempfile
import traceback
import warnings
from unittest import mock

import torch.distributed as dist

_init = dist.init_process_group


def init_process_group(backend, **options):
    return _init("cuda:gloo" if backend == "nccl" else backend, **options)


def run(rank, port):
    dist.init_process_group = init_process_group
    os.environ |= {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    import keras_dawn

    keras_dawn.distribute()
    from keras_dawn import callbacks
    from keras_dawn.evaluation import evaluate_images
    from keras_dawn.native.accelerate import engine_of
    from keras_dawn.native.steps import buckets

    import counters  # stands in for cuDNN, too
    import settings

    make, sent = settings.wide("float32"), []

    def start_sum(tensor, begin=buckets.start_sum):
        if not settings.torch.cuda.is_current_stream_capturing():
            return begin(tensor)
        sent.append(tensor.numel())
        return mock.Mock()

    buckets.start_sum = start_sum

    def model():
        return keras_dawn.accelerate(make())

    def fit(*given, **options):
        model().fit(*given, verbose=0, **{"shuffle": False, **options})

    images, arrays = settings.images, settings.arrays

    def one_graph():
        trained = keras_dawn.accelerate(make(), log_every=10**9)
        found = []
        sent.clear()
        for steps in (12, 12, 24):
            counters.reset()
            trained.fit(images(steps), verbose=0, shuffle=False)
            found.append(counters.counts())
        few, many = found[1:]
        more = {key: many[key] - few[key] for key in ("graph_launch", "launch", *counters.WAITS)}
        for key in counters.WAITS:
            if abs(more[key]) <= 2:  # one a `fit`, which a thread may do while the next is counted
                more[key] = 0
        wanted = {**dict.fromkeys(more, 0), "graph_launch": 12, "launch": 12}  # a share is strided
        weights = sum(variable.value.numel() for variable in trained.trainable_variables)
        graphs = engine_of(trained).steps.graphs.how()
        if (more, graphs) != (wanted, "the whole step") or sum(sent) != 3 * weights:
            raise RuntimeError(f"{graphs}: {more}, {sum(sent)} numbers sent of {weights} weights")

    def resume(work):
        with mock.patch.object(keras_dawn.resume.finite_weights.torch, "_foreach_norm", ones):
            work(keras_dawn.ResumeTraining(folder, every_steps=2))

    def ones(tensors):  # norms that no kernel has computed, and that nobody takes for infinite
        return [settings.torch.ones(()) for _ in tensors]

    folder = os.path.join(tempfile.gettempdir(), f"keras_dawn_ranks_{port}")
    for name, work in {
        "fit": lambda: fit(images(4)),
        "a step is one graph": one_graph,
        "fit on arrays, shuffled": lambda: fit(*arrays(4), batch_size=8, shuffle=True),
        "validation by arrays": lambda: fit(images(4), validation_data=arrays(2)),
        "evaluate": lambda: model().evaluate(images(4), verbose=0),
        "evaluate arrays": lambda: model().evaluate(*arrays(4), batch_size=8, verbose=0),
        "averaged weights": lambda: fit(
            images(4),
            callbacks=[callbacks.ExponentialMovingAverage(0.9)],
            validation_data=images(2),
        ),
        "resume": lambda: resume(lambda callback: fit(images(4), callbacks=[callback])),
        "evaluate_images": lambda: evaluate_images(model(), images(4)),
        "evaluate_images, a rank without images": lambda: evaluate_images(model(), one_image()),
        "find_learning_rate": lambda: keras_dawn.find_learning_rate(
            model(), images(4), steps=4, shuffle=False
        ),
        "predict_tta": lambda: keras_dawn.predict_tta(model(), images(4)),
    }.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work()
            found = "works"
        except (ValueError, ZeroDivisionError) as error:  # what no kernel has computed is 0
            known = "There are no images", "float division by zero"
            found = "works" if str(error).startswith(known) else repr(error)[:300]
        except Exception as error:  # reported: the next is tried all the same
            traceback.print_exc()
            found = repr(error)[:300]
        print(json.dumps({"rank": int(rank), "name": name, "found": found}), flush=True)

    # The stand-in refuses what NCCL refuses, or nothing above would show anything.
    try:
        dist.all_reduce(settings.torch.zeros(1))
        found = "a tensor of the host's was taken"
    except RuntimeError:
        found = "works"
    print(json.dumps({"rank": int(rank), "name": "the host's are refused", "found": found}))


def one_image():
    from keras_dawn import data

    import numpy as np
    from settings import SIDE

    return data.DeviceImages(np.zeros((1, SIDE, SIDE, 3), "uint8"), np.zeros(1, "int64"), 8)


if __name__ == "__main__":
    run(*sys.argv[1:])
