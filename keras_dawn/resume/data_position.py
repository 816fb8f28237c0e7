"""Where a `fit` is in its data, for checkpoints: of the batch that will be trained on next."""

import contextlib
import hashlib
from collections.abc import Iterator
from types import SimpleNamespace

from keras_dawn.distributed.sharded_arrays import ShardedArrays
from keras_dawn.foundation import keras_fit, keras_passes
from keras_dawn.foundation.held_states import has_state
from keras_dawn.foundation.random_state import random_state, set_random_state
from keras_dawn.foundation.source_state import SourceState
from keras_dawn.resume.loader_workers import (
    let_workers_outlive,
    of_phase,
    start_workers_anew,
    starting_workers,
)

import keras
import numpy as np
import torch
from torch.utils.data import IterableDataset


class DataPosition:
    """Follows a `fit` through its data, from its first epoch on.

    A pass over the data is described by what its random generators, and all random numbers of
    the process, were when it began, and by how many batches were fetched since: another process
    goes through these again. Data that only reads on, such as a Python generator, is gone
    through from its beginning, and has to give the same batches again.

    Args:
        iterator: the `EpochIterator` of the `fit`.
        signals: bool, whether the training takes note of signals.
        validation: what `fit` validates on, or `None`; it keeps its state too.

    Raises:
        ValueError: data whose position cannot be known.
    """

    def __init__(self, iterator, signals, validation=None):
        self._outlives = signals
        kind, source = keras_fit.data_of(iterator)
        self._data, self._iterator = source, iterator
        self._source = SourceState(_with_a_state(source))
        other = validation is not source
        self._validation = SourceState(
            _with_a_state(validation) if other else None, "the validation data"
        )
        for state in (self._source, self._validation):
            state.check()
        self._replays = kind == "stream" or self._source.reads_on
        self._digest = "" if self._replays or self._is_iterable() else None
        if isinstance(validation, Iterator):
            raise ValueError(
                "ResumeTraining cannot know where a generator to validate on is: it reads on from "
                "one validation to the next. Give `validation_data` as arrays, a torch DataLoader "
                "or a PyDataset."
            )
        if keras_fit.has_queue(iterator) and iterator.steps_per_epoch:
            raise ValueError(
                "ResumeTraining cannot know where a PyDataset with workers is when "
                "`steps_per_epoch` is given: its queue goes on over the ends of epochs. Leave "
                "`steps_per_epoch` out, or make the PyDataset with workers=1."
            )
        self.passes = keras_passes.Passes(iterator, self._note, self._put_back, self._begins)

    @property
    def has_no_place(self):
        """Whether a restart has to fetch again what was fetched, and nothing says from where."""
        objects = [one for one in self._source.objects if not isinstance(one, torch.nn.Module)]
        tells = any(map(has_state, objects))
        return self._digest is not None and not tells

    @property
    def generators(self):
        """Names of the random generators in the data and in that to validate on."""
        return {"data": self._source.generators, "validation": self._validation.generators}

    @property
    def objects(self):
        """Objects in the data, whose states are part of the position."""
        return [*self._source.objects, *self._validation.objects]

    def now(self, step):
        """The position as plain data; `step` is how many steps of the epoch are done."""
        passes = self.passes
        present = passes.present
        taken = passes.goes_on() or step > 0
        earlier, random = [*passes.earlier], [*passes.random]
        # Between two epochs the pass is over: a stream has to go through its batches once more.
        if not taken and present is not None and present.fetched:
            earlier.append(present.fetched)
            random.append(present.random)
        return {
            "open": taken,
            "made": present.made if taken else None,
            "begun": present.begun if taken else None,
            "at_start": present.at_start if taken else None,
            "fetched": present.fetched if taken else 0,
            "earlier": earlier if self._replays else [],
            "random": random if self._replays else [],
            "first": passes.first if self._replays else None,
            "digest": self._digest,
            "now": self._note(),
        }

    def put_back_now(self, position):
        """Puts the state of the data and the random numbers back, for between two epochs."""
        self._put_back(position["now"])

    def take_up(self, position, step, stops):
        """Goes on from a position in the next epoch, with no further step of it if it `stops`."""
        if not (step or position["open"] or self._replays):
            return  # a fresh pass, with the state as `put_back_now` and callbacks have made it
        before = []

        def then():
            if position["digest"] != self._digest:
                raise ValueError(
                    "The data does not give the batches again that were trained on before the "
                    "training was cut off, and does not say where it is. Give the data "
                    "`state_dict` and `load_state_dict`, or use a torch DataLoader over a dataset "
                    "with a length, a PyDataset or arrays."
                )
            # Fetching the batches again has moved the random numbers; they are as at the saved
            # step, or as the epoch found them.
            self._put_back(position["now"] if step else before[0])

        again = SimpleNamespace(
            **position,
            step=step,
            stops=stops,
            begin=lambda: before.append(self._note()),
            then=then,
            replays=self._replays,
        )
        self.passes.take_up(again)

    def _note(self):
        passes = keras_fit.passes_done(self._iterator)
        return {
            "random": random_state(),
            "data": self._source.now(),
            "validation": self._validation.now(),
            "passes": passes,
        }

    def _put_back(self, noted):
        set_random_state(noted["random"])
        self._source.put_back(noted["data"])
        self._validation.put_back(noted["validation"])
        keras_fit.set_passes_done(self._iterator, noted.get("passes"))

    def _begins(self):
        # The source: what is gone through may be something that stands in its place.
        start_workers_anew(self._data)
        has_workers = self._outlives and let_workers_outlive(self._data)
        if not self._replays:
            self._digest = "" if self._is_iterable() else None  # of one pass alone
        return starting_workers if has_workers else contextlib.nullcontext, self._see

    def _is_iterable(self):
        return isinstance(getattr(of_phase(self._data), "dataset", None), IterableDataset)

    def _see(self, batch):
        if self._digest is None:
            return
        digest = hashlib.sha256(self._digest.encode())
        for leaf in keras.tree.flatten(batch):
            if isinstance(leaf, torch.Tensor):
                flat = leaf.detach().reshape(-1)
                # About a thousand numbers tell batches apart; all of them would cost a copy.
                leaf = flat[:: max(1, len(flat) // 1024)].cpu().numpy()
            digest.update(np.ascontiguousarray(leaf).tobytes())
        self._digest = digest.hexdigest()


def _with_a_state(data):
    """The data, or `None` where it is arrays in their order, on however many ranks.

    On one rank Keras serves them, on several `ShardedArrays` do; both have nothing to go on with.
    """
    in_order = isinstance(data, ShardedArrays) and not data.shuffles
    return None if in_order or isinstance(data, (tuple, list)) else data
