"""Two clocks: the wall's, and DAWNBench's, which stands still during validation."""

import secrets
import time

import torch


class TrainingClock:
    """Measures a training by DAWNBench's rules beside the wall clock.

    By the rules, loading data and building the model count; validation and saving
    checkpoints do not. So start the clock before the data is loaded, and pause it
    around what does not count (`keras_dawn.TimeToAccuracy` does, in a `fit`).

    On a GPU, pausing and resuming wait for the work under way, so that it is counted
    on the right side.

    Args:
        elapsed_seconds: float, seconds that count already, such as those that loading
            the data took when several runs share it.

    Attributes:
        label: str, which no other clock has, of another process neither.

    Example:
        >>> clock = TrainingClock()
        >>> with clock.paused():
        ...     pass
        >>> clock.training_seconds() <= clock.wall_seconds()
        True
    """

    def __init__(self, elapsed_seconds=0.0):
        self._start = time.perf_counter() - elapsed_seconds
        self._paused_seconds = 0.0
        self._paused_at = None
        self._earlier = (0.0, 0.0)
        self.label = secrets.token_hex(8)

    @property
    def is_paused(self):
        """Whether the training clock stands still."""
        return self._paused_at is not None

    def pause(self):
        """Stops the training clock; pausing twice is as pausing once."""
        if self._paused_at is None:
            _finish_device_work()
            self._paused_at = time.perf_counter()

    def resume(self):
        """Lets the training clock run again, if it was paused."""
        if self._paused_at is not None:
            _finish_device_work()
            self._paused_seconds += time.perf_counter() - self._paused_at
            self._paused_at = None

    def paused(self):
        """A context manager: paused inside, and afterwards as it was before."""
        return _Paused(self)

    def set_earlier(self, training_seconds, wall_seconds):
        """Counts the time of earlier processes whose training this one goes on with.

        It takes the place of what was given before: a state is restored twice within an epoch.
        """
        training, wall = self._earlier
        self._earlier = training_seconds, wall_seconds
        self._start -= wall_seconds - wall
        self._paused_seconds += (wall_seconds - wall) - (training_seconds - training)

    def own_seconds(self):
        """`(training, wall)` seconds without those of earlier processes."""
        training, wall = self._earlier
        return self.training_seconds() - training, self.wall_seconds() - wall

    def wall_seconds(self):
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start

    def training_seconds(self):
        """Seconds since the clock was made, less those it was paused."""
        now = time.perf_counter() if self._paused_at is None else self._paused_at
        return now - self._start - self._paused_seconds


class _Paused:
    def __init__(self, clock):
        self.clock = clock

    def __enter__(self):
        self.was_paused = self.clock.is_paused
        self.clock.pause()

    def __exit__(self, *exception):
        if not self.was_paused:
            self.clock.resume()


def _finish_device_work():
    # Not before somebody has used the GPU: to ask it would take memory there.
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
