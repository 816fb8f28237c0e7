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
OVERHEAD = 10e-6  # seconds that a function of autograd in Python takes longer, a stage
GROWING = ("batch", "pixels", "channels", "filters")
OPEN_ABOVE = ("batch", "channels", "filters")
OPEN_BELOW = ("pixels",)


def rules(results):
    """The rules, as dicts, of a list of results as `convolutions.py` writes them.

    They hold for up to twice as many threads as were measured.
    """
    found = []
    threads = [None, 2 * max(result["threads"] for result in results)]
    for precision in sorted({result["precision"] for result in results}):
        for stage in STAGES:
            points = [
                (_kind(sizes), features_of(sizes), result["seconds"][stage])
                for sizes, result in ((sizes_of(result), result) for result in results)
                if result["precision"] == precision
            ]
            for kind in sorted({kind for kind, _, _ in points}):
                some = [point[1:] for point in points if point[0] == kind]
                kernel, stride, _ = kind
                kind = {"kernel": [kernel, kernel], "stride": [stride, stride]}
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
    """What has rules of its own; no way is one for both dense and depthwise convolutions."""
    features = features_of(sizes)
    return features["kernel"], features["stride"], sizes.is_depthwise


def sizes_of(result):
    """The `Sizes` of a result that JSON has made lists of."""
    return Sizes(*(tuple(part) if isinstance(part, list) else part for part in result["sizes"]))


class _Shapes:
    """Shapes of one kind, with the time of every way over torch's own."""

    def __init__(self, points):
        self.values = {n: np.array([features[n] for features, _ in points]) for n in GROWING}
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
            grown = [
                self._grown(name, seed)
                for name, ratios in self.ratios.items()
                for seed in np.flatnonzero(self.left & (ratios < FAST) & (ratios == self.best))
            ]
            saving, way, box = max(grown, key=lambda one: one[0], default=(0, None, None))
            if saving < LEAST_SAVING:
                return
            inside = self._inside(box)
            work = float(self.work[inside & self.left].max())
            bounds = {name: self._opened(name, *box[name]) for name in GROWING}
            yield way, {**bounds, "work": [None, float(np.ceil(work))]}
            self.left &= ~inside

    def _grown(self, way, seed):
        """`(saving, way, box)` of the box that grows from a shape as long as it saves more."""
        box = {name: (values[seed], values[seed]) for name, values in self.values.items()}
        saving = self._saving(way, box)
        while True:
            candidates = np.flatnonzero(self.left & ~self._inside(box) & (self.ratios[way] < 1))
            wider = [self._stretched(box, point) for point in candidates]
            found = [(self._saving(way, one), number) for number, one in enumerate(wider)]
            best, number = max(found, default=(0, None))
            if best <= saving:
                return saving, way, box
            saving, box = best, wider[number]

    def _stretched(self, box, point):
        """The box, as much larger as it has to be to hold a shape."""
        return {
            name: (min(low, self.values[name][point]), max(high, self.values[name][point]))
            for name, (low, high) in box.items()
        }

    def _inside(self, box):
        inside = np.ones(len(self.left), bool)
        for name, (low, high) in box.items():
            inside &= (self.values[name] >= low) & (self.values[name] <= high)
        return inside

    def _saving(self, way, box):
        """What a way saves in a box; less where another one is faster, nothing if it is slow."""
        inside = self._inside(box) & self.left
        ratios = self.ratios[way][inside]
        if (ratios > SLOWEST).any():
            return -1.0
        return float((1 - ratios - 0.5 * (ratios - self.best[inside])).sum())

    def _opened(self, name, low, high):
        """Bounds for a rule: open towards where a way only gets better."""
        ends = self.values[name].min(), self.values[name].max()
        least = None if name in OPEN_BELOW and low == ends[0] else int(low)
        most = None if name in OPEN_ABOVE and high == ends[1] else int(high)
        return [least, most]
