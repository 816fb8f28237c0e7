"""SkyPilot tasks and scripts for rented machines, as far as one machine can try them."""

import inspect
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.processes import wait_for

PROJECT = Path(__file__).parents[2]
CLOUD = PROJECT / "recipes" / "cloud"
TASKS = sorted(CLOUD.glob("*.yaml"))
TRAINING = [path for path in TASKS if "prepare" not in path.name]
NOT_MODELS = {"compare"}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project_copy(folder):
    """The project with this interpreter as its virtual environment."""
    copy = folder / "keras_dawn"
    copy.mkdir()
    for name in ("recipes", "keras_dawn", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).symlink_to(PROJECT / name)
    interpreter(copy)
    return copy


def interpreter(project):
    """A `.venv/bin/python` that is this interpreter."""
    binary = project / ".venv" / "bin" / "python"
    binary.parent.mkdir(parents=True)
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_skypilot_accepts_the_task(path, tmp_path, monkeypatch):
    monkeypatch.setenv("SKY_RUNTIME_DIR", str(tmp_path))
    sky = pytest.importorskip("sky", reason="needs keras_dawn[cloud]")
    config = read(path)
    required = {name: "s3://my-bucket" for name, value in config["envs"].items() if value is None}
    required.update({"BUCKET": "my-bucket"} if "BUCKET" in required else {})
    task = sky.Task.from_yaml_config(config, env_overrides=list(required.items()))
    spot = {resources.use_spot for resources in task.resources}
    assert spot == {path in TRAINING}
    with pytest.raises(ValueError, match="BUCKET|DATA"):  # what is required is asked for
        sky.Task.from_yaml_config(read(path))


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_uses_what_it_declares_and_ends_its_machine(path):
    config, text = read(path), path.read_text(encoding="utf-8")
    for name in config["envs"]:
        assert re.search(rf"\$\{{?{name}\b", config["run"] + str(config["file_mounts"])), name
    assert config["resources"]["autostop"]["down"] is True
    assert config["name"].startswith("keras-dawn") and config["workdir"] == "."
    assert f"recipes/cloud/{path.name}" in text  # the header says how to launch it
    if path in TRAINING:
        assert config["resources"]["job_recovery"]["recover_on_exit_codes"] == 75
        assert config["run"].startswith("recipes/cloud/train.sh")


def test_every_recipe_has_a_task():
    recipes = {path.stem for path in (PROJECT / "recipes").glob("*.py")} - NOT_MODELS
    named = "\n".join(path.read_text(encoding="utf-8") for path in TRAINING)
    assert recipes and all(re.search(rf"\b{name}\b", named) for name in recipes)


def test_the_exit_code_of_the_tasks_is_that_of_an_eviction():
    from keras_dawn.resume import eviction

    assert eviction.EXIT_CODE == 75
    assert "code=75" in (CLOUD / "train.sh").read_text(encoding="utf-8")
    said = re.search(r'grep "\^(.*?)"', (CLOUD / "train.sh").read_text(encoding="utf-8")).group(1)
    from keras_dawn.resume import last_word

    assert said in inspect.getsource(last_word)


def train(project, folder, *flags, gpus=0, **environment):
    return subprocess.Popen(
        [project / "recipes" / "cloud" / "train.sh", folder, "cifar10_wrn", "--preset=smoke",
         "--dataset=digits", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1", "SKYPILOT_NUM_GPUS_PER_NODE": str(gpus),
             **environment},
    )  # fmt: skip


def ended(process, seconds=240):
    return process.communicate(timeout=seconds)[0], process.returncode


@pytest.mark.slow
def test_two_processes_told_to_end_save_and_the_same_command_goes_on(tmp_path):
    project, folder = project_copy(tmp_path), tmp_path / "results"
    process = train(project, folder, "--epochs=30", "--checkpoint_seconds=1", gpus=2)
    assert wait_for(
        lambda: list(folder.glob("checkpoints/seed0/*.pt")) or process.poll() is not None
    )
    process.send_signal(signal.SIGTERM)
    printed, code = ended(process)
    assert code == 75, printed
    assert "Asked to stop: saved to" in (folder / "log.txt").read_text(encoding="utf-8")
    saved = sorted(folder.glob("checkpoints/seed0/*.pt"))[-1]
    epoch = int(saved.name.split("-")[1])
    printed, code = ended(train(project, folder, f"--epochs={epoch + 1}", gpus=2))
    assert code == 0, printed
    assert "in 2 processes" in printed and "in 2 processes" in (folder / "log.txt").read_text(
        encoding="utf-8"
    )
    whole = sorted(folder.glob("run-*"))[-1]
    assert len((whole / "history.csv").read_text(encoding="utf-8").splitlines()) == epoch + 2


