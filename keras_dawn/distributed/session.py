"""One `fit` or `evaluate` on all ranks: shared data, one display, agreed stops."""

import contextlib
import signal
import threading

from keras_dawn.distributed import metrics, sharding
from keras_dawn.distributed.collectives import (
    Agreement,
    gather,
)
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import (
    agreed,
    average_moving_statistics,
    broadcast_state,
)
from keras_dawn.foundation import keras_random

import keras
import numpy as np
import torch

_STOP, _SIGNAL = 1, 2
_WRITERS = (keras.callbacks.CSVLogger, keras.callbacks.TensorBoard, keras.callbacks.RemoteMonitor)


def run_fit(model, method, arguments, weigh):
    """Calls `Model.fit` as one of several ranks.

    Args:
        model: `keras.Model`.
        method: callable, `fit` of the model's class.
        arguments: dict of its named arguments, `callbacks` a flat list.
        weigh: callable, told before each step how much this rank's part of the batch weighs.

    Returns:
        What `fit` returns.

    Raises:
        KeyboardInterrupt: on all ranks, after one was sent SIGINT or SIGTERM; the epoch in
            progress ends early, with its callbacks.
        ValueError: data, arguments or callbacks that do not work on several ranks.
    """
    _check_arguments(arguments)
    arguments = _with_shards(dict(arguments))
    ranks = current()
    if not ranks.is_main:
        arguments["verbose"] = 0
    requests = _StopRequests()
    first = _First(arguments["x"], weigh)
    callbacks = _this_rank(arguments.get("callbacks") or [])
    arguments["callbacks"] = [first, *callbacks, _Last(requests)]
    validation = arguments.get("validation_data")
    with contextlib.ExitStack() as stack:
        stack.enter_context(requests)
        stack.enter_context(sharding.shared_out(arguments["x"], training=True))
        if validation is not None and validation is not arguments["x"]:
            stack.enter_context(sharding.shared_out(validation, training=False))
        stack.enter_context(metrics.weighed(model, _weight_of(arguments["x"])))
        history = method(model, **arguments)
    if requests.agreed:
        raise KeyboardInterrupt("a rank was asked to stop")
    return history


def run_evaluate(model, method, arguments, alone, together):
    """Calls `Model.evaluate` as one of several ranks, exactly on data of any length.

    Args:
        model, method, arguments: as for `run_fit`.
        alone: callable that returns a context in which metrics are not summed over the ranks.
        together: callable that returns a context in which each rank evaluates a part of the data;
            it takes a callable that says how much the part of the last batch weighs.
    """
    average_moving_statistics(model)
    arguments = dict(arguments)
    if not current().is_main:
        arguments["verbose"] = 0
    if arguments.get("_use_cached_eval_dataset"):  # called by `fit`
        return _evaluate(model, method, arguments, alone, together)
    arguments["x"] = sharding.shard_arrays(
        arguments.get("x"),
        arguments.pop("y", None),
        arguments.pop("sample_weight", None),
        arguments.pop("batch_size", None),
        shuffle=False,
        training=False,
    )
    with sharding.shared_out(arguments["x"], training=False):
        return _evaluate(model, method, arguments, alone, together)


def _evaluate(model, method, arguments, alone, together):
    data = arguments["x"]
    weight = _weight_of(data)
    way = alone() if sharding.is_served_whole(data) else together(weight)
    with way, metrics.weighed(model, weight):
        return agreed(method(model, **arguments))


def _weight_of(data):
    """What this rank's part of the batch weighs that the data has given last."""
    return lambda: getattr(data, "rank_weight", 1.0)


