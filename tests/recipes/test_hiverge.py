"""Hiverge's loop: its optimizer beside that of airbench94 with Muon, its images and views."""

import airbench
import airbench_muon
import hiverge
import pytest
import torch


def test_all_filters_in_one_batch_are_made_orthogonal_as_each_alone(monkeypatch):
    monkeypatch.setattr(airbench_muon, "NEWTON_SCHULZ", hiverge.NEWTON_SCHULZ)
    torch.manual_seed(0)
    shapes = [(64, 24, 3, 3), (16, 4, 3, 3), (64, 2, 3, 3)]  # the last is tall
    filters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    muon = hiverge.BatchedMuon(filters, 0.1, 0.5, 0.0, 100, torch.float32)
    directions = [torch.randn(shape) for shape in shapes]
    for found, direction in zip(muon._orthogonal(directions), directions, strict=True):
        alone = airbench_muon.zeropower(direction.reshape(len(direction), -1), torch.float32)
        torch.testing.assert_close(found.reshape(alone.shape), alone, rtol=1e-4, atol=1e-5)


def test_filters_get_their_norm_at_first_every_second_step_and_later_more_rarely():
    filters = [torch.nn.Parameter(torch.randn(8, 4, 3, 3))]
    muon, set_at = hiverge.BatchedMuon(filters, 0.0, 0.5, 0.0, 100, torch.float32), []
    for step in range(1, 101):
        filters[0].data.mul_(2)
        filters[0].grad = torch.ones_like(filters[0])
        muon.step()
        if abs(filters[0].norm().item() - 8**0.5) < 1e-3:
            set_at.append(step)
    assert set_at[:3] == [2, 4, 6] and set_at[-2:] == [70, 84]  # 2 + int(15 × 0.84) = 14


def test_a_batched_step_is_that_of_the_published_loop_when_norms_are_set(monkeypatch):
    monkeypatch.setattr(airbench_muon, "NEWTON_SCHULZ", hiverge.NEWTON_SCHULZ)
    torch.manual_seed(0)
    ours, theirs = (
        [torch.nn.Parameter(torch.ones(shape).cumsum(0)) for shape in ((8, 3, 3, 3), (6, 8, 3, 3))]
        for _ in range(2)
    )
    batched = hiverge.BatchedMuon(ours, 0.2, 0.6, 0.01, 1000, torch.float32)
    batched.step_count = 1  # so that it sets norms in its first step
    each = airbench_muon.Muon(theirs, 0.2, 0.6, torch.float32)
    for one, other in zip(ours, theirs, strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    batched.step()
    each.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other * (1 - 0.2 * 0.01), rtol=1e-5, atol=1e-5)


def test_the_successors_crops_are_those_of_the_images_brighter_and_with_other_contrast():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (30, 32, 32, 3), dtype=torch.uint8)
    loader = hiverge.HiveLoader(pixels, torch.arange(30), True, batch_size=30)
    places = {}
    for image, padded in zip(loader.crops(), loader.padded, strict=True):
        for dy in range(5):
            for dx in range(5):
                plain = padded[:, dy : dy + 32, dx : dx + 32].flatten()
                line = torch.stack([plain, torch.ones_like(plain)], 1)
                fit = torch.linalg.lstsq(line, image.flatten()[:, None])
                if (line @ fit.solution)[:, 0].allclose(image.flatten(), atol=1e-4):
                    contrast, shift = fit.solution[:, 0].tolist()
                    places[dy, dx] = (contrast, shift / contrast)
    assert len(places) > 5 and {dy for dy, _ in places} == {dx for _, dx in places} == set(range(5))
    contrasts, shifts = zip(*places.values(), strict=True)
    changes = [contrast - 1 for contrast in contrasts]
    assert -hiverge.CONTRAST - 1e-3 <= min(changes) < -0.04
    assert 0.04 < max(changes) <= hiverge.CONTRAST + 1e-3
    assert -hiverge.BRIGHTNESS - 1e-3 <= min(shifts) < -0.04
    assert 0.04 < max(shifts) <= hiverge.BRIGHTNESS + 1e-3


def test_only_uncertain_images_are_seen_from_six_sides(monkeypatch):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    pixels = torch.randint(0, 256, (60, 32, 32, 3), dtype=torch.uint8)
    data = airbench.Loader(pixels, torch.zeros(60, dtype=torch.long), train=False)
    context = torch.autocast("cpu", torch.bfloat16, enabled=False)
    net.eval()
    with torch.no_grad():
        plain = net(data.images)
        padded = torch.nn.functional.pad(data.images, (1,) * 4, "reflect")
        sides = (data.images, padded[:, :, :32, :32], padded[:, :, 2:, 2:])
        six = sum(net(side) + net(side.flip(-1)) for side in sides)
    order = plain.softmax(1).amax(1).argsort()
    for fraction in (0.1, 0.5, 1.0):
        monkeypatch.setattr(hiverge, "UNCERTAIN", fraction)
        answers = plain.argmax(1)
        chosen = order[: int(fraction * 60)]
        answers[chosen] = six[chosen].argmax(1)
        for label in answers.unique().tolist():
            data.labels = torch.full((60,), label)
            expected = [100 * (a == label).sum().item() / 60 for a in (plain.argmax(1), answers)]
            assert hiverge.evaluate(net, data, context) == pytest.approx(expected)
    assert (six.argmax(1) != plain.argmax(1)).any()
