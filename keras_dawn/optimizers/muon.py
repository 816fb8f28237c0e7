"""Orthogonalised momentum for matrices and filters."""

import math
import numbers
import re

from keras_dawn.foundation.norms import norms_of
from keras_dawn.optimizers.numbers_in_range import number
from keras_dawn.optimizers.patterns import check_patterns, is_vector, matches
from keras_dawn.optimizers.sgd import SGD

import keras
import numpy as np
import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients
_ADJUSTMENTS = ("original", "match_rms_adamw", None)
# Kernels (inputs, heads, size of a head) of Keras's attention.
_HEADS = re.compile(r"(^|/)(query|key|value)/kernel$")


@keras.saving.register_keras_serializable(package="keras_dawn")
class Muon(SGD):
    """Muon for filters and matrices, SGD in torch's form for the rest.

    The momentum of each kernel, as a matrix of outputs by inputs (a filter's pixels and input
    channels together, all heads of attention together), is replaced by the nearest matrix with
    orthogonal rows or columns, found by a Newton-Schulz iteration (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon):

        v ← momentum · v + g
        w ← (1 − learning_rate · weight_decay) · w
        w ← w − learning_rate · adjustment · orthogonal(g + momentum · v)

    `torch.optim.Muon` and `keras.optimizers.Muon` do that to matrices alone; filters of
    convolutions are left to another rule there. Here what is not orthogonalised (weights of one
    dimension, biases and scales of more, what matches `exclude`) is updated as by `SGD` with the
    same learning rate, times its multiplier in `rate_multipliers`.

    Args:
        learning_rate: float or a `LearningRateSchedule`.
        momentum, nesterov: as for `SGD`.
        weight_decay: float, decoupled for what is orthogonalised.
        exclude: list of regular expressions; kernels whose path matches one are updated by SGD.
            By default embeddings, depthwise filters and the layer named `predictions`.
        sgd_momentum: float in [0, 1), momentum of what SGD updates; by default the same.
        adjustment: `"original"` (√max(1, outputs / inputs)), `"match_rms_adamw"`
            (0.2 · √max(outputs, inputs), for rates as AdamW has them), or `None` for 1.
        normalize_weights: bool, whether to give each kernel the norm √outputs before each step,
            as Jordan's CIFAR-10 record does.
        newton_schulz_steps: int from 1 up.
        newton_schulz_coefficients: three floats a, b, c of a step of that iteration,
            x ← a x + (b x xᵀ + c (x xᵀ)²) x; by default Jordan's. Or three for each step, such as
            those of Polar Express (Amsel et al. 2025, https://arxiv.org/abs/2505.16932).
        compute_dtype: `"bfloat16"` as in torch, or another floating dtype, of that iteration; a
            processor without bfloat16 instructions is faster with `"float32"`.
        **kwargs: `rate_multipliers`, `no_decay` and the other arguments of `SGD`.

    Raises:
        ValueError: a value out of range, or a bad regular expression.

    Example:
        >>> optimizer = keras_dawn.optimizers.Muon(0.02, rate_multipliers={"bias|gamma|beta": 0.5})
        >>> optimizer.newton_schulz_steps
        5
    """

    def __init__(
        self,
        learning_rate=0.02,
        momentum=0.95,
        nesterov=True,
        weight_decay=0.0,
        *,
        exclude=("embedding", "depthwise", "predictions"),
        sgd_momentum=None,
        adjustment="original",
        normalize_weights=False,
        newton_schulz_steps=5,
        newton_schulz_coefficients=NEWTON_SCHULZ,
        compute_dtype="bfloat16",
        **kwargs,
    ):
        if sgd_momentum is not None:
            sgd_momentum = number("sgd_momentum", sgd_momentum, "in [0, 1)", below=1)
        if adjustment not in _ADJUSTMENTS:
            raise ValueError(f"`adjustment` must be one of {_ADJUSTMENTS}, got {adjustment!r}.")
        if not isinstance(newton_schulz_steps, int) or newton_schulz_steps < 1:
            raise ValueError(
                f"`newton_schulz_steps` must be a whole number from 1 up, got "
                f"{newton_schulz_steps!r}."
            )
        try:
            given = np.array(newton_schulz_coefficients, dtype=float)
        except (TypeError, ValueError):  # not all of them are numbers, or of one length
            given = np.empty(0)
        if given.shape not in ((3,), (newton_schulz_steps, 3)):
            raise ValueError(
                "`newton_schulz_coefficients` must be three, or three for each of the "
                f"{newton_schulz_steps} steps, got {newton_schulz_coefficients}."
            )
        if not getattr(getattr(torch, compute_dtype, None), "is_floating_point", False):
            raise ValueError(f"`compute_dtype` must be a floating dtype, got {compute_dtype!r}.")
        super().__init__(learning_rate, momentum, nesterov, weight_decay, **kwargs)
        self.exclude = check_patterns(exclude)
        self.sgd_momentum = sgd_momentum
        self.adjustment = adjustment
        self.normalize_weights = bool(normalize_weights)
        self.newton_schulz_steps = newton_schulz_steps
        given = given.tolist()
        each = isinstance(given[0], list)
        self.newton_schulz_coefficients = tuple(map(tuple, given) if each else given)
        self.compute_dtype = compute_dtype

    def _kind(self, variable):
        if is_vector(variable) or matches(self.exclude, variable):
            return "plain"
        heads = len(variable.shape) == 3 and _HEADS.search(variable.path)
        return "heads" if heads else "orthogonal"

    def _momentum_of(self, traits):
        if traits.kind == "plain" and self.sgd_momentum is not None:
            return self.sgd_momentum
        return super()._momentum_of(traits)

    def _update_group(self, traits, weights, gradients, velocities, rate):
        if traits.kind == "plain":
            super()._update_group(traits, weights, gradients, velocities, rate)
            return
        rate = rate.to(weights[0].dtype)
        if traits.decay and self._weight_decay:
            torch._foreach_mul_(weights, (1 - rate * self._decay_of(traits)).to(rate.dtype))
        directions = self._directions(gradients, velocities, self._momentum_of(traits))
        axes = 2 if traits.kind == "heads" else 1  # the last ones, of the outputs
        if self.normalize_weights:
            sizes = norms_of(weights)
            roots = [math.prod(weight.shape[-axes:]) ** 0.5 for weight in weights]
            factors = [root / size for root, size in zip(roots, sizes, strict=True)]
            torch._foreach_mul_(weights, factors)
        same = {}  # matrices of one shape go through the iteration together
        for weight, direction in zip(weights, directions, strict=True):
            outputs = math.prod(direction.shape[-axes:])
            matrix = direction.reshape(-1, outputs)  # inputs by outputs
            # A filter's inputs lie beside each other in memory; passes over it follow its rows.
            turned = matrix.stride(0) == 1
            same.setdefault((*matrix.shape, turned), []).append((weight, matrix))
        for (inputs, outputs, turned), pairs in same.items():
            factor = _adjustment(self.adjustment, outputs, inputs)
            steps = orthogonalize(
                torch.stack([matrix.mT if turned else matrix for _, matrix in pairs]),
                self.newton_schulz_steps,
                getattr(torch, self.compute_dtype),
                self.newton_schulz_coefficients,
            )
            for (weight, matrix), step in zip(pairs, steps, strict=True):
                step = rate * factor * step.to(matrix.dtype)
                weight.sub_((step.mT if turned else step).reshape(weight.shape))

    def get_config(self):
        config = super().get_config()
        for name in ("exclude", "sgd_momentum", "adjustment", "normalize_weights", "compute_dtype",
                     "newton_schulz_steps", "newton_schulz_coefficients"):  # fmt: skip
            config[name] = getattr(self, name)
        return config


