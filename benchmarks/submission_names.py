"""What each series of a submission is called, by the command and the settings of its runs."""

import re

DEFAULT_PRESET = "cpu"  # of `record.py`
# Precisions by the ways in which people write them.
_PRECISIONS = {
    "bfloat16": r"bfloat16|bf16",
    "float16": r"(?<!b)float16|fp16|\bf16",
    "float32": r"float32|fp32|\bf32",
}
# A preset that is called so, whether as a flag or in words; "cpu" and "gpu" alone are also devices.
_PRESET = r"preset\W{1,3}(cpu\w*|gpu\w*|smoke)\b|\b(cpu_\w+|gpu_\w+)"


def told_names(document):
    """What each series of a results file is, by its command and settings: a dict."""
    precision = document["settings"]["precision"]
    found = {}
    for series in (name for name, runs in document["runs"].items() if runs):
        if series == "keras_dawn":
            preset = preset_of(document)
            flag = f" --preset={preset}" if preset else ""
            found[series] = f"`cifar10_record.py{flag}`, {_short(precision)}"
        else:
            loop, _, other = series.partition(", plain torch")
            own = other.removeprefix(", ") or precision
            found[series] = f"{loop} as a plain torch loop, {_short(own)}"
    return found


def preset_of(document):
    """The preset of our runs, or `None` where a `--flagfile` may have it and the file does not."""
    named = [document["preset"]] if "preset" in document else given(document, "preset")
    if not named and given(document, "flagfile"):
        return None
    return [DEFAULT_PRESET, *named][-1]


def faults_of_command(whose, command, document):
    """Flags of a command that are not those of a results file's settings and plan, as sentences."""
    (plan, *_) = document.get("planned") or [{}]
    expected = {
        "preset": preset_of(document),
        "precision": document["settings"]["precision"],
        "seed": plan.get("first_seed"),
        "runs": plan.get("runs"),
    }
    for flag, value in expected.items():
        for told in given({"command": command}, flag)[-1:]:
            if value is not None and told != str(value) and (flag, told) != ("precision", "auto"):
                yield f"{whose}: --{flag} of its command must be {value}, got {told:.100}"


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
    found |= {one or other for one, other in re.findall(_PRESET, text)}
    found |= {name for name, ways in _PRECISIONS.items() if re.search(ways, text)}
    if "airbench94" in text:
        found.add("airbench94_muon" if "muon" in text else "airbench94")
    if "hiverge" in text:
        found.add("hiverge")
    return found


def _short(precision):
    return precision.removeprefix("mixed_")
