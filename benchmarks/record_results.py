"""The results file of `record.py`: what all its runs have in common, and whether one goes on."""

import datetime
import json
import subprocess
from pathlib import Path

from keras_dawn.dawnbench.records import RunFolder, environment
from keras_dawn.foundation.precision import onednn_limit, onednn_rounding

import torch
from submission_checks import is_commit

SAME = ("settings", "versions", "hardware")  # in all sittings of a results file
# The same, of files that say so: they came later.
SAME_WHERE_TOLD = ("instructions", "convolutions", "commit")
_INSTRUCTIONS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_f": "AVX-512",
    "avx2": "AVX2",
}


def describe(preset, first_seed, runs, peer_runs, commit_told=None):
    """What a results file says beside its runs.

    `planned` has how many runs were to be made, of ours and of each loop, and when that was said:
    before the first of them, unless there is more than one plan. `begun` is to have the moment at
    which each run began, by whose it is: those that are in it and not in `runs` were cut off.
    """
    plan = {"first_seed": first_seed, "runs": runs, "peer_runs": peer_runs, "at": now()}
    return {
        **environment(),
        "instructions": instructions(),
        "commit": commit() or commit_told,
        "settings": preset.settings(),
        "planned": [plan],
        "begun": {},
    }


def now():
    """This moment in UTC, as text."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def instructions():
    """The widest instructions of the processor that are used, such as `"AMX"`, with what limits it.

    Processors of one name may differ in these, and they decide how fast a precision is.
    """
    has, limit = torch.cpu.get_capabilities(), onednn_limit()
    widest = next((told for name, told in _INSTRUCTIONS.items() if has.get(name)), "other")
    capability = torch.backends.cpu.get_cpu_capability()
    limits = [f"oneDNN up to {limit}"] * (limit != "ALL")
    limits += [f"float32 rounded to {onednn_rounding()}"] * (onednn_rounding() is not None)
    limits += [f"torch up to {capability}"] * bool(has.get("avx512_f") and capability != "AVX512")
    return ", ".join([widest, *limits])


def commit():
    """The commit of this checkout, with `+` where files differ from it; `None` without git."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, encoding="utf-8",
            check=True,
        ).stdout.strip()  # fmt: skip

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None


def why_not_submitted(document):
    """Why no run of a results file can be submitted, known before the first; `None` where all may.

    Hours of runs would else be refused at their end.
    """
    if not is_commit(document.get("commit")):
        return (
            f"The commit is {document.get('commit')}, not one of a checkout without changes: these "
            "runs cannot be submitted."
        )
    return None


def earlier_runs(path, document):
    """The runs in the results file `path`, by whose they are; none if there is no such file.

    Plans of that file are put before those of `document`, its `begun` into that, and what that file
    does not tell is taken out of `document`, since it is not known of those runs.

    Raises:
        ValueError: no results file, or one of other settings, versions, hardware, instructions,
            table of convolutions or commit.
    """
    if not Path(path).exists():
        return {}
    try:
        earlier = json.loads(Path(path).read_text(encoding="utf-8"))
        runs, lacking = earlier["runs"], [name for name in SAME_WHERE_TOLD if name not in earlier]
        if not any(runs.values()):  # it was ended before the first
            document["begun"] = earlier.get("begun", {})
            return runs
        parts = [*SAME, *(name for name in SAME_WHERE_TOLD if name in earlier)]
        # as a file holds them: keys are strings, tuples are lists
        for part, mine in json.loads(json.dumps({part: document[part] for part in parts})).items():
            _check_same(path, part, earlier[part], mine)
        plans = earlier.get("planned", [])
        again = {**document["planned"][-1], "at": None} in [{**one, "at": None} for one in plans]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a results file of this benchmark: {error!r}.") from None
    for name in lacking:
        del document[name]
    if lacking:
        print(f"{path} does not tell the {', '.join(lacking)} of its runs: not compared.")
    if not plans:
        del document["planned"]
        print(f"{path} does not tell how many runs were planned: it cannot be submitted.")
    else:
        document["planned"] = plans if again else plans + document["planned"]
    if "begun" in earlier:
        document["begun"] = earlier["begun"]
    else:
        del document["begun"]
    return runs


def folder_of_all(path, earlier, begun):
    """The folder for a folder of each run: a new one, or that of the `earlier_runs`.

    Args:
        path: of the folder.
        earlier, begun: dicts of lists, the runs that were finished and that were begun before.

    Raises:
        FileExistsError: there are no earlier runs, but files.
    """
    goes_on = any(earlier.values()) or any(begun.values())
    return Path(path) if goes_on else RunFolder(path).path


def folder_of_run(path):
    """The `RunFolder` of a run; what one that was cut off has left there is moved aside."""
    if path.is_dir() and any(path.iterdir()):
        count = len(list(path.parent.glob(f"{path.name}_cut_off*")))
        path.rename(path.with_name(f"{path.name}_cut_off{count + 1}"))
    return RunFolder(path)


def _check_same(path, part, theirs, mine):
    if not isinstance(mine, dict):
        theirs, mine = {part: theirs}, {part: mine}
    differ = [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
    if differ:
        told = "; ".join(f"{n}: {theirs.get(n)}, here {mine.get(n)}" for n in differ)
        raise ValueError(
            f"{path} has results of other {part} ({told}); name another file with --json."
        )
