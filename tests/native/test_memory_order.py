"""Fused updates of weights that do not lie in memory in the order of their axes."""

from keras_dawn.native.steps.updates.layout import WORTH_A_VIEW, in_memory_order

from tests.on_device import on_processor, torch

pytestmark = on_processor  # the kernels of a GPU take any order


def channels_innermost(size, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 3, size, generator=random).permute(0, 3, 1, 2)


def sgd(lists):
    settings = {"weight_decay": 0.0, "momentum": 0.9, "dampening": 0.0, "nesterov": False}
    rate = torch.tensor(0.1)
    torch._fused_sgd_(*lists, lr=rate, maximize=False, is_first_step=False, **settings)


def test_a_step_on_vectors_is_the_step_on_the_weights():
    weight, gradient, velocity = (channels_innermost(48, seed) for seed in range(3))
    moved = velocity * 0.9 + gradient
    expected = weight - 0.1 * moved
    lists = in_memory_order([weight], [gradient], [velocity])
    assert all(one.is_contiguous() for (one,) in lists)
    sgd(lists)
    torch.testing.assert_close(velocity, moved)
    torch.testing.assert_close(weight, expected)


def test_what_does_not_lie_alike_stays_as_it_is():
    weight, gradient = channels_innermost(48, 0), channels_innermost(48, 1).contiguous()
    small, vector = channels_innermost(2, 0), torch.zeros(WORTH_A_VIEW)
    some = [weight, small, vector]
    for lists in ([some, [gradient, small, vector]], [some, [gradient, small, vector], []]):
        found = in_memory_order(*lists)
        for before, after in zip(lists, found, strict=True):
            assert all(a is b for a, b in zip(before, after, strict=True))


def test_a_list_without_tensors_stays_empty():
    found = in_memory_order([channels_innermost(48, 0)], [channels_innermost(48, 1)], [])
    assert [len(one) for one in found] == [1, 1, 0] and found[0][0].ndim == 1
