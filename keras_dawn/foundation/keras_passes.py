"""The passes of a `fit` over its data, and how one is taken up in its middle."""

from keras_dawn.foundation.keras_fit import has_queue
from keras_dawn.foundation.random_state import set_random_state


def _drop_fetched_ahead(iterator):
    """Keeps Keras's queue from beginning an epoch with batches of the one before.

    What its workers had fetched when an epoch ended, also the look at the data before the first,
    is given out in the next, in the place of batches that nobody sees then.
    """
    if has_queue(iterator):
        iterator.data_adapter.enqueuer.ready_queue.queue.clear()


class Pass:
    """One pass over the data: an iterator that knows how many batches were fetched from it.

    Attributes:
        made, begun: what `note` said before the iterator was made and before its first batch.
        at_start: bool, whether it was made when an epoch began, and not when another ended.
        fetched: int.
    """

    def __init__(self, loader, note, prepare, made, at_start):
        self._loader, self._note = loader, note
        self._starting, self._see = prepare()
        self.made, self.begun, self.at_start = made, None, at_start
        self.fetched = 0
        self._batches = None

    @property
    def random(self):
        """The random numbers before it was made and before its first batch, which order it."""
        return [note and note["random"] for note in (self.made, self.begun)]

    def __iter__(self):
        if self._batches is None:
            with self._starting():
                self._batches = iter(self._loader)
        return self

    def __next__(self):
        if self.begun is None:
            self.begun = self._note()
            # The first batch may start the workers, which inherit the signals' mask.
            with self._starting():
                batch = next(self._batches)
        else:
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
        prepare: callable, called before each pass; returns a callable for a context in which the
            pass is started, and one that is told every batch.

    Attributes:
        present: `Pass` that was begun last, or `None`.
        earlier: list of ints, what was fetched from those before.
        random: list of the `Pass.random` of those.
        first: what `note` said before the first of all.
    """

    def __init__(self, iterator, note, put_back, prepare):
        self.iterator, self._note, self._put_back = iterator, note, put_back
        self._prepare = prepare
        self.present, self.earlier, self.random, self.first = None, [], [], note()
        self._before = self._again = None
        # On the instance: other fits, and Keras's class, stay as they are.
        self._make, self._steps = iterator._get_iterator, iterator._enumerate_iterator
        iterator._get_iterator, iterator._enumerate_iterator = self._begin, self._epoch

    def goes_on(self):
        """Whether the next batch comes from the present pass, at the end of an epoch too."""
        ahead = self.iterator._current_iterator
        return self.iterator.steps_per_epoch is not None and ahead is self.present is not None

    def take_up(self, again):
        """Takes up a pass when the next epoch begins.

        Args:
            again: object with `made`, `begun`, `at_start`, `fetched` of that pass; `first`,
                `earlier` and `random` as above; `replays` (whether to go through earlier passes
                first), `open` (whether there is such a pass), `step` (steps of the epoch that are
                done), `stops` (whether no step is to follow these), `begin` and `then` (callables,
                called before any batch is fetched and before the next one is).
        """
        self._again = again

    def _begin(self):
        again, self._again = self._again, None
        if again is None or not again.open:
            if self.present is not None and self.present.fetched:
                self.earlier.append(self.present.fetched)
                self.random.append(self.present.random)
            made, at_start = (self._note(), False) if self._before is None else (self._before, True)
            self._before = None
            self.present = self._new(made, at_start)
            return self.present
        # As it was when the pass was made in the other process: samplers draw their seed then.
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
        return Pass(self._make(), self._note, self._prepare, made, at_start)

    def _epoch(self):
        again, iterator = self._again, self.iterator
        _drop_fetched_ahead(iterator)
        if again is not None:
            again.begin()
            self.earlier, self.random = list(again.earlier), list(again.random)
            self.first = again.first
            if again.replays:
                self._put_back(again.first)
                for count, random in zip(again.earlier, again.random, strict=True):
                    self._go_through_again(count, *random)
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
                if number == skipped - 1:  # Keras warns of too few batches by this count
                    iterator._steps_seen = again.fetched
                    if again.stops:
                        return
                continue
            if number == 0 and again is not None and again.open:
                iterator._steps_seen = again.fetched + 1
            yield step

    def _go_through_again(self, count, made, begun):
        """Fetches what an earlier pass gave, whatever was drawn while it was trained on."""
        set_random_state(made)
        batches = iter(self._new(None, False))
        set_random_state(begun)
        _go_through(batches, count)


def _go_through(batches, count):
    for number in range(count):
        try:
            next(batches)
        except StopIteration:
            raise ValueError(
                f"The data ends after {number} batches, but {count} were trained on before the "
                "training was cut off. Give the data that the training began with."
            ) from None
