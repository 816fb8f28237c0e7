"""A whole training step as one CUDA graph, one for each kind of batch."""

import warnings

from keras_dawn.data.unmade import Unmade
from keras_dawn.foundation import keras_masks
from keras_dawn.native import cuda_graph
from keras_dawn.native.capture import GraphPool
from keras_dawn.native.steps.agreement import CAPTURE, NO_MORE, ORDINARY, REPLAY

import torch

MOST_SETTINGS = 16
UNUSED_STEPS = 50  # after which a graph makes room for another one
NOT_ELSEWHERE = "another rank makes none, and says why"


class WholeStep:
    """Takes training steps: a kind of batch that is seen often by replaying a CUDA graph.

    Forward and backward pass, loss, optimizer, moving averages, metrics and loss scaling are in
    the graph. The first steps with a kind of batch (its shapes and dtypes, and all settings that
    the Python of a step reads) are ordinary ones, and so are rare ones such as an epoch's last
    batch. What callbacks move from step to step, such as the momentum, the graph reads on the
    device. Several ranks record and replay in the same steps (`CaptureAgreement`).

    Args:
        of: `StepGraphs`, which takes ordinary steps, knows what they read and hands out what a
            step leaves to callbacks.
        device: torch device.
        agreement: `CaptureAgreement`.

    Attributes:
        made: int, how many graphs there have been.
        crowded: bool, whether a kind of batch runs eagerly because there are so many.
        uneven: bool, whether the last batch was another one on another rank, in shape or dtype.
        reason: str, why no graph is made any more, or `None`.
    """

    def __init__(self, of, device, agreement):
        self._of = of
        self._agreement = agreement
        self._pool = GraphPool(device)
        self._seen = {}
        self._graphs = {}
        self._all_settings = {}
        self._last_settings = self._number = None
        self._new_settings = 0  # in this `fit`
        self._unfit = self.made = self._steps = 0
        self._used = {}  # the step in which a graph was replayed last
        self._makes_batches = True  # those that come unmade
        self.crowded = self.uneven = False
        self.reason = None

    def __call__(self, batch):
        """One step.

        Args:
            batch: list of inputs, targets and weights, each a tensor on the device, a structure of
                such, or `None`; or `Unmade`, which the graph then makes, too.
        """
        if isinstance(batch, Unmade) and not self._makes_batches:
            batch = self._of.parts(batch.made())
        tensors = []
        try:
            structure = _take_apart(batch, tensors)
            key = self._key(tensors, structure)
        except TypeError:
            structure = key = None
        self._steps += 1
        what = self._agreed(key, isinstance(batch, Unmade))
        if what == NO_MORE and self.reason is None:
            self._give_up(NOT_ELSEWHERE)
        if what == NO_MORE or key is None:
            self._of.take(batch)
            return
        if what == ORDINARY:
            self._warm_up(key, tensors, batch)
            return
        if what == CAPTURE and not self._capture(key, tensors, structure, batch):
            self._of.take(batch)
            return
        replay, static, left, *_ = self._graphs[key]
        for own, given in zip(static, tensors, strict=True):
            own.copy_(given, non_blocking=True)
        replay()
        self._used[key] = self._steps
        if left:  # whoever gets it may keep it
            copies = [torch.empty_like(tensor) for tensor in left]
            torch._foreach_copy_(copies, left)
            self._of.hand_out(copies)

    def _agreed(self, key, unmade):
        """What is done with a kind of batch, here and on all other ranks."""
        number = -1
        if self.reason is not None:
            may = NO_MORE
        elif key in self._graphs:
            may, number = REPLAY, self._graphs[key][-1]
        else:
            may = CAPTURE if self._may_capture(key) else ORDINARY
        kinds = key and (key[0], unmade)  # settings and structures may name this rank's objects
        what, alike = self._agreement.next_step(may, kinds, number)
        self.uneven = not alike
        return what

    def _warm_up(self, key, tensors, batch):
        """An ordinary step, and whether a graph may do the same."""
        before = [tensor._version for tensor in tensors]
        reason = self._of.take(batch)
        # The step has written to the batch itself; a replay would write to the graph's copies.
        if before != [tensor._version for tensor in tensors]:
            reason = "sample weights that a mask is multiplied into"
        self._seen[key] = self._seen.get(key, 0) + 1 if reason is None else 0
        if reason is not None and not self._graphs:
            self._unfit += 1  # a metric's first batch may be, or an epoch's last
            if self._unfit > 2 * cuda_graph.WARM_UP_STEPS:
                self._give_up(reason)

    def _key(self, tensors, structure):
        settings = self._of.settings()
        if settings != self._last_settings:
            self._last_settings, self._number = settings, self._number_of(settings)
        kinds = tuple((tensor.shape, tensor.dtype, tensor.stride()) for tensor in tensors)
        return kinds, structure, self._number

    def _number_of(self, settings):
        """Which of all the settings that there have been these are."""
        if settings not in self._all_settings:
            self._all_settings[settings] = len(self._all_settings)
            self._new_settings += 1
            if self._new_settings > MOST_SETTINGS:
                self._give_up("settings that callbacks change in every step")
        return self._all_settings[settings]

    def _may_capture(self, key):
        if self._seen.get(key, 0) < cuda_graph.WARM_UP_STEPS:
            return False
        self.crowded = not self._has_room()
        return not self.crowded

    def _has_room(self):
        """Whether one more graph may be made, maybe in place of one that is not needed now."""
        if len(self._graphs) >= cuda_graph.MOST_GRAPHS > 0:
            oldest = min(self._graphs, key=self._used.get)
            # Sizes of an earlier epoch; among sizes that take turns none is better than another.
            if self._steps - self._used[oldest] > UNUSED_STEPS:
                del self._graphs[oldest]
        return len(self._graphs) < cuda_graph.MOST_GRAPHS

    def _capture(self, key, tensors, structure, batch):
        """Makes the graph for a kind of batch; whether that could be done on all ranks."""
        self._drop(key)  # a graph that another rank does not have
        number, static, left = self._agreement.number(), [], []
        replay = failure = None

        def work():
            if isinstance(batch, Unmade):
                reason = self._of.record(batch, static)
            else:
                reason = self._of.take(_put_together(structure, iter(static)))
            if reason is not None:
                raise RuntimeError(reason)
            left.extend(self._of.kept())

        try:
            static += [tensor.detach().clone() for tensor in tensors]
            replay = self._pool.capture(work)
        except Exception as error:  # whatever it is: an ordinary step raises it, too, if it must
            failure = str(error) or type(error).__name__
        if self._agreement.all_could(failure is None):
            held = batch if isinstance(batch, Unmade) else None  # and what is read of its data
            self._graphs[key] = replay, static, left, held, number
            self._used[key] = self._steps
            self.made += 1
            return True
        replay = None
        self._drop(key)
        reason = NOT_ELSEWHERE if failure is None else failure
        if isinstance(batch, Unmade) and self._makes_batches:  # then the step without them
            self._makes_batches = False
            what = f"The transforms of the data are no part of a CUDA graph ({reason}); they"
        else:
            self._give_up(reason)
            what = f"No CUDA graph could be made ({reason}); the steps"
        warnings.warn(f"{what} run eagerly, with the same results.", stacklevel=2)
        return False

    def _drop(self, key):
        self._graphs.pop(key, None)
        if not self._graphs:  # torch captures no more into a pool that no graph holds
            self._pool.release()

    def _give_up(self, reason):
        self.reason = reason
        self.release()

    def release(self):
        """Drops the graphs and their memory; the next steps of a known kind make new ones."""
        self._graphs.clear()
        self._new_settings = 0
        self._pool.release()


def _take_apart(part, tensors):
    """The structure of a batch, whose tensors are put into a list."""
    if part is None:
        return None
    if isinstance(part, Unmade):
        tensors += part.tensors
        return part.kind
    if isinstance(part, torch.Tensor):
        if part.requires_grad or keras_masks.mask_of(part) is not None:
            raise TypeError("a tensor with more than values")
        tensors.append(part)
        return ""
    if type(part) in (list, tuple):
        return type(part), tuple(_take_apart(item, tensors) for item in part)
    if type(part) is dict:
        return dict, tuple((key, _take_apart(item, tensors)) for key, item in part.items())
    raise TypeError(f"{type(part).__name__} in a batch")


def _put_together(structure, tensors):
    if structure is None:
        return None
    if structure == "":
        return next(tensors)
    kind, parts = structure
    if kind is dict:
        return {key: _put_together(part, tensors) for key, part in parts}
    return kind(_put_together(part, tensors) for part in parts)
