"""What each series of a submission is called, by the command and the settings of its runs."""

import re

DEFAULT_PRESET = "cpu"  # of `record.py`
_PRECISIONS = ("bfloat16", "float16", "float32")


def told_names(document):
    """What each series of a results file is, by its command and settings: a dict."""
    precision = document["settings"]["precision"]
    found = {}
    for series in (name for name, runs in document["runs"].items() if runs):
        if series == "keras_dawn":
            preset = [DEFAULT_PRESET, *given(document, "preset")][-1]
            found[series] = f"`cifar10_record.py --preset={preset}`, {_short(precision)}"
        else:
            loop, _, other = series.partition(", plain torch")
            own = other.removeprefix(", ") or precision
            found[series] = f"{loop} as a plain torch loop, {_short(own)}"
    return found


def faults_of_names(names, document):
    """Another preset, loop or precision in a series' name than its runs have, as sentences."""
    for series, told in told_names(document).items():
        other = _claims(names[series]) - _claims(told)
        if other:
            yield (
                f'"{names[series]}" says {", ".join(sorted(other))} of "{series}", which is '
                f'"{told}" by command and settings'
            )


def given(document, flag):
    """The values that a command has for a flag, as `--flag=value` or `--flag value`."""
    command, found = document["command"], []
    for place, argument in enumerate(command):
        match = re.fullmatch(rf"--?{flag}(?:=(.*))?", argument, re.DOTALL)
        if match and match[1] is not None:
            found.append(match[1])
        elif match:
            found += command[place + 1 : place + 2]
    return found


def _claims(name):
    """The presets, loops and precisions that a name speaks of: a set."""
    text = name.lower()
    found = set(re.findall(r"--?preset[= ](\w+)", text))
    for precision in _PRECISIONS:
        if re.search(rf"(?<![a-z]){precision}", text):
            found.add(precision)
    if "airbench94" in text:
        found.add("airbench94_muon" if "muon" in text else "airbench94")
    if "hiverge" in text:
        found.add("hiverge")
    return found


def _short(precision):
    return precision.removeprefix("mixed_")
