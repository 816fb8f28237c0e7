"""`gpu.json`: how its numbers were measured, and whether a further call may add to them."""

import datetime
import json

SAME = ("tiny", "cudnn_benchmark", "photos_dir", "versions", "hardware")


def opened(path, settings, environment):
    """The document that a call goes on with, or a new one, with this call entered.

    Args:
        path: `Path` of `gpu.json`, which may exist.
        settings: dict, the flags that change what is measured.
        environment: dict with `command`, `versions` and `hardware`.

    Raises:
        ValueError: the numbers that are there were measured in another way or on another machine.

    Returns:
        dict: what is in `SAME`; `calls`, a date (UTC) and a command each; `parts`.
    """
    everything = {**environment, **settings}
    mine = json.loads(json.dumps({name: everything[name] for name in SAME}))
    document = {**mine, "calls": [], "parts": {}}
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        unstated = [name for name in SAME if name not in document]
        if unstated:
            raise ValueError(
                f"{path} does not say how it was measured: {', '.join(unstated)} are missing. Name "
                "another --out, or move this file away; nothing in it was changed."
            )
        there, here = _flat({name: document[name] for name in SAME}), _flat(mine)
        others = [
            f"{name} {there.get(name, 'not stated')} there, {here.get(name, 'not stated')} now"
            for name in dict.fromkeys([*here, *there])
            if there.get(name) != here.get(name)
        ]
        if others:
            raise ValueError(
                f"{path} holds what was measured otherwise: {'; '.join(others)}. Name another "
                "--out, or move this file away; nothing in it was changed."
            )
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    document["calls"].append({"date": date, "command": environment["command"]})
    return document


def environment():
    """Command, versions and hardware of this process, as `opened` takes them."""
    import keras_dawn  # not before: gpu.py says first where it is
    from keras_dawn.dawnbench import records

    found = records.environment()
    found["versions"]["keras_dawn"] = keras_dawn.__version__  # it need not be installed
    return found


def _flat(values):
    """`{"versions": {"keras": 3}}` as `{"versions, keras": 3}`."""
    flat = {}
    for name, value in values.items():
        inner = _flat(value) if isinstance(value, dict) else {None: value}
        flat |= {name if key is None else f"{name}, {key}": one for key, one in inner.items()}
    return flat
