"""The published records as plain torch loops, by name: the peers of our record.

Another loop is added here and nowhere else: a module beside this one and a line of `LOOPS`. Then
`record.py` and `record_rates.py` take its name for `--peer`.
"""

import dataclasses
from collections.abc import Callable

import airbench
import airbench_muon
import hiverge


@dataclasses.dataclass(frozen=True)
class Loop:
    """A training on CIFAR-10, written by hand.

    Args:
        train: callable of `airbench.train`'s arguments and result: one whole run.
        make_net: callable to its network, a `Sequential` whose first layer is the whitened stem.
        make_optimizers: callable from the network, the dtype policy and the number of steps of a
            training to a list of torch optimizers.
        batch_size: int.
        epochs, bias_epochs: numbers, all of a training and those that train the stem's bias.
    """

    train: Callable
    make_net: Callable
    make_optimizers: Callable
    batch_size: int
    epochs: float
    bias_epochs: float


LOOPS = {
    "airbench94": Loop(
        airbench.train,
        airbench.Net,
        lambda net, policy, steps: [airbench.optimizer_and_schedule(net, steps)[0]],
        airbench.BATCH,
        airbench.EPOCHS,
        airbench.WHITENING_BIAS_EPOCHS,
    ),
    "airbench94_muon": Loop(
        airbench_muon.train,
        airbench_muon.MuonNet,
        lambda net, policy, steps: airbench_muon.optimizers(net, policy),
        airbench_muon.BATCH,
        airbench_muon.EPOCHS,
        airbench_muon.WHITENING_BIAS_EPOCHS,
    ),
    "hiverge": Loop(
        hiverge.train,
        hiverge.HiveNet,
        hiverge.optimizers,
        hiverge.BATCH,
        hiverge.EPOCHS,
        hiverge.WHITENING_BIAS_EPOCHS,
    ),
}
