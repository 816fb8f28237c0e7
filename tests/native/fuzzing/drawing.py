"""Draws a whole program from a seed."""

import dataclasses
import warnings

import keras

from tests.native.fuzzing import optimizers, targets
from tests.native.fuzzing.calls import CallsDraw
from tests.native.fuzzing.draw import Draw, Source, call
from tests.native.fuzzing.execution import precision
from tests.native.fuzzing.graphs import GraphDraw
from tests.native.fuzzing.own_steps import OWN_STEPS
from tests.native.fuzzing.programs import Program, structured

SHAPES = ((6, 6, 2), (5, 4, 3), (7, 6, 1), (4,), (6,), (5, 3), (4, 2))


def draw_program(seed, attempt=0):
    """A `Program`, or `None` where the draw led nowhere."""
    d = Draw(f"{seed}/{attempt}")
    name = d.weighted({"float64": 80, "float32": 17, "mixed_bfloat16": 2, "mixed_float16": 2})
    with precision(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if channels_first := d.chance(0.03):
            keras.config.set_image_data_format("channels_first")
        program = _draw(d, Program(seed, name))
    if program and channels_first:
        first = "keras.config.set_image_data_format('channels_first')"
        program = dataclasses.replace(program, prelude=(first,))
    return program


def _draw(d, program):
    kind = d.weighted({"functional": 5, "sequential": 2.5, "deferred": 0.7, "subclassed": 3})
    chain = kind in ("sequential", "deferred")
    inputs = _inputs(d, 1 if chain else d.weighted({1: 7, 2: 2, 3: 0.5}))
    graph = GraphDraw(d, kind, inputs)
    graph.grow(d.number(2, 7))
    learned = _targets(d, graph, 1 if chain else d.weighted({1: 7, 2: 2, 3: 0.5}))
    if not learned:
        return None
    program = dataclasses.replace(
        program,
        kind=kind,
        base=_base(d, kind),
        inputs=tuple(inputs),
        structure=(_structure(d, inputs), _structure(d, learned)),
        nodes=tuple(graph.nodes),
        outputs=tuple(target.name for target in learned),
        training_argument=_needs_training(graph.nodes) or d.chance(0.7),
    )
    if chain and not all(node.is_chain_link() or "adapted" in node.make for node in program.nodes):
        return None
    count, batch, tested = d.pick(7, 9, 11, 12), d.pick(3, 4, 5), d.pick(4, 6)
    data = _data(d, program, learned, count, tested)
    program = dataclasses.replace(program, data=data, first=_first(d, program))
    structure = program.structure[1]
    compiling = lambda: _compile(d, learned, structure)  # noqa: E731
    log_every = d.maybe(0.4, 1, 2)
    accelerate = f"model = {call('accelerate', Source('model'), log_every=log_every)}"
    order = [compiling(), accelerate]
    if d.chance(0.1):
        order.reverse()
    elif d.chance(0.08):
        order.insert(1, f"model.fit(x, y, batch_size={batch}, verbose=0)")
    if "weight_decay=" in order[0] and d.chance(0.3):
        exclude = "model.optimizer.exclude_from_weight_decay(var_names=['bias', 'gamma'])"
        order.insert(order.index(accelerate), exclude) if order[0] != accelerate else None
    program = dataclasses.replace(program, compile=tuple(order))
    draw = CallsDraw(d, program, learned, compiling, batch)
    return dataclasses.replace(program, calls=draw.draw(d.number(2, 4)))


def _inputs(d, count):
    inputs = []
    for number in range(count):
        name = "abc"[number]
        if d.chance(0.08):
            inputs.append((name, (5,), d.pick("int32", "float32", "int64", "bool")))
        else:
            same = inputs and inputs[-1][2] is None and d.chance(0.5)
            shape = inputs[-1][1] if same else d.pick(*SHAPES)
            if not same and len(shape) > 1 and d.chance(0.08):
                shape = (*(None for _ in shape[1:]), shape[-1])
            dtype = "uint8" if len(shape) == 3 and None not in shape and d.chance(0.06) else None
            inputs.append((name, shape, dtype))
    return inputs


def _targets(d, graph, count):
    """Heads on different tensors; later steps come first, so that little is left unused."""
    learned = []
    for _ in range(count):
        floats = [name for name in graph.names if graph.is_float(name)]
        if not floats:
            return None
        source = floats[-1] if not learned else d.pick(*floats)
        target = targets.target(d, graph, source)
        if target is None or target.name in ("a", "b", "c", *(t.name for t in learned)):
            continue
        learned.append(target)
    return learned


def _structure(d, items):
    return d.pick("list", "dict") if len(items) > 1 else d.weighted({"single": 10, "dict": 0.7})


def _base(d, kind):
    if kind in ("sequential", "deferred"):
        return "keras.Sequential"
    return d.pick(*OWN_STEPS) if d.chance(0.15) else "keras.Model"


def _needs_training(nodes):
    return any(node.only_training or "training=training" in node.call or "not training" in node.call
               for node in nodes)  # fmt: skip


def _data(d, program, learned, count, tested):
    names = [name for name, _, _ in program.inputs]

    def values(length):
        sources = []
        for _, shape, dtype in program.inputs:
            unknown = d.pick(5, 6, 7)
            shape = tuple(size or unknown for size in shape)
            if dtype == "uint8" or (dtype is None and d.chance(0.04)):
                whole = call("whole", d.data_seed(), 256, length, *shape, dtype="uint8")
                sources.append(whole)
                continue
            if dtype == "bool":
                dtype = d.pick("bool", "bool", "int32")
                sources.append(call("whole", d.data_seed(), 2, length, *shape, dtype=dtype))
            elif dtype in ("int32", "int64") or (dtype and d.chance(0.5)):
                dtype = dtype if d.chance(0.5) else None
                sources.append(call("whole", d.data_seed(), 5, length, *shape, dtype=dtype))
            elif dtype:
                sources.append(call("numbers", d.data_seed(), length, *shape))
            else:
                dtype = d.maybe(0.1, "float32", "float64")
                sources.append(call("numbers", d.data_seed(), length, *shape, dtype=dtype))
        return sources

    x_structure = program.structure[0]
    outputs = [target.name for target in learned]
    lines = [f"n, len_v = {count}, {tested}"]
    for x, y, length in (("x", "y", count), ("xv", "yv", tested)):
        ys = [target.y(length) for target in learned]
        lines.append(f"{x} = {structured(names, x_structure, values(length))}")
        lines.append(f"{y} = {structured(outputs, program.structure[1], ys)}")
    return tuple(lines)


def _first(d, program):
    """What builds the model, and other values for its weights."""
    randomize = "randomize(model, 3)"
    if program.kind in ("functional", "sequential"):
        return (randomize,)
    if d.chance(0.15):
        return ()  # the first call builds it
    build = d.pick("model(on_torch(x))", "model(x)", "model.predict(x, verbose=0)")
    return build, randomize


def _compile(d, learned, structure):
    names = [target.name for target in learned]
    losses = [target.loss for target in learned]
    if len(losses) > 1 and d.chance(0.08):
        losses[-1] = "None"
    loss = Source(structured(names, structure, losses))
    if len(names) > 1 and all(t.task == "regression" for t in learned) and d.chance(0.3):
        loss = "mse"
    settings = {"loss_weights": None}
    if len(names) > 1 and d.chance(0.4):
        weights = [str(d.pick(0.3, 1.0, 2.0)) for _ in names]
        settings["loss_weights"] = Source(structured(names, structure, weights))
    for name, chance in (("metrics", 0.75), ("weighted_metrics", 0.15)):
        if d.chance(chance):
            chosen = [
                f"[{', '.join(t.metrics if name == 'metrics' else t.metrics[:1])}]" for t in learned
            ]
            settings[name] = Source(structured(names, structure, chosen))
    settings["run_eagerly"] = d.maybe(0.01, True)
    half = keras.config.dtype_policy().name == "mixed_float16"
    optimizer = Source((optimizers.scaled_optimizer if half else optimizers.optimizer)(d))
    return call("model.compile", optimizer=optimizer, loss=loss, **settings)
