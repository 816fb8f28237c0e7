"""The data of a plan as one data set for `fit`: in every epoch that of its phase."""

import contextlib

from keras_dawn.data.validation import warn_of_random_images
from keras_dawn.distributed import sharded_arrays, sharding
from keras_dawn.distributed.alike import check_alike
from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.plain_state import alike
from keras_dawn.foundation.random_state import random_state, set_random_state
from keras_dawn.foundation.source_state import SourceState
from keras_dawn.plans.planned_sizes import PlannedSizes

import torch
from torch.utils.data import DataLoader, TensorDataset


class PlanData(DataLoader):
    """Data that changes with the phase of a plan, and with it image size, batch size and length.

    It knows the epoch as this package's data sets do (`epoch`, `set_epoch`), and passes it on.

    Args:
        plan: `TrainingPlan`.
        make: callable from a `Phase` to data for `fit`: a torch `DataLoader` (this package's data
            sets are such), a `PyDataset`, or arrays `(x, y)`, which are shuffled.
        kind: callable from a `Phase` to what it depends on; while that stays the same, the
            data stays.
        training: bool, whether it is trained on.

    Attributes:
        phase: `Phase` of the present epoch.
        data: what `make` returned for it, as a torch `DataLoader`.
    """

    def __init__(self, plan, make, kind, training):
        self._plan, self._make, self._kind, self._training = plan, make, kind, training
        self._shared, self._stack = False, contextlib.ExitStack()
        self.epoch, self.phase, self.data = 0, None, None
        # A state that was loaded before the first epoch, until the data is asked for.
        self._loaded, self._begun = None, False
        self._enter(plan.phases[0])
        # What Keras looks at besides the length: the rows of this set are never read.
        super().__init__(TensorDataset(torch.zeros(1)), batch_size=plan.phases[0].batch_size)

    @property
    def rank_weight(self):
        """What this rank's part of the last batch weighs."""
        return getattr(self.data, "rank_weight", 1.0)

    @property
    def class_names(self):
        """Those of its phase's data, or `None`."""
        return getattr(self.data, "class_names", None)

    @property
    def served_whole(self):
        """Whether every rank is served all of it (`distributed.sharding.shared_out`)."""
        return sharding.is_served_whole(self.data)

    def fingerprint(self):
        """What tells its phase's data from other (`distributed.alike`), or `None`."""
        return self.data.fingerprint() if hasattr(self.data, "fingerprint") else None

    def planned(self):
        """What each epoch uses, for checkpoints (`TrainingPlan.by_epoch`)."""
        return self._plan.by_epoch()

    def set_epoch(self, epoch):
        """Goes to an epoch (0-based) and its phase."""
        self._settle()
        self._begun = True
        self.epoch = int(epoch)
        self._enter(self._plan.phase_at(self.epoch))
        for part in (self.data, sharding.sampler_of(self.data)):
            if hasattr(part, "set_epoch"):
                part.set_epoch(self.epoch)

    def set_share(self, share, training):
        """Serves one rank's share, or all of it again, in this phase and in those that follow."""
        self._shared = share.world_size > 1
        self._share_out()

    def __len__(self):
        self._settle()
        return len(self.data)

    def __iter__(self):
        self._settle()
        yield from self._sizes.checked(self.data)

    def unmade(self, wanted):
        """The same, but for batches that come as `Unmade`; see `DeviceImages.unmade`."""
        self._settle()
        offers = hasattr(self.data, "unmade")
        yield from self._sizes.checked(self.data.unmade(wanted) if offers else self.data)

    def state_dict(self):
        """Where it is, for checkpoints: the epoch, the state of its phase's data, and the random
        numbers that this was made of, if it was made of any."""
        self._settle()
        self._source.check()
        if self._source.reads_on:
            raise ValueError(
                f"ResumeTraining cannot know where the data of {self.phase} is: it holds an "
                "iterator, which only reads on. Give the object that holds it `state_dict` and "
                "`load_state_dict`, or make the iterator anew in `__iter__`."
            )
        return {"epoch": self.epoch, "data": self._source.now(), "drawn": self._drawn}

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned; before the first epoch, once the data is asked for:
        a training that is complete makes none."""
        self._loaded = state
        if self._begun:  # within a pass: put back later, it would undo what was read since
            self._settle()

    def _settle(self):
        state, self._loaded = self._loaded, None
        if state is None:
            return
        before = random_state()
        drawn = state["drawn"]
        if drawn is not None:
            # Made of the random numbers that it was made of, in whichever process that was.
            set_random_state(drawn)
            phase = self._plan.phase_at(state["epoch"])
            self._enter(phase, anew=self._drawn is None or not alike([drawn, self._drawn]))
        self.set_epoch(state["epoch"])
        self._source.put_back(state["data"])
        set_random_state(before)

    def _enter(self, phase, anew=False):
        if phase is self.phase and not anew:
            return
        # The same data goes on where only rates change: an epoch's order is then no new one.
        before, self.phase = self.phase, phase
        if before is not None and self._kind(before) == self._kind(phase) and not anew:
            return
        first = random_state()
        made = self._make(phase)
        self._sizes = PlannedSizes(phase, self._training)
        self._sizes.check_made(made)
        if not self._training:
            warn_of_random_images(made)
        self._drawn = None if alike([first, random_state()]) else first
        if not isinstance(made, DataLoader):
            made = self._loader(made, phase)
        self.data, self._source = made, SourceState(made)
        self._share_out()
        if self._shared:  # what draws torch's numbers gets others on each rank by now
            check_alike(made)

    def _loader(self, made, phase):
        x, y = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        # In an order that does not depend on the number of ranks: a plan may go on with fewer.
        arrays = sharded_arrays.shard_arrays(
            x, y, None, phase.batch_size, shuffle=self._training, training=self._training
        )
        if isinstance(arrays, DataLoader):
            return arrays
        try:
            return keras_fit.Loader(x, y, phase.batch_size, shuffle=self._training)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"The data of {phase} is a {type(made).__name__}: expected a torch DataLoader, "
                f"such as keras_dawn.data.DeviceImages, a PyDataset or arrays (x, y). {error}"
            ) from None

    def _share_out(self):
        # The share of the data before ends first: nothing may stay shared that no rank reads.
        self._stack.close()
        if self._shared:
            self._stack.enter_context(sharding.shared_out(self.data, self._training))
