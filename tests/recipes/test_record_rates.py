"""What whole runs of the record and of its peers would take, by rates."""

import copy
import dataclasses
import json
import types

import keras_dawn
from keras_dawn import data
from keras_dawn.models import WinogradConv2D

import airbench
import cifar10_record
import plain_loops
import pytest
import record
import record_contestants
import record_rates
import torch
from record_contestants import Part

from recipe_parts import record_network


def test_a_whole_run_is_its_images_at_their_rates():
    hardest = cifar10_record.PRESETS["cpu_hardest"]
    images = record_contestants.images_by_part(hardest)
    small, large = Part(24, True), Part(32, False)
    assert images == {small: 2 * 50_000, large: 5 * 50_000 + 5 * 37_000}  # batches of 1,000
    rates = {small: [900.0, 1000.0, 5000.0], large: [400.0, 435.0, 500.0]}
    assert record_rates.whole_run(images, rates) == pytest.approx(100 + 1000)
    published = record_contestants.images_by_part(cifar10_record.PRESETS["gpu"])
    assert published == {Part(32, True): 150_000, Part(32, False): 250_000}


def test_the_first_step_of_a_turn_and_the_first_round_are_dropped():
    turns = iter([[0, 9, 99], [0, 5, 7], [0, 1, 2]])
    slow_at_first = [next(turns), [50, 51, 52], [90, 92, 94]]
    one = record_contestants.Contestant(
        "it", "", {Part(32, False): 1}, 10, lambda part: lambda: slow_at_first.pop(0)
    )
    seen = []
    rates = record_rates.measure([one], 2, lambda found: seen.append(copy.deepcopy(found)))
    assert rates == {"it": {Part(32, False): [10.0, 5.0]}}
    assert seen == [{"it": {Part(32, False): [10.0]}}, rates]  # to be written


def test_rates_are_written_after_each_round_and_what_is_timed_is_told_first(tmp_path, monkeypatch):
    made = [
        record_contestants.Contestant(name, "its ways", {Part(32, False): 100}, 10, None)
        for name in ("a, plain torch", "b, plain torch", "keras_dawn")
    ]
    told = record_rates.told_beforehand(made, 7, 4)
    assert "a, plain torch (its ways): 32 px" in told and "3 turns of 4 steps a round, 7" in told
    flags = types.SimpleNamespace(json=str(tmp_path / "rates.json"), steps=4)
    monkeypatch.setattr(record_rates, "FLAGS", flags)
    by_name = {"a, plain torch": 10.0, "b, plain torch": 20.0, "keras_dawn": 40.0}
    rates = {name: {Part(32, False): [rate]} for name, rate in by_name.items()}
    record_rates.write(made, rates)
    document = json.loads((tmp_path / "rates.json").read_text(encoding="utf-8"))
    assert document["seconds_by_rates"] == {
        "a, plain torch": 10.0, "b, plain torch": 5.0, "keras_dawn": 2.5,
    }  # fmt: skip
    assert document["fastest_loop"] == "b, plain torch"
    assert document["images_per_second"]["keras_dawn"] == {"32 px": [40.0]}


@pytest.mark.parametrize("name", record_contestants.LOOPS)
@pytest.mark.parametrize(("precision", "bias"), [("float32", True), ("mixed_bfloat16", False)])
def test_a_loops_steps_are_timed(name, precision, bias, monkeypatch):
    small = dataclasses.replace(record_contestants.LOOPS[name], batch_size=10)
    monkeypatch.setitem(record_contestants.LOOPS, name, small)
    one = record_contestants.of_loop(name, precision, 2)
    nets, place = [], airbench.place
    monkeypatch.setattr(airbench, "place", lambda net, *a: nets.append(net) or place(net, *a))
    ends = one.make_turn(Part(32, bias))()
    assert (nets[0][0].bias.grad is not None) == bias
    assert one.batch_size == 10 and len(ends) == 2 and ends[0] < ends[1]
    epochs = {"airbench94": 9.9, "airbench94_muon": 8, "hiverge": 7.59}[name]
    biased = {"airbench94": 3, "airbench94_muon": 3, "hiverge": 0.19}[name]
    assert one.images == {
        Part(32, True): pytest.approx(biased * 50_000, abs=10),
        Part(32, False): pytest.approx((epochs - biased) * 50_000, abs=20),
    }


def test_a_loop_that_is_added_in_one_place_is_run_and_timed_by_its_name(monkeypatch):
    asked = []

    def train(train_set, test_set, seed, policy, log):
        asked.append((len(train_set[0]), len(test_set[1]), seed, policy))
        return {"seconds": 1.0}

    def optimizers(net, policy, steps):
        asked.append((policy, steps))
        return [torch.optim.SGD(net.parameters(), 0.1)]

    mine = plain_loops.Loop(train, airbench.Net, optimizers, 10, 2, 0)
    monkeypatch.setitem(plain_loops.LOOPS, "mine", mine)
    images = record_contestants.random_images(20)
    assert record.peer("mine", images, 3, "float32") == {"seconds": 1.0}
    one = record_contestants.of_loop("mine", "float32", 2)
    assert one.images == {Part(32, False): 100_000} and len(one.make_turn(Part(32, False))()) == 2
    assert asked == [(20, 10, 3, "float32"), ("float32", 10_000)]


def test_a_presets_steps_are_timed_at_each_of_its_sizes(monkeypatch):
    one = record_contestants.of_preset("smoke", "float32", 2)
    assert "Winograd" in one.ways and set(one.images) == {Part(16, True), Part(20, False)}
    made, fits = [], record_contestants.record_fits
    for place, name in ((record_contestants, "compiled_model"), (fits, "load")):
        call = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, call=call: made.append(call(*a)) or made[-1])
    for part in one.images:
        ends = one.make_turn(part)()
        assert len(ends) == 2 and ends[0] < ends[1]
        model, (fit,) = made[-2:]
        images, _ = next(iter(fit.data))
        assert Part(images.shape[1], model.get_layer("whitening").bias.trainable) == part
    preset = dataclasses.replace(cifar10_record.PRESETS["smoke"], bias_epochs=0)
    monkeypatch.setitem(cifar10_record.PRESETS, "no bias", preset)
    without = record_contestants.of_preset("no bias", "float32", 2)
    assert len(without.make_turn(Part(16, False))()) == 2


def test_winograds_filtering_is_for_float32_only(monkeypatch):
    images = record_contestants.random_images(20)
    for precision, expected in (("float32", True), ("mixed_bfloat16", False)):
        preset = dataclasses.replace(cifar10_record.PRESETS["smoke"], precision=precision)
        model = record_network.compiled_model(preset, images, data.LossMemory(20))
        found = [isinstance(layer, WinogradConv2D) for layer in model.layers]
        for gpu, others in ((False, "by the table"), (True, "by cuDNN")):
            monkeypatch.setattr(keras_dawn.precision, "has_gpu", lambda gpu=gpu: gpu)
            told = record_network.ways(preset)
            assert any(found) == expected == ("Winograd" in told) and others in told
