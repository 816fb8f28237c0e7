"""What `record.py` writes and prints: one results file for several sittings, plans, ratios."""

import copy
import json
import subprocess
from types import SimpleNamespace

import cifar10_record
import pytest
import record
import record_results
import record_summary

from recipe_parts import run_files, run_flags

DOCUMENT = {
    "settings": {"sizes": {0: 24}, "widths": (64, (112, 256))},
    "versions": {"torch": "2.11"},
    "hardware": {"processor": "A", "cores": 2},
    "instructions": "AMX",
    "convolutions": "amx 1",
    "commit": "abc",
    "planned": [{"first_seed": 0, "runs": 5, "peer_runs": 1, "at": "today"}],
    "begun": {"keras_dawn": [{"seed": 0, "at": "today"}]},
}

RUNS = {"keras_dawn": [{"seed": 0}]}


def test_a_results_file_of_the_benchmark_is_continued_unless_it_is_of_another_machine(tmp_path):
    file = tmp_path / "record.json"
    document = copy.deepcopy(DOCUMENT)
    assert record_results.earlier_runs(file, document) == {}
    file.write_text(json.dumps({**document, "runs": RUNS}), encoding="utf-8")
    assert record_results.earlier_runs(file, document) == RUNS
    with pytest.raises(ValueError, match=r"other hardware \(processor: A, here B\).*another"):
        record_results.earlier_runs(file, {**document, "hardware": {"processor": "B", "cores": 2}})
    for content in ("[]", "{}", "{", '{"settings": []}'):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match="not a results file of this benchmark"):
            record_results.earlier_runs(file, document)


@pytest.mark.parametrize("commit", [None, "abc", "a" * 40 + "+"])
def test_runs_of_no_commit_are_said_to_be_no_submission_before_the_first(commit):
    told = record_results.why_not_submitted({"commit": commit})
    assert f"The commit is {commit}, not" in told and "cannot be submitted" in told
    assert record_results.why_not_submitted({"commit": "a" * 40}) is None


def test_a_run_goes_to_the_folder_of_the_runs_that_it_continues(tmp_path):
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "run.json").write_text("{}", encoding="utf-8")
    one, none = {"keras_dawn": [{"seed": 0}], "peer": []}, {"keras_dawn": []}
    for earlier, begun in ((one, {}), (one, one), (none, one)):  # the last: it was cut off
        assert record_results.folder_of_all(tmp_path, earlier, begun) == tmp_path
    for nothing in ({}, none):
        with pytest.raises(FileExistsError, match="not an empty folder"):
            record_results.folder_of_all(tmp_path, nothing, nothing)
    assert record_results.folder_of_all(tmp_path / "new", {}, {}) == tmp_path / "new"


def test_what_a_run_that_was_cut_off_has_left_is_moved_aside(tmp_path):
    for times in (1, 2):
        own = record_results.folder_of_run(tmp_path / "seed3")
        assert not any(own.path.iterdir())
        own.write_text("history.csv", f"{times}")
    record_results.folder_of_run(tmp_path / "seed3")
    histories = tmp_path.rglob("history.csv")
    left = {path.parent.name: path.read_text(encoding="utf-8") for path in histories}
    assert left == {"seed3_cut_off1": "1", "seed3_cut_off2": "2"}