def test_a_recipe_that_does_not_exist_and_one_that_fails(tmp_path):
    project = tmp_path / "keras_dawn"
    (project / "recipes").mkdir(parents=True)
    (project / "recipes" / "cloud").symlink_to(CLOUD)
    interpreter(project)
    recipe = project / "recipes" / "failing.py"
    recipe.write_text("import sys\nraise ValueError(sys.argv[1:])", encoding="utf-8")

    def run(recipe, *flags):
        return subprocess.run(
            [project / "recipes" / "cloud" / "train.sh", tmp_path / "results", recipe, *flags],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            env={**os.environ, "SKYPILOT_NUM_GPUS_PER_NODE": "0"},
        )  # fmt: skip

    done = run("imagenet")
    assert done.returncode == 2 and "no recipe recipes/imagenet.py" in done.stdout
    done = run("failing", "--batch_size=0")
    assert done.returncode not in (0, 75) and "'--batch_size=0'" in done.stdout


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A machine that `ssh` reaches: a folder here, with stand-ins for ssh, tmux and pip."""
    tools, home = tmp_path / "tools", tmp_path / "home"
    home.mkdir()
    tools.mkdir()
    scripts = {
        "ssh": f'[ "$1" = user@box ] || exit 255\nshift\ncd "{home}" && HOME="{home}" bash -c "$*"',
        "tmux": f"""case $1 in
    has-session) [ -s "{home}/pane" ] && kill -0 $(cat "{home}/pane") 2>/dev/null ;;
    new-session) setsid bash -c "$5" & echo $! >"{home}/pane" ;;
    list-panes) cat "{home}/pane" ;;
esac""",
    }
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    (home / "keras_dawn").mkdir()
    interpreter(home / "keras_dawn")
    pip = home / "keras_dawn" / ".venv" / "bin" / "pip"
    pip.write_text('#!/bin/sh\necho "$@" >>installed\n', encoding="utf-8")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SKYPILOT_NUM_GPUS_PER_NODE", "0")
    return home / "keras_dawn"


def in_tmux(*arguments, **options):
    return subprocess.Popen(
        [CLOUD / "run_in_tmux.sh", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", start_new_session=True,
        **options,
    )  # fmt: skip


def test_a_machine_that_ssh_reaches_trains_stops_and_gives_its_results(remote, tmp_path):
    flags = ("--preset=smoke", "--dataset=digits", "--epochs=200", "--author=A B")
    view = in_tmux("user@box", "cifar10_wrn", *flags)
    saved = remote / "results" / "cifar10_wrn" / "checkpoints" / "seed0"
    assert wait_for(lambda: list(saved.glob("*.pt")) or view.poll() is not None)
    assert (remote / "installed").read_text(encoding="utf-8") == "install -q -e .[demo]\n"
    assert not (remote / "tests" / "__pycache__").exists()  # what git tracks was copied
    again, code = ended(in_tmux("user@box", "cifar10_wrn"))
    assert code == 1 and "Something trains on user@box already" in again
    assert ended(in_tmux("user@box", "--stop"))[1] == 0
    pane = int((remote.parent / "pane").read_text(encoding="utf-8"))
    assert wait_for(lambda: not Path(f"/proc/{pane}").exists())
    os.killpg(view.pid, signal.SIGTERM)  # SIGINT may be ignored where tests run in the background
    ended(view)
    printed, code = ended(in_tmux("user@box", "--fetch", "here", cwd=tmp_path))
    assert code == 0, printed
    log = (tmp_path / "here" / "cifar10_wrn" / "log.txt").read_text(encoding="utf-8")
    assert "Asked to stop: saved to" in log
    assert list((tmp_path / "here" / "cifar10_wrn" / "checkpoints" / "seed0").glob("*.pt"))


def test_unknown_options_and_hosts_are_named(remote):
    assert "Unknown option --halt" in ended(in_tmux("user@box", "--halt"))[0]
    assert "run_in_tmux.sh HOST RECIPE" in ended(in_tmux("user@box"))[0]
    assert ended(in_tmux("user@other", "--stop"))[1] != 0
