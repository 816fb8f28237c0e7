import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

from keras_dawn.plots.report import report

import numpy as np
import pytest
from PIL import Image


def run_folder(path, accuracies=(50.0, 90.0), **more):
    path.mkdir()
    epochs = [
        {"epoch": n, "training_seconds": 10.0 * (n + 1), "wall_seconds": 12.0, "accuracy": a}
        for n, a in enumerate(accuracies)
    ]
    document = {
        "status": "finished", "command": ["train.py", "--seed=1"], "model": "wide <b>resnet</b>",
        "data": {"name": "dogs"}, "settings": {"a_very_long_setting" * 9: "x" * 300},
        "target_accuracy": 80.0, "reached": epochs[-1], "test_accuracy": accuracies[-1],
        "training_seconds": 20.0, "wall_seconds": 24.0, "epochs": epochs,
        "prices": [{"kind": "spot", "usd_per_hour": 3.6, "cost_usd": 0.02}],
        "problems": {"class0/9.JPEG": "an empty file"},
        **more,
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(document), encoding="utf-8")
    lines = [
        "epoch,loss,val_loss,val_accuracy,learning_rate",
        "1,2.0,1.9,0.5,0.1",
        "2,1.0,,0.9,0.01",
    ]
    (path / "history.csv").write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def runs(tmp_path):
    return [run_folder(tmp_path / name) for name in ("first", "second", "third")]


class Tags(HTMLParser):
    """The tags with their attributes, the words, and which tags are open at the end."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data + "\n"


def page_of(runs, tmp_path):
    path = report(runs, tmp_path / "report.html")
    return path, Tags(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_from_outside_and_fits_a_phone(runs, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    for run in runs:
        for name in ("confusion", "worst_photos"):  # of 9 MB each
            Image.fromarray(noise).save(run / f"{name}.png")
    path, page = page_of(runs, tmp_path)
    assert path.stat().st_size < 2_000_000 and page.open == []
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5 + 6  # time, cost, accuracy, loss, rate; and two a run
    for attributes in pictures:
        assert re.match(r"data:image/(png|jpeg);base64,", attributes["src"]) and attributes["alt"]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", text)
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width,initial-scale=1"},
    ) in page.tags
    tables = text.count("<table>")
    assert tables == text.count('<div class="wide"><table>') > 3
    assert "img{max-width:100%" in text and "overflow-wrap:anywhere" in text


def test_it_says_what_was_trained_on_what_and_what_came_of_it(runs, tmp_path):
    words = page_of(runs, tmp_path)[1].words
    for expected in ("wide <b>resnet</b>", "dogs", "90.00 %", "20.0 s", "USD 0.0200 spot", "third",
                     "class0/9.JPEG", "an empty file", "train.py --seed=1"):  # fmt: skip
        assert expected in words


def test_a_run_that_goes_on_has_a_page_too(tmp_path):
    run = run_folder(tmp_path / "cut")
    (run / "run.json").unlink()
    assert "goes on, or was cut off" in page_of([run], tmp_path)[1].words


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        report([tmp_path], tmp_path / "report.html")
    run = run_folder(tmp_path / "bad")
    (run / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="run.json is damaged"):
        report([run], tmp_path / "report.html")
    with pytest.raises(ValueError, match="one run folder"):
        report([], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_the_page_or_says_what_is_wrong(runs, tmp_path):
    def called(*arguments):
        command = [sys.executable, "-m", "keras_dawn.plots.report", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path)

    assert "page.html written" in called(*runs, "--output=page.html").stdout
    wrong = called(tmp_path / "nowhere")
    assert wrong.returncode != 0 and "is no run folder" in wrong.stdout + wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.slow
def test_a_browser_shows_it_without_sideways_scrolling(runs, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    path, _ = page_of(runs, tmp_path)
    script = "<script>document.title=document.documentElement.scrollWidth</script></body>"
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--window-size=390,800", "--dump-dom"]
    shown = subprocess.run([*command, path.as_uri()], capture_output=True, encoding="utf-8").stdout
    assert int(re.search(r"<title>(\d+)</title>", shown)[1]) <= max(390, 500)  # headless's least
