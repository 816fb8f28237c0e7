"""The plain loops: airbench94's groups, schedule and slow weights by hand, and what all share."""

import airbench
import airbench_muon
import hiverge
import pytest
import record_contestants
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
    one = record_contestants.of_loop(name, "float32", 1)
    assert sum(one.images.values()) == steps * batch and one.batch_size == batch


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


def test_the_stems_bias_begins_at_0_in_airbench94_and_as_torchs_in_its_successors():
    assert not airbench.Net()[0].bias.any()
    for theirs in (airbench_muon.MuonNet(), hiverge.HiveNet()):
        assert theirs[0].bias.all() and theirs[0].bias.abs().max() <= 12**-0.5


def test_the_peers_crops_and_flips_show_all_of_an_image():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (1200, 32, 32, 3), dtype=torch.uint8)
    loader = airbench.Loader(pixels, torch.arange(1200), train=True)
    assert len(loader) == 1
    (images, labels), *rest = list(loader)
    assert images.shape == (1024, 3, 32, 32) and not rest
    whole = airbench.Loader(pixels, torch.arange(1200), train=False).images
    middle = images[:, :, 8:24, 8:24]
    for image, label in list(zip(middle, labels.tolist(), strict=True))[:20]:
        places = [whole[label], whole[label].flip(-1)]
        assert any(
            torch.equal(image, place[:, 8 + dy : 24 + dy, 8 + dx : 24 + dx])
            for place in places
            for dy in range(-2, 3)
            for dx in range(-2, 3)
        )


@pytest.mark.parametrize("loop", [airbench, airbench_muon, hiverge])
def test_the_peers_learn_what_they_are_shown(loop, monkeypatch):
    monkeypatch.setattr(loop, "BATCH", 20)
    monkeypatch.setattr(loop, "EPOCHS", 3)
    labels = torch.arange(40) % 2
    pixels = torch.randint(0, 100, (40, 32, 32, 3), dtype=torch.uint8)
    pixels[labels == 1, :, :, 0] += 100
    told = []
    result = loop.train((pixels, labels), (pixels, labels), 0, "float32", told.append)
    assert result["seconds"] > 0 and len(told) == 3
    losses = [float(line.split()[-1]) for line in told]
    assert losses[-1] < losses[0] and result["accuracy"] > 60


def test_the_peers_whiten_by_images_that_are_not_flipped():
    pixels = torch.randint(0, 256, (30, 32, 32, 3), dtype=torch.uint8)
    plain = airbench.Loader(pixels, torch.arange(30), False).images
    for loader in (airbench.Loader, hiverge.HiveLoader):
        made = loader(pixels, torch.arange(30), True)
        assert torch.equal(made.first, plain) and not torch.equal(made.images, plain)


@pytest.mark.parametrize("net", [airbench.Net, airbench_muon.MuonNet, hiverge.HiveNet])
def test_the_peers_compute_in_the_precision_they_are_told(net):
    device = torch.device("cpu")
    for policy, weights, autocast in (
        ("float32", torch.float32, False),
        ("mixed_bfloat16", torch.float32, True),
        ("mixed_float16", torch.float16, False),
    ):
        placed, context = airbench.place(net(), device, policy)
        convolution, normalization = placed[2][0], placed[2][2]
        assert convolution.weight.dtype == weights == airbench.image_dtype(policy)
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert normalization.weight.dtype == normalization.running_mean.dtype == torch.float32
        with context:
            assert torch.is_autocast_enabled("cpu") == autocast
        assert not autocast or context.fast_dtype == torch.bfloat16
