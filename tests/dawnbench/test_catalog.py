"""Prices from a catalog on disk, as SkyPilot would have downloaded it."""

import json
import math
import os
import subprocess
import sys
from datetime import date
from types import SimpleNamespace

from keras_dawn.dawnbench.catalog import catalog_prices
from keras_dawn.dawnbench.cost import main

import pytest

COLUMNS = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region"
)
MACHINES = """
p3.2xlarge,V100,1,8,61,{},3.06,0.9,us-east-1
p3.2xlarge,V100,1,8,61,{},3.50,1.2,eu-west-1
p3.16xlarge,V100,8,64,488,{},24.48,,us-east-1
p3dn.24xlarge,V100-32GB,8,96,768,{},31.2,,us-east-1
"""
GPU_INFO = "\"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 16384}}]}\""


@pytest.fixture
def catalog(tmp_path):
    """Environment of a process that finds this catalog."""
    constants = pytest.importorskip("sky.skylet.constants", reason="needs keras_dawn[cloud]")
    folder = tmp_path / ".sky" / "catalogs" / constants.CATALOG_SCHEMA_VERSION / "aws"
    folder.mkdir(parents=True)
    (folder / "vms.csv").write_text(COLUMNS + MACHINES.replace("{}", GPU_INFO), encoding="utf-8")
    return {**os.environ, "SKY_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}


def prices(environment, accelerator):
    code = (
        "from keras_dawn.dawnbench.catalog import catalog_prices\n"
        f"for p in catalog_prices({accelerator!r}, ['aws']):\n"
        "    print(p.usd_per_hour, p.kind, p.gpus, p.date, p.machine, p.source, sep='|')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_cheapest_region_of_each_machine_on_demand_and_spot(catalog):
    code, lines, errors = prices(catalog, "v100")
    assert code == 0, errors
    of_one = f"1|{date.today()}|AWS p3.2xlarge, 1 × V100|SkyPilot's catalog, us-east-1"
    of_eight = f"8|{date.today()}|AWS p3.16xlarge, 8 × V100|SkyPilot's catalog, us-east-1"
    assert lines == [
        f"0.9|spot|{of_one}",
        f"3.06|on-demand|{of_one}",
        f"24.48|on-demand|{of_eight}",
    ]


def test_a_number_of_gpus_that_no_machine_has(catalog):
    code, _, errors = prices(catalog, "V100:3")
    assert code != 0 and "ValueError: SkyPilot's catalog of aws has no V100:3" in errors


def test_the_cost_of_a_run_at_todays_prices(catalog, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"training_seconds": 7200.0}), encoding="utf-8")
    flags = [tmp_path, "--gpu=V100:1", "--clouds=aws"]
    command = [sys.executable, "-m", "keras_dawn.dawnbench.cost", *flags]
    done = subprocess.run(command, env=catalog, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "6.1200" in done.stdout and "1.8000" in done.stdout and "us-east-1" in done.stdout


def test_without_skypilot_the_error_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "sky", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_dawn\[cloud\]'"):
        catalog_prices("V100")
    (tmp_path / "run.json").write_text(json.dumps({"training_seconds": 7200.0}), encoding="utf-8")
    assert main([str(tmp_path), "--gpu=V100"]) == 1
    assert "keras_dawn[cloud]" in capsys.readouterr().err


def test_a_part_of_a_gpu_is_told_as_such(monkeypatch):
    machine = SimpleNamespace(
        cloud="Azure", instance_type="NV6", accelerator_name="A10", accelerator_count=0.5,
        region="eastus", price=0.45, spot_price=math.nan,
    )  # fmt: skip
    found = SimpleNamespace(list_accelerators=lambda **_: {"A10": [machine]})
    monkeypatch.setitem(sys.modules, "sky", SimpleNamespace(catalog=found))
    (price,) = catalog_prices("A10")
    assert price.machine == "Azure NV6, 0.5 × A10" and price.usd_per_gpu_hour is None
