import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

from keras_dawn.plots import report as report_module
from keras_dawn.plots.report import report
from keras_dawn.plots.report_pictures import embedded_file, over_epochs, time_and_cost
from keras_dawn.plots.run_records import read_run, read_runs

import numpy as np
import pytest
from PIL import Image

from tests import processes


def run_folder(path, accuracies=(50.0, 90.0), **more):
    path.mkdir()
    epochs = [
        {"epoch": n, "training_seconds": 10.0 * (n + 1), "wall_seconds": 12.0, "accuracy": a}
        for n, a in enumerate(accuracies)
    ]
    document = {
        "status": "finished", "command": ["train.py", "--seed=1"], "model": "wide <b>resnet</b>",
        "data": {"name": "dogs", "problems": {"class0/9.JPEG": "an empty file"}},
        "settings": {"a_very_long_setting" * 9: "x" * 300},
        "target_accuracy": 80.0, "reached": epochs[-1], "test_accuracy": accuracies[-1],
        "training_seconds": 20.0, "wall_seconds": 24.0, "epochs": epochs,
        "prices": [{"kind": "spot", "usd_per_hour": 3.6, "cost_usd": 0.02}],
        "answers": {
            "most_confused": [{"true": "beagle", "predicted": "dingo", "count": 17}],
            "worst": [{"name": "beagle/7.jpg", "true": "a", "predicted": "b", "loss": 9.25}],
        },
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
    noise = np.random.default_rng(0).integers(0, 256, (700, 1200, 3), dtype=np.uint8)
    for run in runs:
        for name in ("confusion", "worst_photos"):  # of 2.5 MB each
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
    assert "th{min-width:" in text  # or it is broken after every letter or two


def test_it_says_what_was_trained_on_what_and_what_came_of_it(runs, tmp_path):
    words = page_of(runs, tmp_path)[1].words
    for expected in ("wide <b>resnet</b>", "dogs", "90.00 %", "20.0 s", "USD 0.0200 spot", "third",
                     "1 odd file", "class0/9.JPEG", "an empty file", "dingo", "17", "beagle/7.jpg",
                     "9.25", "train.py --seed=1"):  # fmt: skip
        assert expected in words


def test_large_pictures_and_long_values_make_no_large_page(tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "MOST_BYTES", 700_000)
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    problems = {f"photo{n}.jpg": "x" * 5000 for n in range(3000)}
    run = run_folder(tmp_path / "run", data={"problems": problems})
    for name in "abcdef":
        Image.fromarray(noise).save(run / f"{name}.jpg", quality=95)
    path, page = page_of([run], tmp_path)
    assert path.stat().st_size < 700_000
    assert "photo199.jpg" in page.words and "photo200.jpg" not in page.words
    assert "3,000 odd files" in page.words and "The others are in run.json." in page.words


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


@pytest.mark.parametrize(
    "name, value",
    [
        ("data", "dogs"), ("test_accuracy", "high"), ("target_accuracy", []), ("reached", 7),
        ("epochs", [{"epoch": 1}]), ("epochs", "none"), ("prices", [None]), ("hardware", ["cpu"]),
    ],
)  # fmt: skip
def test_a_record_of_something_else_is_named(name, value, tmp_path):
    run = run_folder(tmp_path / "odd", **{name: value})
    with pytest.raises(ValueError, match=f"run.json is damaged, or no record .* its {name}"):
        report([run], tmp_path / "report.html")
    (run / "run.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="no record of a run: see its beginning"):
        report([run], tmp_path / "report.html")


def test_names_are_no_formulas_and_all_are_in_the_legend(tmp_path):
    runs = [run_folder(tmp_path / name) for name in ("a$b_{$c", "_hidden")]
    report(runs, tmp_path / "report.html")
    figure = over_epochs([read_run(run) for run in runs], ("loss",), "Loss")
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["a$b_{$c: loss", " _hidden: loss"]


def called(*arguments, folder):
    command = [sys.executable, "-m", "keras_dawn.plots.report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder)


def test_runs_in_folders_of_one_name_have_names_and_lines_of_their_own(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    folders = [run_folder(tmp_path / name) for name in ("a/seed0", "b/seed0", "other")]
    runs = read_runs(folders)
    assert [run.name for run in runs] == ["a/seed0", "b/seed0", "other"]
    time, cost = (figure.axes[0] for _, figure in time_and_cost(runs))
    names = [text.get_text() for text in time.get_legend().get_texts()]
    assert names == ["a/seed0", "b/seed0", "other"] and len(cost.get_legend().get_texts()) == 3
    assert [run.name for run in read_runs([folders[0], folders[0]])] == ["seed0", "seed0"]


def test_runs_of_several_targets_have_no_line_of_one(tmp_path):
    more = [{}, {"target_accuracy": 70.0}, {"target_accuracy": None}]
    folders = [run_folder(tmp_path / f"run{n}", **each) for n, each in enumerate(more)]
    targets = []
    for some in (folders[:2], folders[::2], folders[::-2]):
        (_, time), _ = time_and_cost(read_runs(some))
        targets.append([text.get_text() for text in time.axes[0].texts])
    assert targets == [[], ["target 80 %"], ["target 80 %"]]


def test_a_transparent_picture_is_on_white(tmp_path):
    picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0, 255))
    for drawn in (picture, picture.quantize(4)):
        drawn.save(tmp_path / "drawn.png")
        address = embedded_file(tmp_path / "drawn.png", 10_000)
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as shown:
            assert [shown.getpixel((n, 0)) for n in (0, 1)] == [(255, 255, 255), (255, 0, 0)]


def test_the_only_epoch_is_seen(tmp_path):
    run = run_folder(tmp_path / "run")
    (run / "history.csv").write_text("epoch,loss,val_loss\n1,2.0,3.0\n", encoding="utf-8")
    (axis,) = over_epochs(read_runs([run]), ("val_loss", "loss"), "Loss").axes
    assert [line.get_marker() for line in axis.lines] == ["o", "o"]


def test_the_command_says_what_is_wrong(tmp_path):
    wrong = processes.run(report_module.__file__, str(tmp_path / "nowhere"), cwd=tmp_path)
    assert wrong.returncode != 0 and "is no run folder" in wrong.printed
    assert "Traceback" not in wrong.printed


@pytest.mark.slow
def test_the_command_writes_the_page(runs, tmp_path):
    assert "page.html written" in called(*runs, "--output=page.html", folder=tmp_path).stdout


@pytest.mark.slow
def test_a_browser_shows_it_without_sideways_scrolling(runs, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    page = html.escape(page_of(runs, tmp_path)[0].read_text(encoding="utf-8"))
    frame = (  # a window of its own is never narrower than 500 pixels
        f'<iframe width="390" height="800" srcdoc="{page}">'
        "</iframe><script>onload=()=>{const inner=document.querySelector('iframe').contentWindow;"
        "document.title=inner.document.documentElement.scrollWidth+' of '+inner.innerWidth"
        "+' and '+inner.document.images[0].naturalWidth"
        "+' and '+[...inner.document.querySelectorAll('th')].filter(t=>/^(status|accuracy|target|"
        "predicted)$/.test(t.innerText)).map(t=>t.clientHeight<45)}</script>"
    )
    outer = tmp_path / "phone.html"
    outer.write_text(f"<title></title><body>{frame}</body>", encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    shown = subprocess.run([*command, outer.as_uri()], capture_output=True, encoding="utf-8").stdout
    found = re.search(r"<title>(\d+) of (\d+) and (\d+) and ([a-z,]+)<", shown)
    wide, of, picture = map(int, found.groups()[:3])
    assert of == 390 and wide <= 390 and picture > 100
    assert found[4].split(",") == ["true"] * 9  # heads of lines are whole words
