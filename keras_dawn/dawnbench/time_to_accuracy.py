"""DAWNBench's question: how long, and how much money, until the target accuracy?"""

import contextlib
import warnings
from dataclasses import dataclass

from keras_dawn.dawnbench.clock import TrainingClock
from keras_dawn.dawnbench.prices import check_price

import keras


@dataclass(frozen=True)
class EpochRecord:
    """What one validated epoch showed.

    Args:
        epoch: int, 0-based.
        training_seconds, wall_seconds: seconds on the two clocks.
        accuracy, top5_accuracy: percent.
    """

    epoch: int
    training_seconds: float
    wall_seconds: float
    accuracy: float
    top5_accuracy: float | None = None


class TimeToAccuracy(keras.callbacks.Callback):
    """Records when the validation accuracy reaches a target, and what it cost.

    Adds `training_seconds` (DAWNBench's clock: validation and checkpoints excluded),
    `wall_seconds` and, with a price, `cost_usd` to each epoch's logs. Put it first in
    the list of callbacks: the training clock then stands still while the others do
    their work at the end of an epoch, such as saving a checkpoint.

    Args:
        target: float, percent from 1 to 100, such as `94.0`.
        monitor: name of the validation metric, a fraction in [0, 1] in the logs.
        top5: name of a top-5 validation metric to record beside it, or `None`.
        target_on: `"accuracy"` (that of `monitor`) or `"top5"`: which must reach the target.
        stop_at_target: bool, whether to end the training after the first hit.
        price_per_hour: USD per hour of the whole machine, or `None`.
        clock: `TrainingClock` started before the data was loaded; by default one that
            starts with the training, and so leaves out loading data and building the model.

    Attributes:
        records: list of `EpochRecord`, one for each validated epoch.
        reached: the first `EpochRecord` at or above the target, or `None`.

    Raises:
        ValueError: a target outside 1–100 or a negative price.

    Example:
        >>> timer = TimeToAccuracy(94.0, price_per_hour=3.06)
        >>> model.fit(train, validation_data=test, callbacks=[timer])     # doctest: +SKIP
    """

    sees_whole_training = True  # added to one that goes on, it would not count what was before

    def __init__(
        self,
        target,
        *,
        monitor="val_accuracy",
        top5=None,
        target_on="accuracy",
        stop_at_target=False,
        price_per_hour=None,
        clock=None,
    ):
        super().__init__()
        check_target(target)
        check_price(price_per_hour)
        self.target = float(target)
        self.monitor = monitor
        self.top5 = top5
        if target_on not in ("accuracy", "top5") or (target_on == "top5" and top5 is None):
            raise ValueError(
                '`target_on` must be "accuracy", or "top5" with the name of that metric as `top5`; '
                f"got {target_on!r} and top5={top5!r}."
            )
        self.target_on = target_on
        self.stop_at_target = stop_at_target
        self.price_per_hour = price_per_hour
        self.clock = clock
        self.records = []
        self.reached = None
        self._warned = False
        self._begun = (0.0, 0.0)  # what the clock itself had counted when the training began

    def cost(self, seconds):
        """USD for so many seconds, or `None` without a price."""
        return None if self.price_per_hour is None else seconds / 3600 * self.price_per_hour

    def state_dict(self):
        """What `ResumeTraining` saves: the epochs so far and the time spent."""
        return {
            "records": [vars(record) for record in self.records],
            "training_seconds": self.clock.training_seconds(),
            "wall_seconds": self.clock.wall_seconds(),
            "clock": self.clock.label,
        }

    def load_state_dict(self, state):
        """Goes on from `state_dict`: time that was spent before counts."""
        self.records = [EpochRecord(**record) for record in state["records"]]
        # Found anew, as the target may be another one than before the interruption.
        self.reached = next((r for r in self.records if self._counted(r) >= self.target), None)
        # What this very clock has counted, before the same process tries again, is in the state.
        own = self._begun if state.get("clock") == self.clock.label else (0.0, 0.0)
        training, wall = state["training_seconds"], state["wall_seconds"]
        self.clock.set_earlier(training - own[0], wall - own[1])

    def on_train_begin(self, logs=None):
        if self.clock is None:
            self.clock = TrainingClock()
        self.clock.resume()
        self._begun = self.clock.own_seconds()

    def on_epoch_begin(self, epoch, logs=None):
        self.clock.resume()

    def on_test_begin(self, logs=None):
        self.clock.pause()

    def on_epoch_end(self, epoch, logs=None):
        # Until the next epoch begins: what other callbacks do at an epoch's end is not training.
        self.clock.pause()
        logs = {} if logs is None else logs
        training, wall = self.clock.training_seconds(), self.clock.wall_seconds()
        wanted = [self.monitor] if self.top5 is None else [self.monitor, self.top5]
        missing = [name for name in wanted if name not in logs]
        if not missing:
            top5 = None if self.top5 is None else _percent(logs[self.top5])
            self.record(epoch, _percent(logs[self.monitor]), top5)
            if self.reached is not None and self.stop_at_target:
                self.model.stop_training = True
        elif not self._warned and any(name.startswith("val_") for name in logs):
            self._warned = True
            warnings.warn(
                f"TimeToAccuracy finds no {', '.join(map(repr, missing))} in the logs, so no time "
                f"to accuracy is recorded. There is: {', '.join(sorted(logs))}.",
                stacklevel=2,
            )
        logs.update(training_seconds=training, wall_seconds=wall)
        if self.price_per_hour is not None:
            logs["cost_usd"] = self.cost(training)

    def on_train_end(self, logs=None):
        self.clock.pause()

    def record(self, epoch, accuracy, top5_accuracy=None):
        """Adds an evaluation; `fit` does it for its own, call it for one that was made outside.

        Args:
            epoch: int, 0-based, the last one that was trained.
            accuracy, top5_accuracy: percent.

        Example:
            >>> timer = TimeToAccuracy(94.0, clock=TrainingClock())
            >>> timer.record(9, 94.1)
            >>> timer.reached.accuracy
            94.1
        """
        training, wall = self.clock.training_seconds(), self.clock.wall_seconds()
        record = EpochRecord(epoch, training, wall, accuracy, top5_accuracy)
        self.records.append(record)
        if self.reached is None and self._counted(record) >= self.target:
            self.reached = record

    def _counted(self, record):
        return record.accuracy if self.target_on == "accuracy" else record.top5_accuracy


@contextlib.contextmanager
def clocks_paused(callbacks):
    """A context in which the training clocks of the `TimeToAccuracy` among callbacks stand still.

    Args:
        callbacks: list of callbacks of a `fit` that is in an epoch: they run again afterwards.
    """
    with contextlib.ExitStack() as paused:
        for one in callbacks:
            if isinstance(one, TimeToAccuracy):
                paused.enter_context(one.clock.paused())
        yield


def _percent(fraction):
    # Keras counts in float32, where 9,400 of 10,000 is 0.93999998: that is 94 %.
    return round(100 * float(fraction), 4)


def check_target(target):
    """Raises `ValueError` unless `target` is a percentage from 1 to 100."""
    if not 1 <= target <= 100:
        hint = f" Did you mean {100 * target:g}?" if 0 < target < 1 else ""
        raise ValueError(
            f"The target accuracy is a percentage from 1 to 100, such as 94.0; got {target}.{hint}"
        )