@pytest.mark.parametrize("name", record_results.SAME_WHERE_TOLD)
def test_runs_of_another_instruction_set_table_or_commit_are_not_continued(name, tmp_path, capsys):
    file = tmp_path / "record.json"
    file.write_text(json.dumps({**DOCUMENT, "runs": RUNS}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"other {name} .*, here B"):
        record_results.earlier_runs(file, {**DOCUMENT, name: "B"})
    older = {key: value for key, value in DOCUMENT.items() if key != name}
    file.write_text(json.dumps({**older, "runs": RUNS}), encoding="utf-8")
    document = {**DOCUMENT, name: "B"}
    assert record_results.earlier_runs(file, document) == RUNS and document == older
    assert f"does not tell the {name} of its runs" in capsys.readouterr().out


def test_another_number_of_runs_is_a_second_plan_and_the_same_one_is_none(tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps({**DOCUMENT, "runs": RUNS}), encoding="utf-8")
    (plan,) = DOCUMENT["planned"]
    for runs, expected in ((5, [plan]), (20, [plan, {**plan, "runs": 20, "at": "now"}])):
        document = {**DOCUMENT, "planned": [{**plan, "runs": runs, "at": "now"}]}
        record_results.earlier_runs(file, document)
        assert document["planned"] == expected
    file.write_text(json.dumps({**DOCUMENT, "runs": {"keras_dawn": []}}), encoding="utf-8")
    document = {**DOCUMENT, "planned": [{**plan, "runs": 20}]}
    record_results.earlier_runs(file, document)
    assert document["planned"] == [{**plan, "runs": 20}]  # no run was known
    older = {key: value for key, value in DOCUMENT.items() if key != "planned"}
    file.write_text(json.dumps({**older, "runs": RUNS}), encoding="utf-8")
    document = copy.deepcopy(DOCUMENT)
    record_results.earlier_runs(file, document)
    assert "planned" not in document  # when its first run was made is not known


def test_what_was_begun_in_earlier_sittings_is_kept_even_if_nothing_was_finished(tmp_path):
    file = tmp_path / "record.json"
    for runs in (RUNS, {"keras_dawn": []}):
        file.write_text(json.dumps({**DOCUMENT, "runs": runs}), encoding="utf-8")
        document = {**copy.deepcopy(DOCUMENT), "begun": {}}
        record_results.earlier_runs(file, document)
        assert document["begun"] == DOCUMENT["begun"]
    older = {key: value for key, value in DOCUMENT.items() if key != "begun"}
    file.write_text(json.dumps({**older, "runs": RUNS}), encoding="utf-8")
    document = {**copy.deepcopy(DOCUMENT), "begun": {}}
    record_results.earlier_runs(file, document)
    assert "begun" not in document  # how many were begun is not known


def test_a_results_file_tells_plan_instructions_and_commit(monkeypatch):
    preset = cifar10_record.PRESETS["cpu"]
    document = record_results.describe(preset, 3, 20, 2)
    assert document["settings"] == preset.settings()
    (plan,) = document["planned"]
    assert (plan["first_seed"], plan["runs"], plan["peer_runs"]) == (3, 20, 2)
    assert document["commit"] is None or len(document["commit"].rstrip("+")) == 40
    has = {"avx512_f": True, "avx512_bf16": True, "avx2": True}
    monkeypatch.setattr(record_results.torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(record_results.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(record_results, "onednn_limit", lambda: "ALL")
    assert record_results.instructions() == "AVX-512 BF16"
    monkeypatch.setattr(record_results, "onednn_limit", lambda: "AVX2")
    monkeypatch.setattr(record_results.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert record_results.instructions() == "AVX-512 BF16, oneDNN up to AVX2, torch up to AVX2"
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "bf16")
    assert "oneDNN up to AVX2, float32 rounded to BF16, torch" in record_results.instructions()


def test_without_git_no_commit_is_told(monkeypatch):
    def fails(*arguments, **keywords):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(record_results.subprocess, "run", fails)
    assert record_results.commit() is None
    preset = cifar10_record.PRESETS["cpu"]
    assert record_results.describe(preset, 0, 1, 1, "abc")["commit"] == "abc"


def test_the_time_is_told_over_that_of_each_loop_with_the_range_of_single_runs():
    def runs(*seconds):
        return [{"seed": seed, "seconds": each} for seed, each in enumerate(seconds)]

    whole = {"train_images": None}
    all_runs = {
        "slow": runs(200.0),
        "keras_dawn": runs(50.0, 60.0, 90.0),
        "none": [],
        "fast": runs(80.0, 100.0, 120.0),
    }
    found = record_summary.time_ratios(all_runs, whole)
    assert list(found) == ["fast", "slow"]
    assert (found["fast"]["ratio"], found["slow"]["ratio"]) == (0.6, 0.3)
    assert (found["fast"]["smallest"], found["fast"]["largest"]) == (50 / 120, 90 / 80)
    assert record_summary.told("fast", found["fast"]) == (
        "time over that of fast: 0.600 (medians of 3 and 3 runs; single runs 0.417 to 1.125; "
        "pairs of one seed 0.625, 0.600 to 0.750, n = 3)"
    )
    assert found["slow"]["pairs"] == [0.25]
    assert record_summary.time_ratios({"slow": runs(1.0), "keras_dawn": []}, whole) == {}
    assert record_summary.time_ratios(all_runs, {"train_images": 1024}) == {}


def test_loops_in_several_precisions_are_series_of_their_own():
    assert record.loops(["airbench94"], [], "float32") == {
        "airbench94, plain torch": ("airbench94", "float32")
    }
    assert list(record.loops(["hiverge"], ["float32", "mixed_bfloat16"], "float32")) == [
        "hiverge, plain torch", "hiverge, plain torch, mixed_bfloat16",
    ]  # fmt: skip


def test_loops_and_ours_take_turns_seed_by_seed():
    loops = ["fast", "slow"]
    first = [("fast", 3), ("slow", 3), ("keras_dawn", 3)]
    second = [(name, 4) for name, _ in first]
    assert list(record.turns(3, 2, 2, None, loops)) == first + second
    assert list(record.turns(3, 2, 1, None, loops)) == [*first, ("keras_dawn", 4)]


def test_a_sitting_may_make_the_first_of_the_planned_runs():
    for first_runs, seeds in ((None, [3, 4, 5, 6, 7]), (2, [3, 4]), (9, [3, 4, 5, 6, 7])):
        assert list(record.turns(3, 5, 0, first_runs, ["fast"])) == [
            ("keras_dawn", seed) for seed in seeds
        ]


def test_an_entry_counts_the_gpus_that_trained_or_the_cores_of_a_processor():
    machine = {"gpus": [], "cores": 2, "processor": "Intel(R) Xeon(R) Processor"}

    def device(processes=1, machines=1, device="cpu", **changes):
        there = {"world_size": processes, "machines": machines}
        return run_files.device_of(
            {"hardware": {**machine, **changes}, "processes": there, "device": device}
        )

    assert device() == ("2 cores of Intel(R) Xeon(R) Processor", "2-cores-Intel Xeon")
    assert device(cores=1)[0].startswith("1 core of ")
    assert device(4, 2)[0] == "2 × 2 cores of Intel(R) Xeon(R) Processor"
    gpus = ["NVIDIA H200"] * 8
    assert device(gpus=gpus)[0] == "2 cores of Intel(R) Xeon(R) Processor"  # they stood idle
    assert device(8, device="cuda", gpus=gpus) == ("8 × NVIDIA H200", "8xH200")
    assert device(device="cuda", gpus=gpus) == ("1 × NVIDIA H200 of 8 in the machine", "1xH200")
    of_two = "16 × NVIDIA H200 in 2 machines", "16xH200"
    assert device(16, 2, device="cuda", gpus=gpus) == of_two


def test_the_record_of_a_complete_training_names_settings_that_it_was_not_made_with():
    others = ["learning_rate 0.1 → 0.05", "target of TimeToAccuracy 94.0 → 95.0"]
    paid = SimpleNamespace(processes=0)
    resume = SimpleNamespace(paid=paid, taken_up=[], not_taken_up=others)
    assert run_flags.of_resumption(resume)["not_taken_up"] == others[:1]
    assert run_flags.of_resumption(None) == {"paid": None, "taken_up": [], "not_taken_up": []}
