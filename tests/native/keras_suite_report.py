"""Compares the outcomes of Keras's tests, plain and accelerated."""

import math
import re
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """What two runs of the same tests say about each other; `str()` of it is a report.

    Args:
        plain, accelerated: outcomes by test id, as `keras_suite.run` returns them.
        allowed: reason by id of a test that cannot pass accelerated.
    """

    plain: dict
    accelerated: dict
    allowed: dict

    def compiled(self):
        """Ids of the tests that passed plain and compiled a model."""
        return [i for i, o in self.plain.items() if o["outcome"] == "passed" and o["compiled"]]

    def broken(self):
        """`{id: error}` of those that pass plain and fail accelerated, but for the allowed."""
        return {
            test: self.accelerated[test]["error"] or self.accelerated[test]["outcome"]
            for test in self.compiled()
            if test in self.accelerated
            and self.accelerated[test]["outcome"] != "passed"
            and test not in self.allowed
        }

    def missing(self):
        """Ids of the tests that should have run accelerated and did not."""
        return [test for test in self.compiled() if test not in self.accelerated]

    def fits(self):
        """`{id: [(native, reason), …]}` of the tests that called `fit`, for those that returned.

        A `fit` that raised, as some tests want it to, does not count.
        """
        found = {}
        for test, outcome in self.accelerated.items():
            calls = [call for call in outcome["calls"] if call[0] == "fit" and not call[3]]
            if calls:
                found[test] = [(native, reason) for _, native, reason, _, _ in calls]
        return found

    def native(self):
        """Ids of the tests of which every `fit` that returned stepped natively."""
        return [test for test, calls in self.fits().items() if all(native for native, _ in calls)]

    def different(self, tolerance=1e-4):
        """`{id: (method, plain, accelerated)}`: the first call whose numbers differ.

        Compared are the sums of what a method returned and of the weights after training.
        Tests that are not deterministic in themselves appear here too; this is a hint.
        """
        found = {}
        for test in self.compiled():
            pairs = zip(
                self.plain[test]["calls"], self.accelerated.get(test, {}).get("calls", ()),
                strict=False,
            )  # fmt: skip
            for (name, *_, before), (other, *_, after) in pairs:
                if name != other or not _close(before, after, tolerance):
                    found[test] = (name, before, after)
                    break
        return found

    def __str__(self):
        compiled, broken, fits = self.compiled(), self.broken(), self.fits()
        some = [test for test, calls in fits.items() if any(native for native, _ in calls)]
        reasons = Counter(
            reason
            for calls in fits.values()
            for reason in {_nameless(reason) for native, reason in calls if not native}
        )
        outcomes = Counter(o["outcome"] for o in self.plain.values())
        passed = sum(o["outcome"] == "passed" for o in self.accelerated.values())
        seconds = [
            sum(o["seconds"] for o in run.values()) for run in (self.plain, self.accelerated)
        ]
        lines = [
            f"plain: {dict(outcomes)}, {seconds[0]:.0f} s",
            f"accelerated, of the {len(compiled)} that passed and compiled a model: {passed} "
            f"passed, {seconds[1]:.0f} s",
            f"tests with a fit that returned: {len(fits)}; every one native: "
            f"{len(self.native())}, at least one: {len(some)}",
            "why the others did not (tests):",
            *(f"  {count:4}  {reason}" for reason, count in reasons.most_common()),
            f"passed plain, failed accelerated: {len(broken)}",
            *(f"  {test}\n      {error}" for test, error in broken.items()),
            f"passed plain, did not run accelerated: {len(self.missing())}",
            *(f"  {test}" for test in self.missing()[:10]),
        ]
        different = {t: d for t, d in self.different().items() if t not in broken}
        lines.append(f"passed both times, with other numbers: {len(different)}")
        for test, (name, before, after) in different.items():
            lines.append(f"  {test}: {name} {_shorten(before)} → {_shorten(after)}")
        return "\n".join(lines)


def _nameless(reason):
    """A reason's first line without the name that it begins with, to be counted."""
    return re.sub(r"^\S+ (?=(is|has|makes|brings) )", "… ", reason.partition("\n")[0])


def _close(before, after, tolerance):
    if before is None or after is None or len(before) != len(after):
        return before is after
    return all(
        (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-5)
        for a, b in zip(before, after, strict=True)
    )


def _shorten(numbers):
    if numbers is None:
        return "nothing comparable"
    return "[" + ", ".join(f"{n:.6g}" for n in numbers[:6]) + (", …]" if len(numbers) > 6 else "]")
