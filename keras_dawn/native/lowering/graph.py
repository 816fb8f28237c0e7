"""The graph under construction: values with a layout, and parameters that Keras shares.

A Keras image tensor in `channels_last` order, permuted to (batch, channels, height, width),
is a torch tensor in `channels_last` memory format, and the permutation is a view. So the
lowered graph keeps images in torch's order throughout and goes back to Keras's only
where an operation depends on the order. Series and volumes, of one and three axes in place of
two, are images here, too.
"""

from keras_dawn.foundation import keras_variables
from keras_dawn.native.lowering.constants import PlainGraph
from keras_dawn.native.lowering.dtypes import HALF, floats_in, is_float, torch_dtype
from keras_dawn.native.lowering.layouts import AS_IS, Leaf, Place
from keras_dawn.native.lowering.masks_of_nodes import Masks
from keras_dawn.native.lowering.names import identifier
from keras_dawn.native.lowering.reads import Reads
from keras_dawn.native.lowering.values import LoweringError, TwoLayoutsError, Value, is_array
from keras_dawn.native.padding import pad_axes

import keras
import torch


class GraphBuilder:
    """Adds nodes to a `torch.fx.Graph` and parameters to the module that it will run on.

    Args:
        training: bool, which mode the graph is for.
        collect_statistics: bool, whether normalisation returns its batch statistics
            instead of writing moving averages (the training step does that itself).
        model_name: str, left out of the parameters' names.
        variables: the model's variables, or `None` for any; a tensor that is not among them
            has no gradient.
        autocast: dtype that the model's own operations read float variables in, or `None`.
        views: set of ids of Keras variables whose own tensors are the module's parameters, so
            that gradients arrive in them; torch's layout is a view in the graph. `None`: all.
    """

    def __init__(
        self,
        training,
        collect_statistics=False,
        model_name="",
        variables=None,
        autocast=None,
        views=frozenset(),
    ):
        self.training = training
        self.views = views
        self.reads = Reads()  # what the lowering depends on
        # Of the walk, for what is inside something else: see `walk.py` and `sizes.py`.
        self.lower_inside = self.lower_function = self.run_with_sizes = None
        self.as_it_is = frozenset()  # ids of layers that are not to be lowered
        self.last_call = None  # `KerasCall` of a layer
        self.untold = False  # whether nobody is told the mode
        self.for_one_layer = False  # which is looked at in every call
        self.changes_state = False  # whether a run changes tensors that outlive it
        self.changed = []  # the Keras variables that have them
        self.model_name = model_name
        self.collect_statistics = collect_statistics
        self.autocast = autocast
        self.graph = PlainGraph()
        self.root = torch.nn.Module()
        self.leaves = {}  # id of a Keras variable → (attribute, Leaf)
        self.statistics = []  # (BatchNormalization layer, mean node, inverse deviation node)
        self.native = []  # layers written in torch
        self.fallbacks = []  # (layer, reason): called as they are
        self.losses = None  # [(layer, node)]: what layers add to the loss, where that is returned
        self._known = None if variables is None else {id(variable) for variable in variables}
        self._buffers = {}  # id of a tensor or of a variable that is not the model's → attribute
        self._kept = []  # those, so that their ids stay theirs
        self._layouts = {}  # id of such a variable → `Transform`
        self._cast = {}
        self._narrow = {}  # a node made wider → the half-precision value that it holds
        self.masks = Masks()

    def call(self, function, *args, name=None, **kwargs):
        """A call of a torch function; returns its node."""
        name = identifier(name)
        return self.graph.create_node("call_function", function, args, kwargs, name=name)

    def parameter(self, variable, transform, dtype=None):
        """The node of a Keras variable as torch wants it.

        Args:
            variable: `keras.Variable`.
            transform: `Transform`, how torch lays it out.
            dtype: compute dtype; for another than the variable's a working copy is made in the
                graph, in training one for each use, as in Keras: a copy of its own adds up the
                gradients of all uses in half precision, which loses those of many.
        """
        if not isinstance(variable, keras.Variable):
            raise LoweringError(f"{type(variable).__name__} in place of a variable")
        name = self.share(variable, transform)
        key = (name, dtype if dtype != variable.dtype else None, transform.permutation)
        adds_up = self.training and key[1] in HALF and variable.trainable
        if key not in self._cast or adds_up:
            node = self.graph.get_attr(name)
            if key[1] is not None:
                node = self.graph.call_method("to", (node, torch_dtype(dtype)))
            self._cast[key] = transform.nodes(self.graph, node) if self._is_view(variable) else node
        return self._cast[key]

    def _is_view(self, variable):
        return self.views is None or id(variable) in self.views

    def share(self, variable, transform):
        """Makes the module hold a Keras variable; returns the name of the attribute."""
        if self._known is not None and id(variable) not in self._known:
            return self._share_of_others(variable, transform)
        if id(variable) not in self.leaves:
            name = self._attribute(variable.path.removeprefix(f"{self.model_name}/"))
            if self._is_view(variable):
                transform.share(variable.value)  # else torch copies the view in every step
            leaf = Leaf(variable, AS_IS if self._is_view(variable) else transform)
            self.reads.note(variable, "trainable", variable.trainable)
            self.root.register_parameter(name, leaf.tensor)
            self.leaves[id(variable)] = (name, leaf)
        name, leaf = self.leaves[id(variable)]
        if leaf.transform != transform and not self._is_view(variable):
            raise TwoLayoutsError(variable)
        return name

    def _share_of_others(self, variable, transform):
        # Plain Keras trains what belongs to the model, and nothing else.
        view, tensor = self._is_view(variable), transform.share(variable.value)
        if id(variable) not in self._layouts:
            self._layouts[id(variable)] = transform
            place = Place(variable)  # nobody else sees to it that the buffer stays on its memory
            self.reads.note(place, "now", place.now)
        elif self._layouts[id(variable)] != transform and not view:
            raise TwoLayoutsError(variable)
        return self._buffer(variable, (variable.value if view else tensor).detach(), variable.path)

    def changes(self, *variables):
        """Notes that a run changes these variables, or, without any, Keras's own generator."""
        self.changes_state = True
        self.changed += variables

    def constant(self, tensor, name=None):
        """The node of a tensor that is no parameter, kept in a buffer."""
        return self.graph.get_attr(self._buffer(tensor, tensor, f"{name or 'the'}_constant"))

    def _buffer(self, owner, tensor, name):
        if id(owner) not in self._buffers:
            name = self._attribute(name)
            self.root.register_buffer(name, tensor, persistent=False)
            self._buffers[id(owner)] = name
            self._kept.append(owner)
        return self._buffers[id(owner)]

    def mark(self):
        """Where the graph stands, for `undo`."""
        lengths = list(map(len, self._lists()))
        last = next(iter(reversed(self.graph.nodes)), None)
        return last, set(self.leaves), lengths, self.masks.state()

    def _lists(self):
        return self.statistics, self.native, self.fallbacks, self.losses or []

    def undo(self, mark):
        """Takes out of the graph what was added since `mark`, as by a rule that then failed."""
        last, leaves, lengths, masks = mark
        self.masks.restore(masks)
        for node in reversed(self.graph.nodes):  # what others use cannot be erased before them
            if node is last:
                break
            self.graph.erase_node(node)
            self._narrow.pop(node, None)
            self._cast = {key: kept for key, kept in self._cast.items() if kept is not node}
        for key in self.leaves.keys() - leaves:
            name, _ = self.leaves.pop(key)
            delattr(self.root, name)
        for items, length in zip(self._lists(), lengths, strict=True):
            del items[length:]

    def _attribute(self, name):
        """A name for an attribute of the module that is not taken."""
        name = identifier(name)
        while hasattr(self.root, name) or hasattr(torch.fx.GraphModule, name):
            name += "_"
        return name

    def value(self, argument):
        """A call's argument; what Keras takes for a tensor becomes a `Value`."""
        if isinstance(argument, keras.Variable):
            casts = self.autocast and keras_variables.autocasts(argument)
            dtype = self.autocast if casts and is_float(argument.dtype) else argument.dtype
            node = self.parameter(argument, AS_IS, dtype)
            return Value(node, len(argument.shape), dtype)
        if is_array(argument):
            tensor = keras.ops.convert_to_tensor(argument)
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            return Value(self.constant(tensor), tensor.ndim, dtype)
        return argument

    def tensor(self, part):
        """The node of a `Value`, in Keras's order, or of a mask; `None` stays `None`."""
        return self.keras_order(part) if isinstance(part, Value) else part

    def cast(self, value, dtype):
        """The value as a layer's autocast leaves it: floats in `dtype`, others what they are."""
        if value.guessed:
            node = self.call(floats_in, value.node, torch_dtype(dtype))
            dtype = dtype if is_float(value.dtype) else value.dtype
            return Value(node, value.rank, dtype, value.torch_order, value.padding, guessed=True)
        return self.to(value, dtype) if is_float(value.dtype) else value

    def to(self, value, dtype):
        """The value in another dtype."""
        if value.dtype == dtype and not value.guessed:
            return value
        # Half precision made wider and narrow again is what it was: the first node serves.
        narrow = self._narrow.get(value.node)
        if narrow is not None and narrow.dtype == dtype:
            node = narrow.node
        else:
            node = self.graph.call_method("to", (value.node, torch_dtype(dtype)))
        if value.dtype in HALF and dtype not in HALF and is_float(dtype) and not value.guessed:
            self._narrow[node] = value
        return Value(node, value.rank, dtype, value.torch_order, value.padding)

    def padded(self, value):
        """The value with its pending padding added."""
        if value.padding is None:
            return value
        if value.rank == 3:  # which torch would lay out with the channels outermost
            return value.with_node(self.call(pad_axes, value.node, (value.padding * 2,)))
        ends = tuple(size for size in reversed(value.padding) for _ in range(2))
        node = self.call(torch._C._nn.pad, value.node, ends)
        return value.with_node(node)

    def keras_order(self, value):
        """The node in Keras's order of axes."""
        value = self.padded(value)
        if value.torch_order:
            return self.graph.call_method("permute", (value.node, 0, *range(2, value.rank), 1))
        return value.node

    def image(self, value, data_format, keep_padding=False):
        """The node of a batch of images as (batch, channels, height, width), or the like.

        Padding can only be kept where the node's last axes are the image's.
        """
        if value.torch_order == (data_format == "channels_last"):
            return (value if keep_padding else self.padded(value)).node
        node = self.keras_order(value)
        if data_format == "channels_last":
            last = value.rank - 1
            node = self.graph.call_method("permute", (node, 0, last, *range(1, last)))
        return node
