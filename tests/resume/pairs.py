"""Cases in which every two values of two factors meet often enough, drawn from a seed."""

import itertools
import random
from collections import Counter


def met(cases):
    """How often two values of two factors meet: a `Counter` of `(factor, value, factor, value)`."""
    return Counter(
        (a, one[a], b, one[b])
        for one in cases
        for a, b in itertools.combinations(range(len(one)), 2)
    )


def cover(factors, times, seed, begun=(), tries=60):
    """Tuples of one value a factor, so that each pair of values is met at least so many times.

    Args:
        factors: list of lists of values.
        times: int.
        seed: int.
        begun: list of tuples that there are already.
        tries: int, how many random tuples each one is the best of.
    """
    draw = random.Random(seed)
    cases = list(begun)
    found = met(cases)
    wanted = {
        (a, one, b, other): times
        for (a, first), (b, second) in itertools.combinations(enumerate(factors), 2)
        for one in first
        for other in second
    }

    def missing():
        return [pair for pair, count in wanted.items() if found[pair] < count]

    while left := missing():
        best, most = None, -1
        for _ in range(tries):
            a, one, b, other = draw.choice(left)
            case = [draw.choice(values) for values in factors]
            case[a], case[b] = one, other
            gain = sum(found[pair] < wanted[pair] for pair in met([case]))
            if gain > most:
                best, most = tuple(case), gain
        cases.append(best)
        found += met([best])
    return cases
