"""A run, or several beside each other, as one page that needs nothing else.

    python -m keras_dawn.plots.report RUN… --output=report.html

Every RUN is a run folder. The page has its pictures in it, asks no network for anything, and is
read on a phone too. Pictures that lie in a run folder, such as those of `plot_confusion` and
`plot_worst_losses` with `path=`, are shown with it; of `run.json` what was confused (`answers`) and
which files are odd (`problems` of its `data`) too.
"""

import html
from pathlib import Path

from keras_dawn.foundation.files import utf8, written_whole
from keras_dawn.plots.report_pictures import embedded, embedded_file, over_epochs, time_and_cost
from keras_dawn.plots.run_records import read_runs

MOST_BYTES = 2_000_000  # of a page
_LONGEST = 1000  # letters of a value
_MOST_LINES = 200  # of a table
_DRAWN = {"schedule.png", "loss.png", "time_to_accuracy.png"}  # from the records, again
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:0 1rem;color:#222;
background:#fff;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.2rem;border-bottom:1px solid #ddd;margin-top:2rem}
img{max-width:100%;height:auto;display:block}figure{margin:1rem 0}figcaption{color:#555}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.25rem .4rem;border-bottom:1px solid #eee;vertical-align:top}
td{min-width:4rem}th{min-width:4.75rem;font-size:.8rem}
details{margin:.5rem 0}summary{cursor:pointer;color:#0072b2}
"""


def report(runs, output):
    """Writes the page of some runs.

    Args:
        runs: paths of run folders.
        output: path of the file to write.

    Returns:
        `Path` of the page, below 2 MB.

    Raises:
        FileNotFoundError: a folder without the files of a run.
        ValueError: no runs, or a damaged record.
        ImportError: matplotlib is missing.

    Example:
        >>> report(["runs/first", "runs/second"], "report.html")        # doctest: +SKIP
    """
    found = read_runs(runs)
    if not found:
        raise ValueError("Expected one run folder or more.")
    parts = [_table(found), *_curves(found)]
    left = MOST_BYTES - sum(map(len, parts)) - 200_000  # for words
    pictures = [(run, p) for run in found for p in run.pictures() if p.name not in _DRAWN]
    each = left // max(1, len(pictures)) * 3 // 4  # base64 makes four bytes of three
    for run in found:
        own = [path for other, path in pictures if other is run]
        parts.append(_details(run, own, each))
    words = sum(map(len, parts))
    if words > MOST_BYTES:
        raise ValueError(f"{len(found)} runs make a page of {words:,} bytes: give fewer of them.")
    title = found[0].name if len(found) == 1 else f"{len(found)} runs"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(title)}</h1>{''.join(parts)}</body></html>\n"
    )
    output = Path(output).expanduser()
    with written_whole(output) as file:
        file.write(utf8(page))
    return output


def _table(runs):
    """What was trained on what, and what came of it: a row a property, a column a run."""
    rows = {
        "status": lambda d: d.get("status", "no run.json: it goes on, or was cut off"),
        "model": lambda d: d.get("model"),
        "data": lambda d: (d.get("data") or {}).get("name"),
        "seed": lambda d: d.get("seed"),
        "accuracy": lambda d: _with(d.get("test_accuracy"), "{:.2f} %"),
        "top-5 accuracy": lambda d: _with(_top5(d), "{:.2f} %"),
        "target": lambda d: _with(
            d.get("target_accuracy"), "{:g} %" + (" top-5" if d.get("target_on") == "top5" else "")
        ),
        "reached after": lambda d: _seconds(d.get("reached")),
        "training time": _seconds,
        "wall time": lambda d: _with(d.get("wall_seconds"), "{:.1f} s"),
        "cost": _cost,
        "processor": lambda d: (d.get("hardware") or {}).get("processor"),
        "GPUs": lambda d: ", ".join((d.get("hardware") or {}).get("gpus", ())),
    }
    lines = ["".join(f"<th>{_text(name)}</th>" for name in ("", *(run.name for run in runs)))]
    for name, read in rows.items():
        cells = [read(run.document) for run in runs]
        if any(cell not in (None, "") for cell in cells):
            shown = "".join(f"<td>{_text('–' if c in (None, '') else c)}</td>" for c in cells)
            lines.append(f"<th>{name}</th>{shown}")
    return _wide(lines)


def _curves(runs):
    pictures = [*time_and_cost(runs)]
    for title, names in (
        ("Accuracy", ("val_accuracy", "accuracy")),
        ("Loss", ("val_loss", "loss")),
        ("Learning rate", ("learning_rate",)),
        ("Momentum", ("momentum",)),
    ):
        figure = over_epochs(runs, names, title)
        if figure is not None:
            pictures.append((f"{title} over the epochs", figure))
    return [_figure(embedded(figure), title) for title, figure in pictures]


def _details(run, pictures, most_bytes):
    """What belongs to one run: its pictures, odd files, settings."""
    parts = [f"<h2>{_text(run.name)}</h2>"]
    for path in pictures:
        address = embedded_file(path, most_bytes)
        if address is not None:
            parts.append(_figure(address, path.stem.replace("_", " ")))
    parts += _answers(run.document.get("answers") or {})
    parts += _problems(run.document)
    command = " ".join(map(str, run.document.get("command", ())))
    if command:
        parts.append(f"<p><code>{_text(command)}</code></p>")
    for name in ("reason", "settings", "data", "hardware", "versions"):
        content = run.document.get(name)
        if content:
            lines = content.items() if isinstance(content, dict) else [("", content)]
            lines = [(k, v) for k, v in lines if k != "problems"]  # in a table of their own
            table = _wide([f"<th>{_text(k)}</th><td>{_text(v)}</td>" for k, v in lines])
            parts.append(f"<details><summary>{name}</summary>{table}</details>")
    return "".join(parts)


def _answers(answers):
    """Which classes were confused most often, and the images with the highest losses."""
    parts = []
    for key, title, columns in (
        ("most_confused", "Most often confused", ("true", "predicted", "count")),
        ("worst", "Most wrong about", ("name", "true", "predicted", "loss")),
    ):
        found = answers.get(key) or []
        if found:
            cells = "".join(f"<th>{column}</th>" for column in columns)
            lines = [
                "".join(f"<td>{_text(row.get(column, ''))}</td>" for column in columns)
                for row in found
            ]
            parts.append(f"<h3>{title}</h3>{_wide([cells, *lines])}")
    return parts


def _problems(document):
    """The odd files, by name."""
    found = document.get("problems") or (document.get("data") or {}).get("problems") or {}
    if not found:
        return []
    lines = [f"<td>{_text(name)}</td><td>{_text(text)}</td>" for name, text in found.items()]
    title = f"{len(found):,} odd file{'s' if len(found) > 1 else ''}"
    more = "<p>The others are in run.json.</p>" if len(found) > _MOST_LINES else ""
    return [f"<h3>{title}</h3>{_wide(lines)}{more}"]


def _wide(lines):
    lines = lines[:_MOST_LINES]
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{rows}</table></div>'


def _figure(address, caption):
    text = _text(caption)
    return f'<figure><img alt="{text}" src="{address}"><figcaption>{text}</figcaption></figure>'


def _text(value):
    text = str(value)
    return html.escape(text if len(text) <= _LONGEST else text[:_LONGEST] + " …")


def _seconds(record):
    return _with((record or {}).get("training_seconds"), "{:.1f} s")


def _cost(document):
    prices = document.get("prices", ())
    return ", ".join(f"USD {price['cost_usd']:.4f} {price['kind']}" for price in prices)


def _top5(document):
    epochs = document.get("epochs") or [{}]
    return epochs[-1].get("top5_accuracy")


def _with(value, form):
    return None if value is None else form.format(value)


def _main(argv):
    if len(argv) < 2:
        raise app.UsageError("Expected one run folder or more.")
    try:
        print(f"{report(argv[1:], flags.FLAGS.output)} written")
    except (OSError, ValueError, ImportError) as error:
        raise app.UsageError(str(error)) from None


if __name__ == "__main__":
    from absl import app, flags

    flags.DEFINE_string("output", "report.html", "the page to write")
    app.run(_main)
