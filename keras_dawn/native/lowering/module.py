"""The lowered model as a module that can be saved, loaded and copied whole."""

import copy
import inspect
import types

from keras_dawn.native.lowering.keras_callables import KerasCall, OperationCall
from keras_dawn.native.lowering.masks import MaskCall

import keras
import torch

STATE = ("_parameters", "_buffers", "_non_persistent_buffers_set", "training")

HOLD = {
    KerasCall: "operation",
    OperationCall: "operation",
    MaskCall: "layer",
}  # where these keep what is Keras's


_MODES = {True: "training", False: "inference"}


class LoweredModule(torch.fx.GraphModule):
    """A `torch.fx.GraphModule` that is pickled by its graph.

    torch pickles the generated code and traces it when it is loaded, which fails for functions
    that look at sizes; and a copy would go on calling the Keras layers of the original.
    """

    _lower_again = None

    def change_modes_by(self, training, lower_again):
        """Lets `train()` and `eval()` change the code.

        Args:
            training: bool, the mode that the code is for.
            lower_again: function of a mode that gives a `LoweredModule` for it.
        """
        self.training, self._lower_again = training, lower_again
        self._modes = {}  # mode → graph and constants

    def train(self, mode=True):
        """Changes to the code for training, or with `mode=False`, as `eval` does, for inference.

        Raises:
            RuntimeError: a copy, or a module read from a file, which has the code of one mode.
        """
        if mode == self.training:
            return self
        if self._lower_again is None:
            raise RuntimeError(
                f"This module has the code for {_MODES[self.training]} alone: copies and modules "
                f"read from a file do not know their Keras model. Make one for {_MODES[mode]} by "
                f"`to_torch(model, training={mode})`."
            )
        self._modes[self.training] = self.graph, self._buffers
        if mode not in self._modes:
            other = self._lower_again(mode)
            for name, parameter in other._parameters.items():
                # What both modes have stays the very object: an optimizer may hold it.
                if not _same_memory(self._parameters.get(name), parameter):
                    self._parameters[name] = parameter
            self._modes[mode] = other.graph, other._buffers
            self._non_persistent_buffers_set |= other._non_persistent_buffers_set
        graph, buffers = self._modes[mode]
        device = next((parameter.device for parameter in self.parameters()), None)
        # Constants of this mode alone, which `to` has not moved meanwhile.
        self._buffers = {name: tensor.to(device) for name, tensor in buffers.items()}
        self.graph = graph
        self.training = mode
        return self

    def __reduce__(self):
        state = {key: self.__dict__[key] for key in STATE}
        return _restored, (state, _written(self.graph))

    def __deepcopy__(self, memo):
        function, arguments = self.__reduce__()
        copied = memo[id(self)] = function(*copy.deepcopy(arguments, memo))
        return copied


def _same_memory(one, other):
    return one is not None and one.data_ptr() == other.data_ptr() and one.shape == other.shape


def lowered_module(root, graph):
    """The `LoweredModule` of a finished graph and all that `root` holds.

    That includes the parameters of layers that are called as they are, which no node names.
    """
    module = LoweredModule(root, graph, class_name="Lowered")
    for name, parameter in root.named_parameters(recurse=False):
        if not hasattr(module, name):
            module.register_parameter(name, parameter)
    for name, tensor in root.named_buffers(recurse=False):
        # Those that nodes name are there, but in torch 2.11 as a part of the state to save.
        module.register_buffer(name, tensor, persistent=False)
    module.training = root.training
    return module


def function_of(module):
    """The module's `forward` with its weights at hand: torch's module looks each up slowly."""
    named = module.named_parameters, module.named_buffers
    found = {name: x for each in named for name, x in each(remove_duplicate=False)}
    space = types.SimpleNamespace(**found)
    forward = type(module).forward
    if inspect.isfunction(forward) and not list(module.children()):
        return types.MethodType(forward, space)
    return module


class _Name:
    """The place of a node among another's arguments."""

    def __init__(self, name):
        self.name = name


class _Operation:
    """What a `KerasCall` calls, in a form that can be pickled: a layer by its configuration.

    Keras's own pickling would only find classes that are registered with Keras.
    """

    def __init__(self, operation):
        self.operation = operation

    def __reduce__(self):
        operation = self.operation
        if isinstance(operation, keras.Model) or not isinstance(operation, keras.Operation):
            return _Operation, (operation,)
        layer = isinstance(operation, keras.Layer)
        built = operation.get_build_config() if layer else None
        weights = [variable.numpy() for variable in operation.variables] if layer else []
        return _made_again, (type(operation), operation.get_config(), built, weights)


def _made_again(kind, config, built, weights):
    operation = kind.from_config(config)
    if built:
        operation.build_from_config(built)
    for variable, weight in zip(getattr(operation, "variables", ()), weights, strict=True):
        variable.assign(weight)
    return _Operation(operation)


def _written(graph):
    """A graph as a list of tuples that can be pickled."""
    operations = {}

    def target(function):
        if type(function) not in HOLD:
            return function
        function, attribute = copy.copy(function), HOLD[type(function)]
        held = getattr(function, attribute)
        setattr(function, attribute, operations.setdefault(id(held), _Operation(held)))
        return function

    def arguments(node):
        return torch.fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: _Name(n.name))

    return [(node.op, node.name, target(node.target), *arguments(node)) for node in graph.nodes]


def _restored(state, nodes):
    """The module of a state and a written graph."""
    root = torch.nn.Module()
    root.__dict__.update(state)
    graph, made, calls = torch.fx.Graph(), {}, []

    def read(part):
        if isinstance(part, _Name):
            return made[part.name]
        if isinstance(part, (list, tuple)):
            return type(part)(read(item) for item in part)
        if isinstance(part, dict):
            return {key: read(item) for key, item in part.items()}
        return part

    for operation, name, target, args, kwargs in nodes:
        if type(target) in HOLD:
            attribute = HOLD[type(target)]
            setattr(target, attribute, getattr(target, attribute).operation)
        if isinstance(target, KerasCall):
            calls.append(target)
        made[name] = graph.create_node(operation, target, read(args), read(kwargs), name=name)
    module = lowered_module(root, graph)
    for call in calls:
        for name, variable in zip(
            call.attributes, getattr(call.operation, "variables", ()), strict=True
        ):
            # The layer was made anew, and so were its variables: the module takes theirs.
            if name in module._parameters:
                module._parameters[name] = variable.value
            else:
                module._buffers[name] = variable.value.detach()
    return module
