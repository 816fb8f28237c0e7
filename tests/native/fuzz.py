"""Compares accelerated models with plain Keras on programs drawn from seeds.

python tests/native/fuzz.py --seed=123              one program, printed
python tests/native/fuzz.py --start=0 --count=1000  many; failing ones are printed
"""

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras_dawn  # noqa: F401  (chooses the backend before anything imports Keras)

import torch

from tests.native.fuzzing.cases import check
from tests.native.fuzzing.shrink import shrunk


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="a single program, printed in any case")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--shrink", type=float, default=20.0, help="seconds for each failure")
    parser.add_argument("--skip", help="regular expression of known faults to leave out")
    parser.add_argument("--precision", help="instead of the drawn one, such as float64")
    parser.add_argument("--quiet", action="store_true", help="only the summary and one line each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.start, arguments.start + arguments.count)
    if arguments.seed is not None:
        seeds = [arguments.seed]
    kinds, native, unstable, count = Counter(), 0, 0, 0
    failed, began = [], time.time()
    for seed in seeds:
        try:
            case = check(seed, arguments.precision, arguments.skip)
        except Exception:
            print(f"\nseed {seed}: the fuzzer itself failed\n{traceback.format_exc()}", flush=True)
            failed.append(seed)
            continue
        if case is None:
            continue
        count += 1
        native += case.native
        unstable += case.unstable
        if case.found:
            failed.append(seed)
            kinds[case.found[0].kind()] += 1
            if arguments.quiet:
                difference = case.found[0]
                print(f"{seed} {difference.what}: {difference.message}"[:300], flush=True)
            else:
                print(f"\n{shrunk(case, arguments.shrink)}", flush=True)
        elif arguments.seed is not None:
            print(f"{case}\n# the same", flush=True)
    seconds, share = time.time() - began, native / max(count, 1)
    print(f"\n{count} programs in {seconds:.0f} s: {len(failed)} differ")
    print(f"{share:.0%} stepped natively; {unstable} say nothing: plain Keras is as unstable")
    for kind, times in kinds.most_common():
        print(f"{times:5} {kind}")
    print("failing seeds:", *failed)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
