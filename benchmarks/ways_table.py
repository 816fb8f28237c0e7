"""Rules for the ways of convolutions, drawn from the times that `convolutions.py` has measured.

A rule is a box of sizes in which one way was never slower than torch's own at any shape that was
measured. Boxes grow from single shapes; the one that saves most is taken, and the shapes in it are
left out for the next one. Where nothing was measured no rule holds, but for larger batches and more
channels: the ratio of two ways hardly changes there any more. The work of a stage is bound by the
most that was measured under the rule, so that no corner of a box is a guess.
"""

from keras_dawn.convolutions.choice import features_of
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.way import STAGES
from keras_dawn.convolutions.ways import TORCH

import numpy as np

SLOWEST = 1.0  # of torch's own time, for every shape under a rule
FAST = 0.9  # of torch's own time: shapes that a rule may grow from
LEAST_SAVING = 0.5  # of torch's own time, summed over the shapes under a rule
MOST_SEEDS = 16  # shapes of a way that boxes grow from
OVERHEAD = 10e-6  # seconds that a function of autograd in Python takes longer, a stage
GROWING = ("batch", "pixels", "channels", "filters")
OPEN_ABOVE = ("batch", "channels", "filters")
OPEN_BELOW = ("pixels",)


def rules(results):
    """The rules, as dicts, of a list of results as `convolutions.py` writes them.

    They hold for up to twice as many threads as were measured.
    """
    found = []
    threads = [None, 2 * max((result["threads"] for result in results), default=1)]
    for precision in sorted({result["precision"] for result in results}):
        for stage in STAGES:
            points = [
                (_kind(sizes), features_of(sizes), result["seconds"][stage])
                for sizes, result in ((sizes_of(result), result) for result in results)
                if result["precision"] == precision
            ]
            for kind in sorted({kind for kind, _, _ in points}):
                some = [point[1:] for point in points if point[0] == kind]
                kernel, stride, axes, group = kind
                kind = {"kernel": [kernel, kernel], "stride": [stride, stride]}
                if (kernel, stride) != (1, 1):  # a product of all pixels is one, however they lie
                    kind["axes"] = [axes, axes]
                if group > 1:  # ways for depthwise convolutions take no others
                    kind["group"] = [group, group]
                found += [
                    {
                        "stage": stage,
                        "precision": precision,
                        "way": way,
                        "bounds": {**kind, **box, "threads": threads},
                    }
                    for way, box in _Shapes(some).boxes()
                ]
    return found


def _kind(sizes):
    """What has rules of its own; no way is one for dense, grouped and depthwise convolutions."""
    features = features_of(sizes)
    group = features["group"] if sizes.groups > 1 else 0
    return features["kernel"], features["stride"], features["axes"], group


def sizes_of(result):
    """The `Sizes` of a result that JSON has made lists of."""
    return Sizes(*(tuple(part) if isinstance(part, list) else part for part in result["sizes"]))


class _Shapes:
    """Shapes of one kind, with the time of every way over torch's own."""

    def __init__(self, points):
        self.places = np.array([[features[n] for n in GROWING] for features, _ in points])
        self.work = np.array([features["work"] for features, _ in points])
        names = sorted({name for _, seconds in points for name in seconds} - {TORCH})
        self.ratios = {
            name: np.array([(s.get(name, np.inf) + OVERHEAD) / s[TORCH] for _, s in points])
            for name in names
        }
        self.best = np.min([*self.ratios.values()], axis=0)
        self.left = np.ones(len(points), bool)

    def boxes(self):
        """`(way, bounds)` until no box saves enough."""
        while True:
            grown = [self._grown(name, seed) for name in self.ratios for seed in self._seeds(name)]
            saving, way, box = max(grown, key=lambda one: one[0], default=(0, None, None))
            if saving < LEAST_SAVING:
                return
            inside = self._inside(*box)
            work = float(self.work[inside & self.left].max())
            bounds = {n: self._opened(n, *ends) for n, ends in zip(GROWING, box.T, strict=True)}
            yield way, {**bounds, "work": [None, float(np.ceil(work))]}
            self.left &= ~inside

    def _seeds(self, way):
        """Shapes where a way is the fastest: all, or so many that lie far from each other."""
        ratios = self.ratios[way]
        found = np.flatnonzero(self.left & (ratios < FAST) & (ratios == self.best))
        return found[:: -(-len(found) // MOST_SEEDS) or 1]

    def _grown(self, way, seed):
        """`(saving, way, box)` of the box that grows from a shape as long as it saves more."""
        box = np.stack([self.places[seed], self.places[seed]])
        saving = self._savings(way, box[:, None])[0]
        while True:
            candidates = self.left & ~self._inside(*box) & (self.ratios[way] < 1)
            points = self.places[candidates]
            # The box, as much larger as it has to be to hold each of the shapes.
            wider = np.stack([np.minimum(box[0], points), np.maximum(box[1], points)])
            savings = self._savings(way, wider)
            if not (savings > saving).any():
                return saving, way, box
            best = savings.argmax()
            saving, box = savings[best], wider[:, best]

    def _inside(self, low, high):
        return ((self.places >= low) & (self.places <= high)).all(-1)

    def _savings(self, way, boxes):
        """What a way saves in each of some boxes, `(2, boxes, features)`.

        It is less where another way is faster, and nothing where the way is slow.
        """
        low, high = boxes[:, :, None]
        inside = self.left & self._inside(low, high)
        slow = self.ratios[way] > SLOWEST  # infinite where it was not measured
        ratios = np.where(slow, SLOWEST, self.ratios[way])
        # By how much the fastest way is faster counts as much as what is saved: it is to have
        # its own rule, not to be in that of another one.
        each = 1 - ratios - (ratios / np.minimum(self.best, SLOWEST) - 1)
        return np.where((inside & slow).any(-1), -1.0, inside @ each)

    def _opened(self, name, low, high):
        """Bounds for a rule: open towards where a way only gets better."""
        values = self.places[:, GROWING.index(name)]
        ends = values.min(), values.max()
        least = None if name in OPEN_BELOW and low == ends[0] else int(low)
        most = None if name in OPEN_ABOVE and high == ends[1] else int(high)
        return [least, most]