class _First(keras.callbacks.Callback):
    """Does, before all other callbacks, what makes the ranks one training."""

    def __init__(self, data, weigh):
        super().__init__()
        self._data, self._weigh = data, weigh
        self._sampler = sharding.sampler_of(data)

    def on_train_begin(self, logs=None):
        plan = (self.params["epochs"], self.params["steps"])
        plans = gather(plan)
        if len(set(plans)) > 1:
            raise ValueError(
                "All ranks must take as many steps, but (epochs, steps per epoch) are "
                f"{', '.join(f'{p} on rank {r}' for r, p in enumerate(plans))}."
            )
        # Models are built from each process's own random numbers.
        broadcast_state(self.model)
        _own_random_streams(self.model)  # after it, which makes seeds alike too

    def on_epoch_begin(self, epoch, logs=None):
        if self._sampler is not None:
            # Keras does not tell it, and it would serve the first epoch's order for ever.
            self._sampler.set_epoch(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        self._weigh(_weight_of(self._data)())

    def on_epoch_end(self, epoch, logs=None):
        average_moving_statistics(self.model)  # before anything is saved
        if logs:
            logs.update(agreed(dict(logs)))  # all callbacks are handed this very dict


class _Last(keras.callbacks.Callback):
    """Lets all ranks stop in the same step, after all other callbacks have had their say."""

    def __init__(self, requests):
        super().__init__()
        self._requests = requests
        self._agreement = Agreement()

    def _wish(self):
        if self._requests.received:
            return _SIGNAL
        return _STOP if self.model.stop_training else 0

    def on_train_batch_end(self, batch, logs=None):
        self._act(self._agreement.exchange(self._wish()))

    def on_epoch_end(self, epoch, logs=None):
        self._act(self._agreement.settle(self._wish()))

    def _act(self, answer):
        self._requests.agreed = self._requests.agreed or answer == _SIGNAL
        # What one rank wished alone is taken back until all have answered.
        self.model.stop_training = answer > 0


class _StopRequests(contextlib.AbstractContextManager):
    """Takes note of SIGINT and SIGTERM instead of ending one rank alone."""

    def __init__(self):
        self.received = False
        self.agreed = False
        self._previous = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            # A rank that ends by itself leaves the others waiting in an all-reduce.
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.received = True

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _check_arguments(arguments):
    if arguments.get("class_weight") is not None:
        raise ValueError(
            "class_weight works on several ranks with keras_dawn's data sets; for other data pass "
            "sample_weight."
        )
    for callback in arguments.get("callbacks") or []:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore writes one backup from every rank and does not restore the "
                "order of the data. Use ModelCheckpoint, which saves once."
            )


def _with_shards(arguments):
    x, y = arguments.get("x"), arguments.pop("y", None)
    sample_weight = arguments.pop("sample_weight", None)
    batch_size = arguments.pop("batch_size", None)
    split = arguments.pop("validation_split", 0.0)
    validation = arguments.get("validation_data")
    if split and validation is None:
        (x, y, sample_weight), validation = sharding.split_for_validation(
            (x, y, sample_weight), split
        )
    if isinstance(validation, (tuple, list)):
        validation = sharding.shard_arrays(
            *keras.utils.unpack_x_y_sample_weight(tuple(validation)),
            arguments.pop("validation_batch_size", None) or batch_size,
            shuffle=False,
            training=False,
        )
    shuffle = arguments.get("shuffle", True)
    arguments["x"] = sharding.shard_arrays(x, y, sample_weight, batch_size, shuffle, training=True)
    arguments["validation_data"] = validation
    arguments["shuffle"] = False  # the shares are shuffled together
    return arguments


def _this_rank(callbacks):
    """The callbacks without those that would write the same file on every rank."""
    if current().is_main:
        return list(callbacks)
    return [callback for callback in callbacks if not isinstance(callback, _WRITERS)]


def _own_random_streams(model):
    """Gives every rank but 0 random numbers of its own, for dropout and the like."""
    rank = current().rank
    if rank == 0:
        return
    # From the generator, not from the seed: a second `fit` goes on with other numbers.
    drawn = int(torch.randint(0, 2**31, ()))
    torch.manual_seed(int(np.random.SeedSequence([drawn, rank]).generate_state(1)[0]))
    for variable in model.variables:
        if keras_random.is_seed(variable):
            variable.assign(keras_random.seed_of_rank(variable.value, rank))
