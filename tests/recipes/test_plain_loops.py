"""Whole runs of the plain loops: rates, slow weights, biases, flips and views as published."""

import airbench
import airbench_muon
import hiverge
import pytest
import torch

LOOPS = [airbench, airbench_muon, hiverge]


@pytest.fixture
def narrow(monkeypatch):
    """Networks of few channels."""
    monkeypatch.setattr(airbench, "WIDTHS", (4, 4, 4))


def train(loop, monkeypatch):
    """Three epochs of four steps; what was whitened by, and in which steps the stem's bias learnt.

    Returns:
        images that whitened, booleans of the steps, all training images as they are.
    """
    pixels = torch.randint(0, 256, (80, 32, 32, 3), dtype=torch.uint8)
    images = pixels, torch.arange(80) % 10
    whitened, trained = [], []
    whiten, place = airbench.Net.whiten, loop.place

    def placed(net, *given):
        net.register_forward_pre_hook(
            lambda net, _: trained.append(net[0].bias.requires_grad) if net.training else None
        )
        return place(net, *given)

    monkeypatch.setattr(
        airbench.Net, "whiten", lambda net, own: whitened.append(own) or whiten(net, own)
    )
    monkeypatch.setattr(loop, "place", placed)
    monkeypatch.setattr(loop, "BATCH", 20)
    monkeypatch.setattr(loop, "EPOCHS", 3)
    loop.train(images, images, 0, "float32")
    return whitened[0], trained, airbench.Loader(*images, train=False).images


@pytest.mark.parametrize(
    ("loop", "steps"), [(airbench, 4), (airbench_muon, 4), (hiverge, 1)]
)  # one epoch of four steps, or the 0.19 of one that are published, up to a whole step
def test_the_stems_bias_learns_in_the_first_steps_only(loop, steps, narrow, monkeypatch):
    if loop is not hiverge:
        monkeypatch.setattr(loop, "WHITENING_BIAS_EPOCHS", 1)
    _, trained, _ = train(loop, monkeypatch)
    assert trained == [step < steps for step in range(12)]


@pytest.mark.parametrize(("loop", "count"), [(airbench, 80), (airbench_muon, 80), (hiverge, 30)])
def test_a_run_whitens_by_the_first_images_as_they_are(loop, count, narrow, monkeypatch):
    monkeypatch.setattr(hiverge, "WHITENING_IMAGES", 30)
    whitened, _, images = train(loop, monkeypatch)
    assert torch.equal(whitened, images[:count])


def test_slow_weights_are_updated_every_five_steps_and_taken_at_the_end(narrow, monkeypatch):
    decays = []
    monkeypatch.setattr(airbench.Lookahead, "update", lambda _, net, decay: decays.append(decay))
    train(airbench, monkeypatch)
    assert decays == pytest.approx([0.95**5 * (5 / 12) ** 3, 0.95**5 * (10 / 12) ** 3, 1.0])


@pytest.mark.parametrize(
    ("loop", "given", "bias", "head", "filters", "momenta", "decay"),
    [
        (airbench_muon, (), 0.053, 0.67, 0.24, (0.85, 0.6), 2e-6 * 2000),
        (hiverge, (10,), 0.0573, 0.5415, 0.205, (0.825, 0.655), 1.0418e-6 * 1536),
    ],
)
def test_rates_fall_to_0_and_that_of_the_stems_bias_in_its_own_steps(
    loop, given, bias, head, filters, momenta, decay, narrow
):
    net = airbench_muon.MuonNet()
    both = loop.optimizers(net, "float32", *given)
    groups = [group for optimizer in both for group in optimizer.param_groups]
    assert [group["momentum"] for group in groups] == [*3 * momenta[:1], momenta[1]]
    assert groups[0]["params"] == [net[0].bias] and groups[2]["params"] == [net[7].weight]
    for group, rate in zip(groups, (bias, bias, head), strict=False):
        assert group["nesterov"] and group["weight_decay"] == pytest.approx(decay / rate)
    for step in range(10):
        airbench_muon.set_rates(both, step, 10, 4)
        rest = 1 - step / 10
        expected = [bias * max(0, 1 - step / 4), bias * rest, head * rest, filters * rest]
        assert [group["lr"] for group in groups] == pytest.approx(expected)


@pytest.mark.parametrize("kind", [airbench.Loader, hiverge.HiveLoader])
def test_half_of_the_images_are_flipped_and_each_epoch_all_of_them_the_other_way(kind):
    pixels = (torch.arange(32) * 8).to(torch.uint8)[None, None, :, None].expand(200, 32, 32, 3)
    loader = kind(pixels, torch.arange(200), True, batch_size=200)

    def brighter_on_the_right():
        ((images, labels),) = loader
        left, right = images[..., :4].mean((1, 2, 3)), images[..., -4:].mean((1, 2, 3))
        return (right > left)[labels.argsort()]

    first, second, third = (brighter_on_the_right() for _ in range(3))
    assert torch.equal(second, ~first) and torch.equal(third, first)
    assert 60 < first.sum() < 140


def test_images_in_place_count_as_much_as_those_moved_to_two_corners(monkeypatch):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    pixels = torch.randint(0, 256, (300, 32, 32, 3), dtype=torch.uint8)
    data = airbench.Loader(pixels, torch.zeros(300, dtype=torch.long), train=False)
    padded = torch.nn.functional.pad(data.images, (1,) * 4, "reflect")
    sides = (data.images, padded[:, :, :32, :32], padded[:, :, 2:, 2:])
    with torch.no_grad():
        views = [net(side) + net(side.flip(-1)) for side in sides]
        plain = net(data.images).argmax(1)
    answers = (2 * views[0] + views[1] + views[2]).argmax(1)
    for other in (plain, views[0].argmax(1), sum(views).argmax(1)):
        assert (answers != other).any()
    context = torch.autocast("cpu", torch.bfloat16, enabled=False)
    for label in range(10):
        data.labels = torch.full((300,), label)
        expected = [100 * (found == label).sum().item() / 300 for found in (plain, answers)]
        assert airbench.evaluate(net, data, context) == pytest.approx(expected)
