"""Operators, functions of `keras.ops` and constants: sources, with the tensors they read."""

from tests.native.fuzzing.draw import Source, call


def operator(d, source, other):
    """An operator between tensors, or a tensor and a number."""
    number = d.pick("0.5", "2", "-1.5", "3", "np.float32(0.5)", "np.float64(0.25)", "True")
    pattern, inputs = d.pick(
        *[(f"{source} {sign} {number}", [source]) for sign in "+-*/*"],
        *[(f"{number} {sign} {source}", [source]) for sign in "+-*"],
        *[(f"{source} {sign} {other}", [source, other]) for sign in "+-*+"],
        (f"1.0 / ({source} * {source} + 1)", [source]),
        (f"-{source}", [source]),
        (f"{source} ** 2", [source]),
        (f"{source}[:, :2]", [source]),
        (f"{source}[:, ..., 1:]", [source]),
    )
    return pattern, inputs


def operation(d, source, other, axis):
    """A function of `keras.ops`."""
    one = [
        "ops.tanh({x})", "ops.sigmoid({x})", "ops.relu({x})", "ops.abs({x})",
        "ops.mean({x}, axis=-1, keepdims=True)", "ops.max({x}, axis={axis})",
        "ops.sum({x}, axis={axis})", "ops.softmax({x}, axis={axis})",
        "ops.maximum({x}, 0.1)", "ops.minimum(0.3, {x})", "ops.clip({x}, -1.0, 1.0)",
        "ops.expand_dims({x}, {axis})", "ops.squeeze(ops.expand_dims({x}, 1), 1)",
        "ops.flip({x}, axis={axis})", "ops.split({x}, 2, axis=-1)[0]", "ops.square({x})",
        "ops.cast({x}, 'float32')", "ops.stop_gradient({x})", "ops.gelu({x}, approximate=True)",
        "keras.activations.silu({x})", "ops.multiply({x}, 0.5)", "ops.log1p(ops.square({x}))",
    ]  # fmt: skip
    two = [
        "ops.maximum({x}, {y})", "ops.minimum({x}, {y})", "ops.add({x}, {y})",
        "ops.concatenate([{x}, {y}], axis=-1)", "ops.where({x} > 0, {x}, {y})",
        "ops.stack([{x}, {y}], axis=1)", "ops.einsum('b...,b...->b...', {x}, {y})",
        "ops.divide({x}, 1 + ops.square({y}))", "ops.subtract({x}, {y})",
    ]  # fmt: skip
    if d.chance(0.7):
        return d.pick(*one).format(x=source, axis=axis), [source]
    return d.pick(*two).format(x=source, y=other), [source, other]


def constant(d, source, size):
    """A tensor and a constant of the size of its last axis."""
    values = call("numbers", d.data_seed(), size, dtype=d.maybe(0.3, "float64"))
    values = d.pick(
        values,
        Source([0.5] * size),
        Source(f"np.array({[0.5] * size})"),
        Source(f"np.arange({size})"),
        Source(f"ops.ones(({size},))"),
        Source(f"torch.ones({size}, dtype=torch.float64)"),
    )
    pattern = d.pick(
        "{x} * {v}", "{x} + {v}", "{x} - {v}", "ops.multiply({x}, {v})", "ops.add({v}, {x})"
    )
    return pattern.format(x=source, v=values), [source]
