"""The published records as plain torch loops, by name: the peers of our record."""

import airbench
import airbench_muon
import hiverge

# Each module has `train`, its settings and its network.
LOOPS = {
    "airbench94": (airbench, airbench.Net),
    "airbench94_muon": (airbench_muon, airbench_muon.MuonNet),
    "hiverge": (hiverge, hiverge.HiveNet),
}
