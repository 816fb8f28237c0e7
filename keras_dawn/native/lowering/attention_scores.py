"""What attention computes, as functions that lowered graphs call; all masks are Keras's."""

from keras_dawn.convolutions.processor import kind_of_processor

import torch
import torch.nn.functional as F


def combined_mask(query, value, masks, given=None, causal=False, window=None):
    """Which positions may look at which, as Keras combines its masks.

    Args:
        query, value: tensors `(batch, length, …)`, of which only the lengths count.
        masks: masks `(batch, length)` of query, value and key; `None` for none.
        given: mask `(…, query length, value length)` of the caller's, or `None`.
        causal: bool, whether a position looks at itself and those before it only.
        window: int or `None`, how far a position looks.

    Returns:
        bool tensor `(batch or 1, query length, value length)`, or of more axes if `given` has
        more; `None` if every position looks at all, or `causal` is all there is.
    """
    of_query, of_value, of_key = masks
    parts = []
    if of_query is not None:
        parts.append(of_query.bool().unsqueeze(-1))
    parts += [mask.bool().unsqueeze(-2) for mask in (of_value, of_key) if mask is not None]
    if window is not None:
        rows, columns = _positions(query, value)
        parts.append((rows - columns).abs() < window)
    if given is not None:
        parts.append(given.bool())
    if not parts:
        return None
    if causal:
        parts.append(causal_mask(query, value))
    mask = parts[0]
    for part in parts[1:]:
        mask = mask & part
    return mask


def causal_mask(query, value):
    """`(1, query length, value length)`: true for a position itself and those before it."""
    rows, columns = _positions(query, value)
    return rows >= columns


def _positions(query, value):
    rows = torch.arange(query.shape[1], device=query.device)
    columns = torch.arange(value.shape[1], device=query.device)
    return rows.view(1, -1, 1), columns.view(1, 1, -1)


def attend(query, key, value, mask, scale, causal):
    """Attention of heads `(batch, heads, length, channels)` under a mask that may be `None`.

    The mask is added, so that a position that may look at nothing looks at all alike, as in
    Keras.
    """
    if mask is not None:
        while mask.ndim < 4:
            mask = mask.unsqueeze(-3)
        # Keras's numbers: 0.7 of the lowest there is, so that a score added to it stays finite.
        lowest = -45850.0 if query.dtype == torch.float16 else -0.7 * 3.38953e38
        mask = torch.where(mask, query.new_zeros(()), query.new_full((), lowest))
    causal = causal and mask is None
    return F.scaled_dot_product_attention(query, key, value, mask, 0.0, causal, scale=scale)


SHORT = 256 * 256  # scores of a head


def attend_in_half(query, key, value, mask, scale, causal):
    """`attend` in bfloat16 on a CPU outside training: written out where that is faster.

    On an AMD EPYC products of matrices take 0.51 to 0.81 of the fused kernel's time within
    `_is_for_products`, from 64 channels on where a position looks at those before it only (torch
    2.14, one thread, 32 and 64 channels, 48 to 512 positions, once). Elsewhere they were not
    measured.
    """
    amd = kind_of_processor() == "avx512_amd" and key.shape[3] >= (64 if causal else 32)
    if amd and mask is None and _is_for_products(query, key, causal):
        return _by_products(query, key, value, scale, causal)
    return attend(query, key, value, mask, scale, causal)


def attend_in_training(query, key, value, mask, scale, causal):
    """`attend` in bfloat16 on a CPU: short texts written out, or in float32 within.

    For up to 200 positions torch 2.14's fused kernel takes 1.4 to 5 times as long for both passes
    in bfloat16 as in float32, for 512 and more less (one thread of an Intel Xeon with AMX; 1.2 to 7
    times on an AMD EPYC). Where `_is_for_products` says so, products of matrices take 0.5 to 0.9 of
    its time in float32 on that Xeon, 1.0 at the bounds, and 0.37 to 0.71 on that EPYC (once).
    """
    if mask is None and _is_for_products(query, key, causal):
        return _by_products(query, key, value, scale, causal)
    if query.shape[2] * key.shape[2] > SHORT:
        return attend(query, key, value, mask, scale, causal)
    parts = query.float(), key.float(), value.float()
    return attend(*parts, mask, scale, causal).to(query.dtype)


