"""Masked steps for kernels that know no masks: the others are moved to the front.

A masked step changes no state, so a sequence without its masked steps passes through the same
states. What comes after its end is computed, too, and looked at by nobody.
"""

import torch


class Steps:
    """The steps of a batch of sequences that are not masked.

    Args:
        mask: `(batch, time)` of bool.

    Attributes:
        counts: `(batch, time)`, how many steps count up to each one, itself included.
    """

    def __init__(self, mask):
        self.mask = mask
        self.counts = mask.cumsum(1)
        self._ordered, self._longest = False, mask.shape[1]
        if not mask.is_cuda:  # there it would be a wait
            self._longest = max(1, int(self.counts[:, -1].max()))
            self._ordered = bool((mask[:, 1:] <= mask[:, :-1]).all())

    def first(self, x):
        """The sequences `(batch, time, features)` with these steps first, in their order."""
        if self._ordered:
            return x[:, : self._longest]
        order = (~self.mask).to(torch.uint8).argsort(dim=1, stable=True)[:, : self._longest]
        return x.gather(1, order.unsqueeze(2).expand(-1, -1, x.shape[2]))

    def after(self):
        """Which steps of `first` come after a sequence's end: `(batch, time)`."""
        numbers = torch.arange(self._longest, device=self.mask.device)
        return numbers >= self.counts[:, -1:]

    def last(self, outputs, initial=None):
        """The outputs of each sequence's last step; `initial`, or 0, where there is none."""
        counts = self.counts[:, -1:]
        return self._at(outputs, counts, None if initial is None else initial.unsqueeze(1)).squeeze(
            1
        )

    def spread(self, outputs, zero_masked):
        """Outputs of `first` put back: a masked step has those of the step before, or 0."""
        if not zero_masked:
            return self._at(outputs, self.counts)
        if self._ordered:
            missing = self.mask.shape[1] - outputs.shape[1]
            outputs = torch.nn.functional.pad(outputs, (0, 0, 0, missing))
        else:
            outputs = self._at(outputs, self.counts)
        return outputs.masked_fill(~self.mask.unsqueeze(2), 0.0)

    def _at(self, outputs, counts, other=None):
        index = (counts - 1).clamp(min=0).unsqueeze(2).expand(-1, -1, outputs.shape[2])
        found, some = outputs.gather(1, index), (counts > 0).unsqueeze(2)
        return torch.where(some, found, torch.zeros_like(found) if other is None else other)
