import datetime
import json

from keras_dawn.dawnbench import HISTORICAL_PRICES, Price
from keras_dawn.dawnbench.cost import costs, main, read_price

import pytest

RUN = {
    "training_seconds": 1800.0,
    "paid": {"processes": 3, "seconds": 5400.0},
    "reached": {"training_seconds": 900.0},
}


def test_costs_are_time_times_price():
    price = Price(2.0, "spot", "a test", datetime.date(2026, 1, 2), "box", 4)
    (row,) = costs(RUN, [price])
    assert (row["training_usd"], row["paid_usd"], row["target_usd"]) == (1.0, 3.0, 0.5)
    assert price.usd_per_gpu_hour == 0.5
    (row,) = costs({"training_seconds": 1800.0, "reached": None}, [price])
    assert row["paid_usd"] is None and row["target_usd"] is None


def test_the_table_has_given_and_historical_prices(tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps(RUN), encoding="utf-8")
    assert main([str(tmp_path), "--price=2.0,on-demand,a price list,my box,2"]) == 0
    out = capsys.readouterr().out
    assert "my box" in out and "a price list" in out and "1.0000" in out and "3.0000" in out
    for price in HISTORICAL_PRICES:
        assert f"{price.cost(1800):.4f}" in out


@pytest.mark.parametrize("text", ["2.0,spot", "two,spot,here", "-1,spot,here", "1,other,here"])
def test_a_bad_price_is_named(text, tmp_path, capsys):
    with pytest.raises(ValueError):
        read_price(text)
    (tmp_path / "run.json").write_text(json.dumps(RUN), encoding="utf-8")
    assert main([str(tmp_path), f"--price={text}"]) == 1
    assert "No costs" in capsys.readouterr().err


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "run.json" in capsys.readouterr().err
