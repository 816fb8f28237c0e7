"""Counts what a piece of code asks of the device, operation by operation."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = frozenset(
    {
        "view", "permute", "transpose", "t", "expand", "unsqueeze", "squeeze", "detach", "slice",
        "select", "alias", "as_strided", "_unsafe_view", "unbind", "split", "_reshape_alias",
    }
)  # fmt: skip


class OperationCounter(TorchDispatchMode):
    """Counts the operations of torch that run while it is active.

    Attributes:
        counts: `Counter` from names, such as `"convolution"`, to how often they ran.

    Example:
        >>> with OperationCounter() as counter:
        ...     total = torch.ones(3).add(1).t().sum()
        >>> counter.work()["add"], counter.work()["t"], counter.counts["t"]
        (1, 0, 1)
    """

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.overloadpacket._qualified_op_name.split("::")[1]] += 1
        return function(*args, **(kwargs or {}))

    def work(self):
        """The counts without views of memory, which cost the device nothing."""
        return Counter({name: n for name, n in self.counts.items() if name not in VIEWS})
