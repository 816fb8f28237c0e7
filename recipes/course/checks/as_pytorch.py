"""Checks of lesson 12."""

import numpy as np
import torch
import torch.nn.functional as F

from checks.judge import Case, judge


def _parts(seed):
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=random)

    return {
        "conv_kernel": draw(3, 3, 3, 4),
        "gamma": draw(4),
        "beta": draw(4),
        "mean": draw(4),
        "variance": draw(4).abs() + 0.1,
    }


def _normalised(x, kernel, bias, parts=None):
    x = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, padding=1)
    if parts is None:
        return x
    return F.batch_norm(
        x, parts["mean"], parts["variance"], parts["gamma"], parts["beta"], eps=1e-3
    )


def check_forward(forward):
    """`forward(x, …)` is the model of the lesson in evaluation mode."""
    parts = _parts(0)
    head, bias = torch.ones(4, 2), torch.tensor([0.0, 1.0])
    x = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(1))

    def answer(images, head_kernel, head_bias):
        return forward(images, *parts.values(), head_kernel, head_bias)

    answer.__name__ = forward.__name__
    features = _normalised(x, parts["conv_kernel"], None, parts).relu().mean((2, 3))
    return judge(
        answer,
        [
            Case((x, head, bias), (features @ head + bias).numpy(), "In which order does torch "
                 "want a kernel's axes, and which mean and variance does evaluation use?", 1e-4),
        ],
        _as_arrays,
    )  # fmt: skip


def check_fold(fold):
    """`fold(…)` returns `(kernel, bias)` that do what convolution and normalisation did."""
    parts = _parts(2)
    x = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(3))

    def answer(gamma, beta):
        given = fold(*{**parts, "gamma": gamma, "beta": beta}.values())
        if given is None or given is Ellipsis:
            return None
        return _normalised(x, *given)

    answer.__name__ = fold.__name__
    cases = []
    for beta, hint in (
        (torch.zeros(4), "What does a channel's normalisation multiply its filter by?"),
        (parts["beta"], "The shift is multiplied too."),
    ):
        expected = _normalised(x, parts["conv_kernel"], None, {**parts, "beta": beta})
        cases.append(Case((parts["gamma"], beta), expected.numpy(), hint, 1e-3))
    return judge(answer, cases, _as_arrays)


def _as_arrays(answer, expected, tolerance):
    answer = np.asarray(torch.as_tensor(answer).detach())
    return answer.shape == expected.shape and np.allclose(
        answer, expected, rtol=tolerance, atol=tolerance
    )
