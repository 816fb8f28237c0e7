"""What Keras keeps of losses that layers add, and where it fetches a batch to predict."""

import keras_dawn  # noqa: F401
from keras_dawn.foundation import keras_context, keras_losses
from keras_dawn.foundation.keras_predict import batches_of, fetches_without_python_of_the_user_s

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch.utils.data import DataLoader, Dataset, TensorDataset


def network():
    return keras.Sequential([layers.Dense(2), keras.Sequential([layers.Dense(3)])])


def test_a_loss_is_kept_where_add_loss_keeps_it_and_cleared_with_those_inside():
    model = network()
    model.build((None, 4))
    inner = model.layers[1].layers[0]
    loss, other = torch.ones(()), torch.zeros(())
    inner.add_loss(loss)
    keras_losses.keep_added_loss(inner, other)
    model.add_loss(loss)
    assert [id(one) for one in model.losses] == [id(loss), id(loss), id(other)]
    keras_context.clear_added_losses(model)
    assert model.losses == inner.losses == []


class Own(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.ones(3)


class Lists(DataLoader):
    def __iter__(self):
        return iter([(torch.ones(2, 3),)] * 2)


def generator():
    while True:
        yield (np.ones((2, 3)),)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return (np.ones((2, 3)),)


TENSORS = TensorDataset(torch.ones(4, 3))
KNOWN = {
    "array": lambda: np.ones((4, 3)),
    "tensors": lambda: {"a": torch.ones(4, 3)},
    "loader": lambda: DataLoader(TENSORS, batch_size=2),
    "shuffled": lambda: DataLoader(TENSORS, batch_size=2, shuffle=True),
    "list": lambda: Lists(TENSORS),
}
UNKNOWN = {
    "dataset": lambda: DataLoader(Own(), batch_size=2),
    "collate": lambda: DataLoader(TENSORS, batch_size=2, collate_fn=lambda found: found[0]),
    "sampler": lambda: DataLoader(TENSORS, batch_size=2, sampler=[0, 1, 2, 3]),
    "batch sampler": lambda: DataLoader(TENSORS, batch_sampler=[[0, 1], [2]]),
    "generator": generator,
    "PyDataset": Batches,
}


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
@pytest.mark.filterwarnings("ignore:Your `PyDataset` class")
def test_where_python_of_the_user_s_runs_between_batches(name):
    batches = batches_of((KNOWN | UNKNOWN)[name](), 2 if name in ("array", "tensors") else None, 2)
    next(iter(batches))
    assert fetches_without_python_of_the_user_s(batches) == (name in KNOWN)