def _is_for_products(query, key, causal):
    """Whether two products of matrices are faster than the fused kernel where no mask is given.

    Under masks it stays the kernel, as in Keras: its gradients are others for a position that may
    look at nothing. Up to 8 times as many positions as a head has channels the scores also take no
    more memory than copies in float32 would.
    """
    length, channels = key.shape[2:]
    measured = channels >= 32 and min(query.shape[2], length) >= 48
    fast = measured and max(query.shape[2], length) <= channels * (4 if causal else 8)
    return fast and kind_of_processor() in ("amx", "avx512_amd")


def _by_products(query, key, value, scale, causal):
    scores = (query * scale) @ key.mT  # the query and not the scores, as in Keras
    if causal:
        mask = causal_mask(query.transpose(1, 2), key.transpose(1, 2))
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, -1) @ value


def attend_by_flash(query, key, value, mask, scale, causal):
    """`attend` by torch's flash kernel or not at all."""
    kernel = torch.nn.attention.SDPBackend.FLASH_ATTENTION
    with torch.nn.attention.sdpa_kernel([kernel]):
        return attend(query, key, value, mask, scale, causal)


def over_heads(mask, rank, axes):
    """A mask, or `None`, with ones for axes of scores `(batch, …, heads, query axes, key axes)`.

    Args:
        rank: int, how many axes the scores have; those that the mask has not come before those of
            the query.
        axes: int, how many of them are of the query, and of the key.
    """
    while mask is not None and mask.ndim < rank:
        mask = mask.unsqueeze(-2 * axes - 1)
    return mask


def masked_softmax(x, mask, axes):
    """Softmax over some axes as `keras.layers.Softmax` has it; 0 where the mask is false.

    Args:
        x: float tensor.
        mask: bool tensor, or numbers of which those above 0.5 count as true, that broadcasts to
            `x`; or `None`.
        axes: tuple of int.
    """
    if mask is not None:
        sizes = zip(reversed(mask.shape), reversed(x.shape), strict=False)
        if mask.ndim > x.ndim or any(one not in (1, size) for one, size in sizes):
            raise ValueError(
                "The mask of a softmax has to broadcast to its inputs. Got a mask of shape "
                f"{tuple(mask.shape)} with inputs of shape {tuple(x.shape)}."
            )
        mask = mask if mask.dtype == torch.bool else mask > 0.5
        # Keras's numbers again, which differ from those of its attention layers.
        x = torch.where(mask, x, -3e4 if x.dtype == torch.float16 else -1e9)
    if len(axes) == 1:
        weights = torch.softmax(x, axes[0])
    else:
        weights = torch.exp(x - torch.logsumexp(x, axes, keepdim=True))
    return weights if mask is None else torch.where(mask, weights, 0.0)


def mask_or_causal(mask, query, value, causal):
    """A mask to be written out, where nothing fuses the causal one."""
    return causal_mask(query, value) if causal and mask is None else mask


def lower_where_masked(scores, mask, causal):
    """Scores `(batch, query length, value length)` of `keras.layers.Attention` under its masks.

    Args:
        mask: `(batch, value length)`, or `None`.
        causal: bool.
    """
    mask = mask if mask is None else mask.bool()
    if causal:
        triangle = causal_mask(scores[..., 0], scores.mT[..., 0])
        mask = triangle if mask is None else mask.unsqueeze(-2) & triangle
    elif mask is not None and mask.ndim == 2:
        mask = mask.unsqueeze(-2)
    if mask is None:
        return scores
    # Taken from the score, not put in its place: where all is masked, scores still count, as in
    # Keras.
    lowest = 65504.0 if scores.dtype == torch.float16 else 1.0e9
    return torch.where(mask, scores, scores - lowest)


def zero_where_masked(outputs, mask):
    """Zeros in place of the outputs at masked positions of the query."""
    return outputs if mask is None else torch.where(mask.bool().unsqueeze(-1), outputs, 0.0)
