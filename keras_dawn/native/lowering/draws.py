"""Random numbers from the generators that Keras's layers have, the same as Keras draws.

Such a generator is a variable of two whole numbers: a seed and how often it was asked. Each
draw seeds a new generator of torch's with their sum, and adds one to the second. In place of the
variable there may be a whole number, which is the seed of every draw, or `None` for the generator
that Keras has for all.
"""

from keras_dawn.foundation.keras_random import next_global_seed

import torch
import torch.nn.functional as F
from torch.fx.node import has_side_effect
from torch.utils.weak import WeakIdKeyDictionary


def _apart(function):
    """A function that `torch.compile` leaves out: it follows tensors, and a generator is none."""
    left_out = torch.compiler.disable(function)

    def draw(*args):  # where nothing is compiled, the detour takes longer than a small draw
        return (left_out if torch.compiler.is_compiling() else function)(*args)

    return draw


_ONE_MORE = torch.tensor([0, 1], device="cpu")
_KNOWN = WeakIdKeyDictionary()  # state on a device → (its version, seed, count)


@has_side_effect
def uniform(state, like, shape, low=0.0, high=1.0, dtype=None):
    """Evenly distributed numbers, as `keras.random.uniform` with a `SeedGenerator`.

    Args:
        state: tensor of two whole numbers, the generator's variable; it is counted up.
        like: tensor on whose device the numbers are drawn.
        shape: tuple; `None` stands for the size that `like` has there.
        low, high: float.
        dtype: of the numbers; `None` for Keras's `floatx`.
    """
    drawn = _rand(state, like.device, _sizes(shape, like) or (1,), dtype)
    drawn = drawn[0] if shape == () else drawn
    return drawn if (low, high) == (0, 1) else (high - low) * drawn + low


@has_side_effect
def normal(state, like, shape, mean, deviation, dtype):
    """Normally distributed numbers, as `keras.random.normal`; see `uniform`."""
    return _normal(state, like.device, _sizes(shape, like), mean, deviation, dtype)


@has_side_effect
def normal_like(state, like, mean, deviation):
    """Normally distributed numbers in the shape and dtype of a tensor; see `uniform`."""
    return _normal(state, like.device, like.shape, mean, deviation, like.dtype)


@has_side_effect
def truncated_normal(state, like, shape, mean, deviation, dtype):
    """The same, within two deviations: of four numbers the first that is; see `uniform`."""
    four = _normal(state, like.device, (*_sizes(shape, like), 4), 0, 1, dtype)
    first = ((four > -2) & (four < 2)).max(-1, keepdim=True)[1]
    return four.gather(-1, first).squeeze(-1) * deviation + mean


def of_one_batch(*tensors):
    """The first of tensors that have to have the same first size."""
    sizes = {tensor.shape[0] for tensor in tensors}
    if len(sizes) > 1:
        raise ValueError(f"Expected inputs of one batch size, got {sorted(sizes)}.")
    return tensors[0]


@has_side_effect
def whole(state, like, shape, low, high, dtype):
    """Whole numbers from `low` to below `high`, as `keras.random.randint`; see `uniform`."""
    return _whole(state, like.device, _sizes(shape, like), low, high, dtype)


@has_side_effect
def skip(state, draws):
    """Counts draws that Keras makes and does not use."""
    with torch.no_grad():
        state[1].add_(draws)


@has_side_effect
def drop(x, state, rate, shape):
    """Dropout with one draw for each place of a shape; see `uniform`.

    Args:
        x: tensor of floats.
        state: tensor of two whole numbers, the generator's variable.
        rate: float, the fraction that becomes 0; what is left is scaled.
        shape: tuple; `None` stands for the size that `x` has there. Or `None`, all of them.
    """
    kept = _kept(state, x, 1.0 - rate, _sizes(shape, x))
    return torch.where(kept, x / (1.0 - rate), torch.zeros_like(x))


def has_effects(node):
    """Whether a node of a graph counts even if nobody uses its result: a draw, for one."""
    return node.target is F.dropout or node.is_impure()


def draws_from_torch(node):
    """Whether a node of a graph draws from torch's own generators, as recurrent dropout does."""
    return node.target is F.dropout or node.kwargs.get("dropout") is not None


def _sizes(shape, like):
    if shape is None:
        return tuple(like.shape)
    return tuple(like.shape[axis] if size is None else size for axis, size in enumerate(shape))


@_apart
def _rand(state, device, shape, dtype):
    generator = _generator(state, device)
    return torch.rand(shape, generator=generator, dtype=dtype, device=device)


@_apart
def _whole(state, device, shape, low, high, dtype):
    generator = _generator(state, device)
    return torch.randint(low, high, shape, generator=generator, dtype=dtype, device=device)


@_apart
def _normal(state, device, shape, mean, deviation, dtype):
    generator = _generator(state, device)
    return torch.normal(mean, deviation, shape, generator=generator, dtype=dtype, device=device)


@_apart
def _kept(state, x, fraction, shape):
    fractions = torch.full(shape, fraction, device=x.device)  # in the default dtype, as in Keras
    return torch.bernoulli(fractions, generator=_generator(state, x.device)).bool()


def _generator(state, device):
    generator = torch.Generator(device)
    generator.manual_seed(_next_seed(state) & 0xFFFFFFFF)
    return generator


def _next_seed(state):
    """The seed of the next draw, which is counted.

    To read the numbers from a GPU would wait for all that it has to do; so they are kept here
    for as long as nobody else writes to the tensor.
    """
    if not isinstance(state, torch.Tensor):
        return next_global_seed() if state is None else state
    version, seed, count = (None, 0, 0) if state.is_cpu else _KNOWN.get(state, (None, 0, 0))
    if version != state._version:
        seed, count = state.tolist()
    if state.is_cpu:
        state.add_(_ONE_MORE)
    else:
        state[1].add_(1)
        _KNOWN[state] = state._version, seed, count + 1
    return seed + count
