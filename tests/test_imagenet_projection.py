"""Projections of ImageNet's trainings from measured steps: a plan's images over the rates."""

import json
import types

import gpu_report
import imagenet_projection
import pytest
import submissions
from rich.console import Console

H100 = submissions.RECORDS.parent / "results" / "gpu-h100-2026-11-26.json"


@pytest.fixture
def document():
    return json.loads(H100.read_text(encoding="utf-8"))


def printed(table):
    console = Console(width=150)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_hours_are_the_images_of_a_plan_over_the_measured_rates(document):
    """The entry by hand: 18 epochs at 128 px, 23 at 224 and 4 at 288, whole batches only."""
    steps = document["parts"]["steps"]["results"]
    seconds = 0
    for size, epochs, batch in ((128, 18, 1536), (224, 23, 1536), (288, 4, 1024)):
        case = steps[f"ResNet-50, {size} px, batch 128, mixed_float16"]["keras_dawn"]
        seconds += epochs * (1_281_167 // batch * batch) / case["images_per_second"]
    found = gpu_report.projection(document, 10.0)["mixed_float16"]
    assert found["hours_on_1_gpu"] == pytest.approx(seconds / 3600)
    assert found["hours_on_8_gpus"] == pytest.approx(
        document["projected_hours_of_fastai_8gpu_on_8"], rel=1e-3
    )
    assert found["usd"] == pytest.approx(10 * seconds / 3600)
    shown = printed(imagenet_projection.table(document, 80.0))
    row = next(line for line in shown.split("\n") if "fastai_8gpu" in line)
    assert [cell.strip() for cell in row.split("│")[4:7]] == ["3.60", "0.450", "35.97"]


def test_of_sizes_whose_decoding_was_not_measured_the_cores_are_left_blank(document, monkeypatch):
    monkeypatch.setattr(imagenet_projection, "DECODED", {})
    shown = printed(imagenet_projection.table(document))
    row = next(line for line in shown.split("\n") if "fastai_8gpu" in line)
    assert [cell.strip() for cell in row.split("│")[4:8]] == ["3.60", "0.450", "", ""]


def test_where_decoding_was_measured_at_some_sizes_only_the_cores_are_at_least_those(document):
    shown = printed(imagenet_projection.table(document))
    row = next(line for line in shown.split("\n") if "fastai_8gpu" in line)  # 288 px lacks
    at_least, cores = row.split("│")[7].split()
    rates = document["parts"]["steps"]["results"]
    of_224 = rates["ResNet-50, 224 px, batch 128, mixed_float16"]["keras_dawn"]["images_per_second"]
    of_128 = rates["ResNet-50, 128 px, batch 128, mixed_float16"]["keras_dawn"]["images_per_second"]
    # Eight GPUs; 128 px from copies of 160, 224 from the originals, photos a second and core.
    assert at_least == "≥" and int(cores) == round(8 * max(of_128 / 3_970, of_224 / 815))


def test_a_plan_whose_sizes_were_not_measured_has_no_hours(document):
    shown = printed(imagenet_projection.table(document))
    row = next(line for line in shown.split("\n") if "modern_18 " in line)
    assert "none, without ResNet-50's rates at 160 px, 192 px" in row


@pytest.mark.parametrize(
    "flags, told",
    [
        ({"results": '{"parts": {"steps": {}}}'}, "is no file of gpu.py"),
        ({"price_source": "a page"}, "--price_per_hour and --price_source"),
        ({"price_per_hour": 3.0}, "--price_per_hour and --price_source"),
    ],
)
def test_what_cannot_be_projected_is_said(flags, told, tmp_path, monkeypatch):
    (tmp_path / "steps.json").write_text(flags.get("results", "{}"), encoding="utf-8")
    given = {"price_per_hour": None, "price_source": None, **flags}
    given["results"] = str(tmp_path / "steps.json")
    monkeypatch.setattr(imagenet_projection, "FLAGS", types.SimpleNamespace(**given))
    with pytest.raises(SystemExit, match=told):
        imagenet_projection.main([])
