"""What all ranks do with a step that each alone could record, replay or take as it is."""

import itertools
import zlib

from keras_dawn.distributed.collectives import least_over_ranks

NO_MORE, ORDINARY, CAPTURE, REPLAY = range(4)

_numbers = itertools.count()  # of captures in this process, which all ranks make together


class CaptureAgreement:
    """Makes the ranks record and replay CUDA graphs together, or none of them.

    NCCL asks for that ("Using NCCL with CUDA Graphs" in its user guide): a collective is captured
    on all ranks or on none, and the launch of a graph is one for all ranks of that capture. But a
    rank may see a batch of another shape, have other callbacks, or lack memory for a graph. So
    each step begins with one message between the hosts (`next_step`), also of a rank that makes
    no graphs any more, and each capture ends with one (`all_could`): every rank sends as many as
    the others, whatever becomes of them.

    Args:
        together: bool, whether there are other ranks whose sums are in the graphs; nothing is
            sent otherwise.
    """

    def __init__(self, together):
        self.together = together

    def next_step(self, may, kinds=(), number=-1):
        """What all ranks do now.

        Args:
            may: the most that this rank could do: `NO_MORE` graphs are made, an `ORDINARY` step,
                `CAPTURE`, or `REPLAY` of the graph that it has.
            kinds: what the step's tensors are like, whose `repr` is equal for equal ones.
            number: int, which capture this rank's graph is of, or -1.

        Returns:
            `(what to do, whether the kinds are alike on all ranks)`. A graph that others do not
            have, or have of another capture, is captured again by all.
        """
        if not self.together:
            return may, True
        check = zlib.crc32(repr(kinds).encode("utf-8"))
        least, low, minus_high, first, minus_last = least_over_ranks(
            [may, check, -check, number, -number]
        )
        alike = low == -minus_high
        if least > ORDINARY and not alike:
            return ORDINARY, alike
        if least == REPLAY and first != -minus_last:
            return CAPTURE, alike
        return least, alike

    def number(self):
        """The number of a capture that all ranks begin now."""
        return next(_numbers)

    def all_could(self, done):
        """Whether a capture that this rank has `done`, or not, was done by all."""
        return bool(least_over_ranks([int(done)])[0]) if self.together else done
