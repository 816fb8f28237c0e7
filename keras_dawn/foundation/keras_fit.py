"""A `fit` under way: its callbacks, its data, and how far it is in them."""

import inspect

import keras
import torch
from keras.src.trainers import data_adapters
from keras.src.trainers.epoch_iterator import EpochIterator
from torch.utils.data import DataLoader, TensorDataset


def callback_list(callback):
    """The `CallbackList` that is calling a callback now, or `None`.

    Keras tells a callback its model and not its neighbours, and no model knows the callbacks of
    its `fit`: the list that calls is found among the calls under way.
    """
    for caller in _callers():
        found = caller.get("self")
        if isinstance(found, keras.callbacks.CallbackList) and callback in found.callbacks:
            return found
    return None


def callbacks_of_fit(callback):
    """The callbacks that `fit` calls together with this one, in their order; empty outside one."""
    found = callback_list(callback)
    return [] if found is None else list(found.callbacks)


def epoch_iterator(model):
    """The iterator over the data of the model's `fit` under way, or `None`."""
    for caller in _callers():
        found = caller.get("epoch_iterator")
        if isinstance(found, EpochIterator) and caller.get("self") is model:
            return found
    return None


def _callers():
    """The names and values of the calls under way, the innermost first."""
    frame = inspect.currentframe().f_back
    while frame is not None:
        yield frame.f_locals
        frame = frame.f_back


def data_of(iterator):
    """`(kind, object)`: where a `fit`'s data comes from.

    Kinds are `"arrays"`, `"loader"` (torch's), `"dataset"` (`PyDataset`), and `"stream"` for
    all that can only be read on.
    """
    adapter = iterator.data_adapter
    if isinstance(adapter, data_adapters.ArrayDataAdapter):
        return "arrays", None
    if isinstance(adapter, data_adapters.TorchDataLoaderAdapter):
        return "loader", adapter.get_torch_dataloader()
    if isinstance(adapter, data_adapters.PyDatasetAdapter):
        return "dataset", adapter.py_dataset
    return "stream", None


def has_queue(iterator):
    """Whether threads or processes of Keras's fetch a `PyDataset`'s batches ahead."""
    return getattr(iterator.data_adapter, "enqueuer", None) is not None


def size_of_data(iterator):
    """`{"batch_size": …, "images": …}` as far as Keras knows them."""
    adapter = iterator.data_adapter
    images = getattr(adapter, "_num_samples", None)
    return {"batch_size": adapter.batch_size, "images": images}


def change_length(iterator, callbacks, loader):
    """Makes the epochs from now on as long as a loader is, and tells all callbacks.

    Args:
        iterator: the `EpochIterator` of a `fit`.
        callbacks: its `CallbackList`.
        loader: torch `DataLoader`, the data of the `fit`, whose length has changed.
    """
    iterator.data_adapter = data_adapters.TorchDataLoaderAdapter(loader)
    iterator._num_batches = iterator.data_adapter.num_batches
    if callbacks.params.get("steps") != iterator.num_batches:
        callbacks.params["steps"] = iterator.num_batches
        callbacks.set_params(callbacks.params)


def forget_validation_data(model):
    """Makes `fit` look anew at its validation data, whose length has changed."""
    model._eval_epoch_iterator = None


def end_without_steps(model):
    """Makes an epoch end with what the metrics hold, if all its steps were done before."""

    def results(logs):
        object.__delattr__(model, "_get_metrics_result_or_logs")
        return model._get_metrics_result_or_logs(logs) if logs else dict(model.get_metrics_result())

    object.__setattr__(model, "_get_metrics_result_or_logs", results)


def _drop_fetched_ahead(iterator):
    """Keeps Keras's queue from beginning an epoch with batches of the one before.

    What its workers had fetched when an epoch ended, also the look at the data before the first,
    is given out in the next, in the place of batches that nobody sees then.
    """
    if has_queue(iterator):
        iterator.data_adapter.enqueuer.ready_queue.queue.clear()


class Loader(DataLoader):
    """What `fit` takes as `x` and `y`, as a torch `DataLoader` of batches.

    Args:
        x, y: arrays, or a `PyDataset` and `None`.
        batch_size: int, of arrays.
        shuffle: bool, whether arrays are shuffled anew in each pass.

    Raises:
        ValueError: what Keras does not know, or what has no length.
    """

    def __init__(self, x, y, batch_size, shuffle):
        arrays = y is not None
        self._adapter = data_adapters.get_data_adapter(
            x=x, y=y, batch_size=batch_size if arrays else None, shuffle=shuffle and arrays
        )
        if self._adapter.num_batches is None:
            raise ValueError("It has to have a length.")
        self._ended = True
        super().__init__(TensorDataset(torch.zeros(1)), batch_size=batch_size)

    def __len__(self):
        return self._adapter.num_batches

    def __iter__(self):
        if not self._ended:  # Keras does not come back after a pass's last batch
            self._adapter.on_epoch_end()
        self._ended = False
        if getattr(self._adapter, "enqueuer", None) is not None:
            self._adapter.enqueuer.ready_queue.queue.clear()
        self._adapter.on_epoch_begin()
        yield from self._adapter.get_torch_dataloader()


