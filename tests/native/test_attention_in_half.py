"""Attention in bfloat16 on a CPU: the fused kernel, or another way where that is faster."""

from keras_dawn.native.lowering import attention_scores, lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.on_device import on_processor, torch

LENGTH = 6


@on_processor
def test_short_texts_in_bfloat16_are_trained_in_float32_within(monkeypatch):
    x = keras.Input((LENGTH, 6))
    model = keras.Model(x, layers.MultiHeadAttention(2, 3, dtype="mixed_bfloat16")(x, x))
    assert "attend_in_training" in lower(model, training=True).module.code
    assert "attend_in_training" not in lower(model, training=False).module.code
    query, key, value = torch.randn(3, 2, 4, LENGTH, 8).bfloat16()
    mask = torch.rand(2, LENGTH, LENGTH) < 0.7
    exact = attention_scores.attend(query.double(), key.double(), value.double(), mask, 0.3, False)
    error = {}
    for short in (0, LENGTH * LENGTH):
        monkeypatch.setattr(attention_scores, "SHORT", short)
        found = attention_scores.attend_in_training(query, key, value, mask, 0.3, False)
        assert found.dtype == torch.bfloat16
        error[short] = (found - exact).abs().mean()
    assert error[LENGTH * LENGTH] < 0.9 * error[0]


@on_processor
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("processor", ["amx", "avx512_amd"])
def test_texts_in_bfloat16_are_trained_by_products_of_matrices(monkeypatch, causal, processor):
    monkeypatch.setattr(attention_scores, "kind_of_processor", lambda: processor)
    given = torch.randn(3, 2, 4, 48, 32).bfloat16()
    parts, exact = given.clone().requires_grad_(), given.double().requires_grad_()
    answers = attention_scores.attend_in_training(*parts, None, 0.3, causal)
    expected = attention_scores.attend(*exact, None, 0.3, causal)
    assert "Softmax" in str(_functions(answers.grad_fn))
    np.testing.assert_allclose(answers.float().detach(), expected.detach(), atol=0.03)
    answers.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(parts.grad.float(), exact.grad, atol=0.12)


@on_processor
@pytest.mark.parametrize("causal", [False, True])
def test_on_amd_texts_in_bfloat16_are_predicted_by_products_of_matrices(monkeypatch, causal):
    def attended(processor, length=64, channels=64, mask=None):
        monkeypatch.setattr(attention_scores, "kind_of_processor", lambda: processor)
        torch.manual_seed(0)
        parts = torch.randn(3, 1, 2, length, channels).bfloat16()
        used = []
        monkeypatch.setattr(
            attention_scores, "_by_products", lambda *_: used.append(1) or written(*_)
        )
        return attention_scores.attend_in_half(*parts, mask, 0.2, causal), bool(used)

    written = attention_scores._by_products
    expected, by_products = attended("amx")
    assert not by_products
    found, by_products = attended("avx512_amd")
    assert by_products
    np.testing.assert_allclose(found.float(), expected.float(), atol=0.03)
    assert attended("avx512_amd", channels=32)[1] is not causal
    assert not attended("avx512_amd", length=1024)[1]
    assert not attended("avx512_amd", mask=torch.ones(1, 64, 64, dtype=torch.bool))[1]


@on_processor
def test_under_a_mask_without_amx_or_for_other_sizes_attention_stays_fused(monkeypatch):
    def softmax_of(processor, length, channels, mask=None):
        monkeypatch.setattr(attention_scores, "kind_of_processor", lambda: processor)
        parts = torch.randn(3, 1, 1, length, channels).bfloat16().requires_grad_()
        answers = attention_scores.attend_in_training(*parts, mask, 0.3, False)
        return "Softmax" in str(_functions(answers.grad_fn))

    assert softmax_of("amx", 64, 32)
    assert not softmax_of("amx", 64, 32, torch.ones(1, 64, 64, dtype=torch.bool))
    assert not softmax_of("avx512", 64, 32)
    assert not softmax_of("amx", 64, 16)
    assert not softmax_of("amx", 257, 32)
    assert not softmax_of("amx", 32, 32)


def _functions(node):
    """All functions that a gradient goes through."""
    if node is None:
        return []
    return [node, *(one for before, _ in node.next_functions for one in _functions(before))]