def orthogonalize(matrices, steps=5, dtype=torch.bfloat16, coefficients=NEWTON_SCHULZ):
    """About the nearest matrices with orthogonal rows or columns: all singular values near 1.

    A quintic Newton-Schulz iteration; Jordan's coefficients bring singular values to between
    about 0.7 and 1.2.

    Args:
        matrices: `(..., rows, columns)`.
        steps: int. dtype: torch dtype to compute in.
        coefficients: three floats, or three for each step.

    Returns:
        Tensor of the same shape, of `dtype`.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]  # the smaller of the two products x xᵀ
    x = matrices.reshape(-1, *matrices.shape[-2:]).to(dtype)
    x = x.mT if tall else x
    # The iteration converges for singular values up to 1, and the Frobenius norm bounds them.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for a, b, c in _of_each_step(coefficients, steps):
        gram = x @ x.mT
        # Products that add what is there round once, and pass over the memory once.
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).reshape(matrices.shape)


def _of_each_step(coefficients, steps):
    """Coefficients of an iteration's steps: those given, or the same three for each."""
    same = isinstance(coefficients[0], numbers.Real)
    return [coefficients] * steps if same else list(coefficients)


def _adjustment(kind, outputs, inputs):
    if kind == "original":
        return max(1.0, outputs / inputs) ** 0.5
    return 0.2 * max(outputs, inputs) ** 0.5 if kind else 1.0
