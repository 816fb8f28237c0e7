"""Draws a model's computation: branches, merges, shared layers, models inside, operators.

Every step is tried on symbolic tensors as it is drawn, so that shapes are known; what Keras
refuses is drawn again.
"""

import keras

from tests.native.fuzzing import layer_settings, operations
from tests.native.fuzzing.draw import Source, call
from tests.native.fuzzing.execution import namespace
from tests.native.fuzzing.programs import Node
from tests.native.fuzzing.subclass_steps import SubclassSteps

LARGEST = 400  # numbers in one example of a tensor


class GraphDraw(SubclassSteps):
    """Draws nodes and knows the shapes of what they return.

    Args:
        d: `Draw`.
        kind: the program's kind; only subclassed models have `if training` and own weights.
        inputs: as for `Program`.
    """

    def __init__(self, d, kind, inputs):
        self.d = d
        self.kind = kind
        self.nodes = []
        self.tensors = namespace()
        self.names = []  # of tensors, in the order in which they were made
        self.shared = []  # (name of the layer, the shape that it was called on)
        self._count = 0
        for name, shape, dtype in inputs:
            self.tensors[name] = keras.Input(shape, dtype=dtype, name=name)
            self.names.append(name)

    def shape(self, name):
        return self.tensors[name].shape

    def is_float(self, name):
        return "float" in self.tensors[name].dtype

    def grow(self, steps):
        """Adds steps that Keras accepts."""
        failures = 0
        while steps and failures < 40:
            before = len(self.nodes)
            self._one_step()
            if len(self.nodes) > before:
                steps -= 1
            else:
                failures += 1

    def add(self, call, inputs, layer=None, make=None, only_training=False):
        """Tries a node; returns the name of its result, or `None` if it cannot be."""
        target = f"t{len(self.nodes) + 1}"
        node = Node(target, call, tuple(inputs), layer, make, only_training)
        trial = dict(self.tensors)
        try:
            if make:
                trial[layer] = eval(make, trial)
            exec(node.line(), trial)
        except Exception:
            return None
        result = trial[target]
        if not isinstance(result, keras.KerasTensor) or not _small(result):
            return None
        if only_training and result.shape != self.shape(inputs[0]):
            return None
        self.tensors = trial
        self.nodes.append(node)
        self.names.append(target)
        return target

    def add_layer(self, make, inputs, arguments="", **settings):
        """A node that calls a new layer."""
        self._count += 1
        layer = f"l{self._count}"
        named = f"{make[:-1]}, name={layer!r})" if "(" in make else make
        if make.endswith("()"):
            named = f"{make[:-1]}name={layer!r})"
        if make.startswith(("adapted(", "built(")):
            inner = f"layers.Normalization(name={layer!r}, "
            named = make.replace("layers.Normalization(", inner, 1).replace(", )", ")", 1)
        joined = inputs[0] if len(inputs) == 1 else f"[{', '.join(inputs)}]"
        call = f"{{me}}{layer}({joined}{arguments})"
        target = self.add(call, inputs, layer, named, **settings)
        if target and len(inputs) == 1 and not arguments:
            self.shared.append((layer, self.shape(inputs[0])))
        return target

    def recent(self):
        """A tensor, mostly a late one."""
        if self.kind in ("sequential", "deferred") or self.d.chance(0.75):
            return self.names[-1]
        return self.d.pick(*self.names)

    def _one_step(self):
        source = self.recent()
        if not self.is_float(source):
            return self._from_numbers(source)
        if self.kind in ("sequential", "deferred"):
            return self._layer(source)
        choices = {
            self._layer: 10,
            self._merge: 2.5,
            self._operator: 3,
            self._operation: 1.5,
            self._constant: 1,
            self._again: 1.5,
            self._inside: 1.2,
            self._forced_mode: 0.6,
            self._several_outputs: 0.2,
            self._attention: 0.4,
        }
        if self.kind == "subclassed":
            choices |= {self._only_training: 2.5, self._own_weight: 1.5, self._by_mode: 1.5}
            choices |= {self._own_state: 0.8}
        return self.d.weighted(choices)(source)

    def _from_numbers(self, source):
        """What may be done to whole numbers."""
        if len(self.shape(source)) == 4:
            self.add_layer(layer_settings.rescaling(self.d, self.shape(source)), [source])
            return
        mask = self.d.maybe(0.3, True)
        if self.kind not in ("sequential", "deferred") and self.d.chance(0.3):
            return self._there_and_back(source, mask)
        table = call("layers.Embedding", 5, self.d.pick(2, 3), mask_zero=mask)
        self.add_layer(table, [source])

    def _there_and_back(self, source, mask):
        """Words looked up in a table, and scores of all words by the same table."""
        settings = {"mask_zero": mask, "tie_weights": self.d.maybe(0.3, False)}
        table = call("layers.ReversibleEmbedding", 5, 3, **settings)
        vectors = self.add_layer(table, [source])
        if vectors:
            back = f"{{me}}l{self._count}({vectors}, reverse=True)"
            self.add(back, [vectors])

    def _layer(self, source):
        self.add_layer(layer_settings.layer(self.d, self.shape(source)), [source])

    def _again(self, source):
        """A layer that has been called already, on another tensor of the same shape."""
        fitting = [
            (layer, name)
            for layer, shape in self.shared
            for name in self.names[-4:]
            if self.shape(name) == shape
        ]
        if fitting:
            layer, name = self.d.pick(*fitting)
            self.add(f"{{me}}{layer}({name})", [name])

    def _same_shape(self, source, count):
        same = [n for n in self.names if self.shape(n) == self.shape(source) and self.is_float(n)]
        return [source, *(self.d.pick(*same) for _ in range(count))]

    def _merge(self, source):
        kind = self.d.pick(
            "Add", "Add", "Concatenate", "Concatenate", "Subtract", "Multiply", "Average",
            "Maximum", "Minimum", "Dot",
        )  # fmt: skip
        settings = {}
        several = kind not in ("Subtract", "Dot")
        inputs = self._same_shape(source, self.d.number(1, 2) if several else 1)
        if kind == "Concatenate":
            settings["axis"] = self.d.maybe(0.4, 1, -1)
        if kind == "Dot":
            settings["axes"] = -1
        self.add_layer(call(f"layers.{kind}", **settings), inputs)

    def _operator(self, source):
        other = self._same_shape(source, 1)[1]
        self.add(*operations.operator(self.d, source, other))

    def _operation(self, source):
        other = self._same_shape(source, 1)[1]
        axis = self.d.number(1, max(1, len(self.shape(source)) - 1))
        self.add(*operations.operation(self.d, source, other, axis))

    def _constant(self, source):
        if self.shape(source)[-1] is not None:
            self.add(*operations.constant(self.d, source, self.shape(source)[-1]))

    def _inside(self, source):
        """A model inside the model."""
        shape = tuple(self.shape(source)[1:])
        layers = [layer_settings.layer(self.d, self.shape(source))]
        layers += [layer_settings.activation_layer(self.d, self.shape(source))]
        if self.d.chance(0.5):
            layers.append(call("layers.BatchNormalization"))
        outer = [layer for layer, called_on in self.shared if called_on == self.shape(source)]
        if outer and self.kind == "functional" and self.d.chance(0.15):
            layers.insert(0, self.d.pick(*outer))  # a layer of the model, inside another one too
        if self.d.chance(0.2):
            layers[0] = Source(f"keras.Sequential([{layers[0]}])")
        if self.d.chance(0.5):
            start = [f"keras.Input({shape})"] if self.d.chance(0.6) else []
            make = f"keras.Sequential([{', '.join([*start, *layers])}])"
        else:
            body = "x"
            for layer in layers:
                body = f"{layer}({body})"
            body = f"layers.Add()([{body}, {body}])" if self.d.chance(0.3) else body
            make = f"functional(lambda x: {body}, {', '.join(map(str, shape))})"
        self.add_layer(Source(make), [source])

    def _forced_mode(self, source):
        """A layer that is called with a mode of its own."""
        make = self.d.pick(
            layer_settings.batch_norm(self.d, self.shape(source)), call("InTraining", 0.5)
        )
        self.add_layer(make, [source], f", training={self.d.chance(0.4)}")

    def _several_outputs(self, source):
        self._count += 1
        layer = f"l{self._count}"
        self.add(f"{{me}}{layer}({source})[1]", [source], layer, f"Twins(name={layer!r})")

    def _attention(self, source):
        if len(self.shape(source)) == 3:
            self._count += 1
            layer = f"l{self._count}"
            make, call = self.d.pick(
                ("layers.MultiHeadAttention(2, 2, ", f"{source}, {source}"),
                ("layers.MultiHeadAttention(2, 2, ", f"{source}, {source}"),
                ("layers.GroupQueryAttention(2, 2, 1, ", f"{source}, {source}"),
                ("layers.Attention(use_scale=True, ", f"[{source}, {source}]"),
                ("layers.AdditiveAttention(", f"[{source}, {source}]"),
            )
            self.add(f"{{me}}{layer}({call})", [source], layer, f"{make}name={layer!r})")


def _small(tensor):
    sizes = tensor.shape[1:]
    if any(size == 0 for size in sizes) or len(sizes) > 4:
        return False
    count = 1
    for size in sizes:
        count *= size or 6  # of sizes that the data decides
    return count <= LARGEST
