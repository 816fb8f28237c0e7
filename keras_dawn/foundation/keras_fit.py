"""A `fit` under way: its callbacks, its data, and how far it is in them."""

import inspect

from keras_dawn.foundation.random_state import random_state, set_random_state

import keras
import torch
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import py_dataset_adapter
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
    return list(getattr(callback_list(callback), "callbacks", ()))


def epoch_iterator(model):
    """The iterator over the data of the model's `fit` under way, or `None`."""
    for caller in _callers():
        found = caller.get("epoch_iterator")
        if isinstance(found, EpochIterator) and caller.get("self") is model:
            return found
    return None


def validation_data(model):
    """What the model's `fit` under way was given as `validation_data`, or `None`."""
    return _given(model, "validation_data")


def class_weight(model):
    """What the model's `fit` under way was given as `class_weight`, or `None`."""
    return _given(model, "class_weight")


def _given(model, name):
    of_model = (caller for caller in _callers() if caller.get("self") is model and name in caller)
    of_fit = (one for one in of_model if isinstance(one.get("epoch_iterator"), EpochIterator))
    return next((one[name] for one in of_fit), None)


def _callers():
    """The names and values of the calls under way, the innermost first."""
    frame = inspect.currentframe().f_back
    while frame is not None:
        yield frame.f_locals
        frame = frame.f_back


def is_within(frame, iterator):
    """Whether a frame, such as one that a signal came in, is in the `fit` over an `EpochIterator`.

    Asked by the iterator: to hold a frame would hold all that a `fit` that failed had in memory.
    """
    while frame is not None:
        has_one = "epoch_iterator" in frame.f_code.co_varnames
        if has_one and frame.f_locals.get("epoch_iterator") is iterator:
            return True
        frame = frame.f_back
    return False


def is_to_be_built(model):
    """Whether Keras's next `fit` builds model, loss or metrics, on a batch without numbers."""
    parts = (model._compile_metrics, model._compile_loss)
    parts = [*model._flatten_layers(), *(part for part in parts if part is not None)]
    return not all(part.built for part in parts)


def build_without_draws(model):
    """Lets Keras's next building of a model, which looks at a batch, draw no random numbers.

    For one that was built so in the process before.
    """
    if "_symbolic_build" in vars(model):
        return

    def built(*args, **kwargs):
        del model._symbolic_build
        state = random_state()
        model._symbolic_build(*args, **kwargs)
        set_random_state(state)

    model._symbolic_build = built


def data_of(iterator):
    """`(kind, object)`: where a `fit`'s data comes from.

    Kinds are `"arrays"`, `"loader"` (torch's), `"dataset"` (`PyDataset`), and `"stream"` for
    all that can only be read on.
    """
    adapter = iterator.data_adapter
    if isinstance(adapter, data_adapters.ArrayDataAdapter):
        return "arrays", None
    if isinstance(adapter, data_adapters.TorchDataLoaderAdapter):
        return "loader", adapter._dataloader
    if isinstance(adapter, data_adapters.PyDatasetAdapter):
        return "dataset", adapter.py_dataset
    return "stream", None


def is_queue(value):
    """Whether something fetches a `PyDataset`'s batches ahead, in each pass anew."""
    return isinstance(value, py_dataset_adapter.PyDatasetEnqueuer)


def has_queue(iterator):
    """Whether threads or processes of Keras's fetch a `PyDataset`'s batches ahead."""
    return getattr(iterator.data_adapter, "enqueuer", None) is not None


def passes_done(iterator):
    """How many passes over its data Keras has counted, which is what it shuffles arrays by.

    `None` before Keras 3.16, which shuffles by torch's random numbers.
    """
    return getattr(iterator.data_adapter, "_epoch", None)


def set_passes_done(iterator, count):
    """Puts back what `passes_done` returned."""
    if count is not None:
        iterator.data_adapter._epoch = count


def size_of_data(iterator):
    """`{"batch_size": …, "images": …}` as far as Keras knows them."""
    adapter = iterator.data_adapter
    images = getattr(adapter, "_num_samples", None)
    kind, loader = data_of(iterator)
    if kind == "loader" and adapter.num_batches:
        images = len(loader.dataset)
    return {"batch_size": adapter.batch_size, "images": images}


def arrays_of(iterator):
    """`(arrays, batch size, whether they are shuffled)` of a `fit` on arrays, else `None`."""
    adapter = iterator.data_adapter
    if not isinstance(adapter, data_adapters.ArrayDataAdapter):
        return None
    return adapter._inputs, adapter.batch_size, bool(adapter._shuffle)


def change_data(iterator, loader):
    """Makes a `fit` read a torch `DataLoader` from now on; no callback is told of its length."""
    # An adapter reads the length once, when it is made.
    iterator.data_adapter = data_adapters.TorchDataLoaderAdapter(loader)
    iterator._num_batches = iterator.data_adapter.num_batches


def change_length(iterator, callbacks, loader):
    """Makes the epochs from now on as long as a loader is, and tells all callbacks.

    Args:
        iterator: the `EpochIterator` of a `fit`.
        callbacks: its `CallbackList`.
        loader: torch `DataLoader`, the data of the `fit`, whose length has changed.
    """
    instead = vars(iterator.data_adapter).get("get_torch_dataloader")
    change_data(iterator, loader)
    if instead is not None:  # what the `fit` reads in the loader's place
        iterator.data_adapter.get_torch_dataloader = instead
    if callbacks.params.get("steps") != iterator.num_batches:
        callbacks.params["steps"] = iterator.num_batches
        # `set_params` alone reaches callbacks that keep the numbers, such as the progress bar.
        callbacks.set_params(callbacks.params)


def go_through_instead(iterator, batches):
    """Lets a `fit` iterate over something else than its loader, which stays its data.

    Args:
        iterator: the `EpochIterator` of the `fit`, before its first epoch.
        batches: iterable that gives as many batches as the loader.
    """
    iterator.data_adapter.get_torch_dataloader = lambda: batches


def forget_validation_data(model):
    """Makes `fit` look anew at its validation data, whose length has changed."""
    model._eval_epoch_iterator = None


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
            # What was fetched for a pass that ended early would be given out first.
            self._adapter.enqueuer.ready_queue.queue.clear()
        self._adapter.on_epoch_begin()
        yield from self._adapter.get_torch_dataloader()


def set_first_epoch(model, epoch):
    """Makes `fit`, once it has called `on_train_begin`, start at an epoch (0 for its own)."""
    model._initial_epoch = epoch or None
