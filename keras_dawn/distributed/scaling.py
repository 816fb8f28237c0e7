"""What to expect from more devices, and what to change with the batch size."""

from dataclasses import dataclass


def scale_learning_rate(learning_rate, batch_size, reference_batch_size):
    """The linear scaling rule: a batch k times as large takes a rate k times as high.

    Both batch sizes are those of the whole job. (Goyal et al. 2017, "Accurate, Large
    Minibatch SGD", https://arxiv.org/abs/1706.02677; it needs a warm-up and holds up to
    some largest batch size.)

    Args:
        learning_rate: float, the rate that suits `reference_batch_size`.
        batch_size, reference_batch_size: int, images a step over all ranks.

    Returns:
        float.

    Raises:
        ValueError: a number that is not above 0.

    Example:
        >>> keras_dawn.distributed.scale_learning_rate(0.1, 1024, 256)
        0.4
    """
    for name, value in (
        ("learning_rate", learning_rate),
        ("batch_size", batch_size),
        ("reference_batch_size", reference_batch_size),
    ):
        if value <= 0:
            raise ValueError(f"`{name}` must be above 0, got {value}.")
    return learning_rate * batch_size / reference_batch_size


@dataclass(frozen=True)
class StepTimeModel:
    """Predicts the time of a data-parallel step from three measured numbers.

    A ring all-reduce sends and receives `2 (n - 1) / n` times the gradients' bytes on
    every link (Patarasuk & Yuan 2009), in `2 (n - 1)` messages. The part of the backward
    pass after the first gradients are ready hides some of it. So

        step = compute + max(latency part + byte time - overlap * backward, 0)

    where the backward pass is taken as two thirds of `compute_seconds`.

    Args:
        compute_seconds: float, a step of one device on its share of the batch.
        gradient_bytes: float, bytes of all gradients as they travel.
        bytes_per_second: float, what the slowest link carries in each direction.
        overlap: float in [0, 1], which part of the backward pass can hide communication.
        latency_seconds: float, time of one message without content.

    Example:
        >>> model = StepTimeModel(0.2, 100e6, 10e9)
        >>> round(model.step_seconds(8), 3)
        0.2
    """

    compute_seconds: float
    gradient_bytes: float
    bytes_per_second: float
    overlap: float = 0.8
    latency_seconds: float = 20e-6

    def communication_seconds(self, links):
        """Seconds that the all-reduce over a ring of so many members takes by itself."""
        if links == 1:
            return 0.0
        byte_seconds = 2 * (links - 1) / links * self.gradient_bytes / self.bytes_per_second
        return byte_seconds + 2 * (links - 1) * self.latency_seconds

    def step_seconds(self, links):
        """Seconds of a step over a ring of so many members."""
        hidden = self.overlap * self.compute_seconds * 2 / 3
        return self.compute_seconds + max(self.communication_seconds(links) - hidden, 0.0)

    def efficiency(self, links):
        """Images a second over so many times those of one member, in [0, 1]."""
        return self.compute_seconds / self.step_seconds(links)
