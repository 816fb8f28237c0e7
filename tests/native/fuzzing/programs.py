"""A drawn program: what it consists of, and its source, one statement a string."""

import textwrap
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Node:
    """One step of a model's computation.

    Args:
        target: str, the name of the result.
        call: str, the expression, with `{me}` before the names of layers.
        inputs: tuple of the names that it reads.
        layer, make: name and source of the layer that it calls for the first time, if any.
        only_training: bool, whether it is left out outside of training (subclassed models).
        weight: str or `None`, source of a weight of the model's own, kept under `layer`.
    """

    target: str
    call: str
    inputs: tuple
    layer: str | None = None
    make: str | None = None
    only_training: bool = False

    def line(self, me=""):
        return f"{self.target} = {self.call.format(me=me)}"

    def is_chain_link(self):
        """Whether a Sequential can hold it."""
        plain = f"{{me}}{self.layer}({self.inputs[0]})" if self.inputs else None
        return self.make is not None and self.call == plain


@dataclass(frozen=True)
class Program:
    """A model, what it is compiled with, and what is done with it.

    Args:
        seed: int.
        precision: `"float64"`, `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.
        kind: `"functional"`, `"sequential"`, `"deferred"` (a Sequential without Input) or
            `"subclassed"`.
        base: str, the class that the model is of, or inherits from.
        inputs: tuple of `(name, shape without batch, dtype or None)`.
        structure: `(inputs, outputs)`, each `"single"`, `"list"` or `"dict"`.
        nodes: tuple of `Node`.
        outputs: tuple of the names of the nodes that are handed out.
        training_argument: bool, whether a subclassed model's `call` has one.
        prelude, data, first, compile, calls: tuples of statements: before the model, the
            data, what builds it, what compiles and accelerates it, what is done with it.
    """

    seed: int
    precision: str
    kind: str = "functional"
    base: str = "keras.Model"
    inputs: tuple = ()
    structure: tuple = ("single", "single")
    nodes: tuple = ()
    outputs: tuple = ()
    training_argument: bool = True
    prelude: tuple = ()
    data: tuple = ()
    first: tuple = ()
    compile: tuple = ()
    calls: tuple = ()
    marks: frozenset = field(default_factory=frozenset)

    def making(self):
        """The statements up to the first call."""
        model = {
            "functional": self._functional,
            "sequential": self._sequential,
            "deferred": self._sequential,
            "subclassed": self._subclassed,
        }[self.kind]()
        return [*self.prelude, *self.data, *model, *self.first]

    def doing(self):
        """The statements that are compared one by one."""
        return [*self.compile, *self.calls]

    def source(self):
        """All of it, to be read and replayed."""
        lines = [f"# seed {self.seed}, {self.precision}", *self.making(), *self.doing()]
        return "\n".join(lines)

    def _input_lines(self):
        for name, shape, dtype in self.inputs:
            dtype = f", dtype={dtype!r}" if dtype else ""
            yield f"{name} = keras.Input({shape!r}{dtype}, name={name!r})"

    def _functional(self):
        names = [name for name, _, _ in self.inputs]
        yield from self._input_lines()
        for node in self.nodes:
            if node.make:
                yield f"{node.layer} = {node.make}"
            yield node.line()
        yield (
            f"model = {self.base}({structured(names, self.structure[0])}, "
            f"{structured(self.outputs, self.structure[1])}, name='net')"
        )

    def _sequential(self):
        layers = [node.make for node in self.nodes]
        if self.kind == "sequential":
            _, shape, dtype = self.inputs[0]
            layers.insert(0, f"keras.Input({shape!r}{f', dtype={dtype!r}' if dtype else ''})")
        yield f"model = keras.Sequential([{', '.join(layers)}], name='net')"

    def _subclassed(self):
        names = [name for name, _, _ in self.inputs]
        makes = [f"self.{node.layer} = {node.make}" for node in self.nodes if node.make]
        body = []
        if self.structure[0] == "dict":
            body += [f"{name} = inputs[{name!r}]" for name in names]
        else:
            body.append(f"{', '.join(names)} = inputs")
        for node in self.nodes:
            if node.only_training:
                body += [f"{node.target} = {node.inputs[0]}", "if training:"]
                body.append(f"    {node.line('self.')}")
            else:
                body.append(node.line("self."))
        body.append(f"return {structured(self.outputs, self.structure[1])}")
        arguments = "self, inputs, training=None" if self.training_argument else "self, inputs"
        yield "\n".join(
            [
                f"class Net({self.base}):",
                "    def __init__(self):",
                "        super().__init__(name='net')",
                *(textwrap.indent(line, " " * 8) for line in makes),
                f"    def call({arguments}):",
                *(textwrap.indent(line, " " * 8) for line in body),
            ]
        )
        yield "model = Net()"


def structured(names, structure, values=None):
    """The source of names (or of their values) as one, a list or a dict."""
    values = values or names
    if structure == "single":
        return values[0]
    if structure == "list":
        return f"[{', '.join(values)}]"
    return f"{{{', '.join(f'{n!r}: {v}' for n, v in zip(names, values, strict=True))}}}"
