"""One `fit` or `evaluate` on all ranks: shared data, one display, agreed stops."""

import contextlib
import functools
import signal
import threading

from keras_dawn.distributed import fit_arguments, metrics, sharded_arrays, sharding
from keras_dawn.distributed.alike import check_alike
from keras_dawn.distributed.collectives import Agreement, gather
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import (
    agreed,
    average_moving_statistics,
    broadcast_state,
    broadcast_weights,
)
from keras_dawn.foundation import keras_metrics, keras_random

import keras
import numpy as np
import torch

_STOP, _SIGNAL = 1, 2


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
    arguments = fit_arguments.of_this_rank(arguments)
    requests = _StopRequests()
    weighed = metrics.Weighed(model, _weight_of(arguments["x"]))
    validation = arguments.get("validation_data")
    first = _First((arguments["x"], validation), weigh, weighed)
    arguments["callbacks"] = [first, *arguments["callbacks"], _Last(requests)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(requests)
        stack.enter_context(sharding.shared_out(arguments["x"], training=True))
        if validation is not None and validation is not arguments["x"]:
            stack.enter_context(sharding.shared_out(validation, training=False))
        stack.enter_context(weighed)
        stack.enter_context(_logs_of_all_ranks(model))
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
    arguments["x"] = sharded_arrays.shard_arrays(
        arguments.get("x"),
        arguments.pop("y", None),
        arguments.pop("sample_weight", None),
        arguments.pop("batch_size", None),
        shuffle=False,
        training=False,
    )
    with sharding.shared_out(arguments["x"], training=False):
        check_alike(arguments["x"])
        return _evaluate(model, method, arguments, alone, together)


def _evaluate(model, method, arguments, alone, together):
    data = arguments["x"]
    weight = _weight_of(data)
    way = alone() if sharding.is_served_whole(data) else together(weight)
    with way, _logs_of_all_ranks(model), metrics.Weighed(model, weight) as weighed:
        if isinstance(arguments.get("callbacks"), list):  # else of a `fit`, which has built all
            arguments["callbacks"] = [_Built(weighed), *arguments["callbacks"]]
        return agreed(method(model, **arguments))


def _logs_of_all_ranks(model):
    make = functools.partial(metrics.logs_of_all_ranks, model)
    return keras_metrics.logs_made_by(model, make)


def _weight_of(data):
    """What this rank's part of the batch weighs that the data has given last."""
    return lambda: getattr(data, "rank_weight", 1.0)


class _Built(keras.callbacks.Callback):
    """Takes up what Keras has built for an evaluation: metrics, and weights of no training yet."""

    def __init__(self, weighed):
        super().__init__()
        self._weighed = weighed

    def on_test_begin(self, logs=None):
        self._weighed.follow()
        broadcast_weights(self.model)


class _First(keras.callbacks.Callback):
    """Does, before all other callbacks, what makes the ranks one training."""

    def __init__(self, sets, weigh, weighed):
        super().__init__()
        self._sets, self._weigh, self._weighed = sets, weigh, weighed
        self._data = sets[0]
        self._sampler = sharding.sampler_of(self._data)

    def on_train_begin(self, logs=None):
        plan = (self.params["epochs"], self.params["steps"])
        plans = gather(plan)
        if len(set(plans)) > 1:
            raise ValueError(
                "All ranks must take as many steps, but (epochs, steps per epoch) are "
                f"{', '.join(f'{p} on rank {r}' for r, p in enumerate(plans))}."
            )
        check_alike(*self._sets)
        self._weighed.follow()
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
    """Takes note of SIGINT and SIGTERM instead of ending one rank alone.

    A signal that comes too late for the ranks to agree on is sent again afterwards.

    Attributes:
        received: int, the last signal's number, or `None`.
        agreed: bool, whether all ranks know of one.
    """

    def __init__(self):
        self.received = None
        self.agreed = False
        self._previous = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            # A rank that ends by itself leaves the others waiting in an all-reduce.
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.received = number

    def __exit__(self, kind, error, traceback):
        for number, handler in self._previous.items():
            if handler is not None:  # else one that is none of Python's, and is lost
                signal.signal(number, handler)
        if self.received is not None and not self.agreed and kind is None:
            signal.raise_signal(self.received)


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
