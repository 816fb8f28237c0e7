"""The plain loop of airbench94: its groups, its schedule and its slow weights, by hand."""

import airbench
import pytest
import record_rates
import torch


def optimizer_and_schedule(steps=476):
    net = airbench.Net()
    return net, *airbench.optimizer_and_schedule(net, steps)


def test_only_the_biases_of_normalisation_have_the_larger_rate():
    net, optimizer, _ = optimizer_and_schedule()
    biases, others = (set(map(id, group["params"])) for group in optimizer.param_groups)
    groups = [net[group][layer] for group in (2, 3, 4) for layer in (2, 5)]
    assert biases == {id(layer.bias) for layer in groups}
    convolutions = [net[group][layer].weight for group in (2, 3, 4) for layer in (0, 4)]
    assert others == {id(p) for p in [net[0].bias, *convolutions, net[7].weight]}


def test_the_rates_and_decays_are_those_of_the_paper_at_each_corner():
    _, optimizer, schedule = optimizer_and_schedule()
    rate = 11.5 / (1024 * (1 + 1 / 0.15))
    corners = {0: 0.2, 109: 1.0, 476: 0.07}  # 23 % of 476 steps is 109
    for step in range(477):
        biases, others = (group["lr"] for group in optimizer.param_groups)
        assert biases == pytest.approx(64 * others)
        if step in corners:
            assert others == pytest.approx(rate * corners[step])
        optimizer.step()
        schedule.step()
    for group in optimizer.param_groups:  # by what the rate was at its highest
        highest = rate * (64 if group is optimizer.param_groups[0] else 1)
        decay = 0.0153 * 1024 / (1024 * (1 + 1 / 0.15))
        assert highest * group["weight_decay"] == pytest.approx(decay)
        assert group["momentum"] == 0.85 and group["nesterov"]


def test_slow_weights_follow_and_give_themselves_back():
    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    slow = airbench.Lookahead(net)
    net.weight.data.fill_(1.0)
    slow.update(net, 0.75)
    assert net.weight.item() == 0.25
    net.weight.data.fill_(9.0)
    slow.update(net, 1.0)  # at the end
    assert net.weight.item() == 0.25


@pytest.mark.parametrize(
    ("name", "steps", "batch"),
    [("airbench94", 476, 1024), ("airbench94_muon", 200, 2000), ("hiverge", 243, 1536)],
)
def test_whole_runs_have_the_published_number_of_steps(name, steps, batch):
    one = record_rates.of_loop(name, "float32", 1)
    assert one.images == {32: steps * batch} and one.batch_size == batch


def test_a_run_takes_a_step_for_a_part_of_one(monkeypatch):
    monkeypatch.setattr(airbench, "BATCH", 20)
    monkeypatch.setattr(airbench, "EPOCHS", 1.1)
    steps = []
    schedule = airbench.optimizer_and_schedule
    monkeypatch.setattr(
        airbench,
        "optimizer_and_schedule",
        lambda net, count: steps.append(count) or schedule(net, count),
    )
    pixels = torch.randint(0, 255, (40, 32, 32, 3), dtype=torch.uint8)
    images = pixels, torch.arange(40) % 10
    airbench.train(images, images, 0, "float32")
    assert steps == [3]  # of 2.2