class Pass:
    """One pass over the data: an iterator that knows how many batches were fetched from it.

    Attributes:
        made, begun: what `note` said before the iterator was made and before its first batch.
        at_start: bool, whether it was made when an epoch began, and not when another ended.
        fetched: int.
    """

    def __init__(self, loader, note, see, made, at_start):
        self._loader, self._note, self._see = loader, note, see
        self.made, self.begun, self.at_start = made, None, at_start
        self.fetched = 0
        self._batches = None

    def __iter__(self):
        if self._batches is None:
            self._batches = iter(self._loader)
        return self

    def __next__(self):
        if self.begun is None:
            self.begun = self._note()
        batch = next(self._batches)
        self.fetched += 1
        self._see(batch)
        return batch


class Passes:
    """Follows the passes of a `fit` over its data, and takes one up in its middle.

    Args:
        iterator: the `EpochIterator` of the `fit`, before its first epoch.
        note: callable that returns the state of the data and of all random numbers.
        put_back: callable that puts back what `note` returned.
        see: callable, told every batch that is fetched.
        prepare: callable, told the loader of each pass before it is gone through.

    Attributes:
        present: `Pass` that was begun last, or `None`.
        earlier: list of ints, what was fetched from those before.
        first: what `note` said before the first of all.
    """

    def __init__(self, iterator, note, put_back, see, prepare):
        self.iterator, self._note, self._put_back = iterator, note, put_back
        self._see, self._prepare = see, prepare
        self.present, self.earlier, self.first = None, [], note()
        self._before = self._again = None
        self._make, self._steps = iterator._get_iterator, iterator._enumerate_iterator
        iterator._get_iterator, iterator._enumerate_iterator = self._begin, self._epoch

    def goes_on(self):
        """Whether the next batch comes from the present pass, at the end of an epoch too."""
        ahead = self.iterator._current_iterator
        return self.iterator.steps_per_epoch is not None and ahead is self.present is not None

    def take_up(self, again):
        """Takes up a pass when the next epoch begins.

        Args:
            again: object with `made`, `begun`, `at_start`, `fetched` of that pass; `first` and
                `earlier` as above; `replays` (whether to go through earlier passes first),
                `open` (whether there is such a pass), `step` (steps of the epoch that are
                done), `begin` and `then` (callables, called before any batch is fetched and
                before the next one is).
        """
        self._again = again

    def _begin(self):
        again, self._again = self._again, None
        if again is None or not again.open:
            if self.present is not None and self.present.fetched:
                self.earlier.append(self.present.fetched)
            made, at_start = (self._note(), False) if self._before is None else (self._before, True)
            self._before = None
            self.present = self._new(made, at_start)
            return self.present
        if not again.at_start:
            self._put_back(again.made)
        self._before = None
        self.present = present = self._new(again.made, again.at_start)
        iter(present)
        if again.begun is not None:
            if not again.at_start:
                self._put_back(again.begun)
            present.begun = again.begun
        _go_through(present, again.fetched)
        again.then()
        return present

    def _new(self, made, at_start):
        loader = self._make()
        self._prepare(loader)
        return Pass(loader, self._note, self._see, made, at_start)

    def _epoch(self):
        again, iterator = self._again, self.iterator
        _drop_fetched_ahead(iterator)
        if again is not None:
            again.begin()
            self.earlier, self.first = list(again.earlier), again.first
            if again.replays:
                self._put_back(again.first)
            for count in again.earlier if again.replays else ():
                _go_through(iter(self._new(None, False)), count)
            if again.open and again.at_start:
                self._put_back(again.made)
            elif not again.open:
                again.then()
                self._again = None
        self._before = self._note() if again is None or not again.open else again.made
        skipped = again.step if again is not None else 0
        for number, step in enumerate(self._steps()):
            self._before = None  # what is made from now on is made within the epoch
            if number < skipped:  # trained on before; `_begin` has fetched them
                if number == skipped - 1:
                    iterator._steps_seen = again.fetched
                continue
            if number == 0 and again is not None and again.open:
                iterator._steps_seen = again.fetched + 1
            yield step


def _go_through(batches, count):
    for number in range(count):
        try:
            next(batches)
        except StopIteration:
            raise ValueError(
                f"The data ends after {number} batches, but {count} were trained on before the "
                "training was cut off. Give the data that the training began with."
            ) from None
