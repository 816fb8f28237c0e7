"""What Keras's `predict` goes through its data by."""

from keras_dawn.foundation.keras_version import VERSION

import keras
from keras.src.backend.torch.trainer import TorchEpochIterator
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data import dataloader as torch_loader


def is_known(model):
    """Whether a model's `predict` is the one that is known here: Keras's, up to 3.15."""
    own = "predict" in vars(type(model)) or type(model).predict is not keras.Model.predict
    return not own and VERSION < (3, 16) and model.steps_per_execution == 1


def batches_of(x, batch_size, steps):
    """Keras's iterator over what `predict` is given: `(first step, last step, [batch])`."""
    return _Batches(
        x=x, batch_size=batch_size, steps_per_epoch=steps, shuffle=False, steps_per_execution=1
    )


class _Batches(TorchEpochIterator):
    """Keras's, with one loader for arrays.

    With the last batch Keras makes another one, for a next pass, and begins to iterate over it,
    which draws a random number. Here the first one is begun again, and draws the same.
    """

    _loader = None

    def _get_iterator(self):
        if type(self.data_adapter) is not ArrayDataAdapter:
            return super()._get_iterator()
        if self._loader is None:
            self._loader = super()._get_iterator()
        return self._loader


_OF_TORCH = (BatchSampler, RandomSampler, SequentialSampler)


def fetches_without_python_of_the_user_s(batches):
    """Whether nothing of the user's runs where the next batch is fetched.

    Args:
        batches: what `batches_of` gives, after its first batch.
    """
    if type(batches.data_adapter) is ArrayDataAdapter:
        return True
    iterator = batches._current_iterator
    if type(iterator) is type(iter([])):
        return True
    if type(iterator) is not torch_loader._SingleProcessDataLoaderIter:
        return False
    sampler = iterator._index_sampler
    return (
        type(iterator._dataset) is TensorDataset
        and iterator._collate_fn is torch_loader.default_collate
        and type(sampler) is BatchSampler
        and type(sampler.sampler) in _OF_TORCH
    )
