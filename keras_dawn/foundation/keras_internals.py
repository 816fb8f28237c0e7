"""The private Keras attributes that are read, but for those of the `keras_*.py` beside this file.

Keras moves these between versions; `tests/foundation/test_keras_internals.py` says what
each is expected to be. Nothing outside the foundation touches an underscore of Keras's, but for
what an optimizer has to override (`keras_dawn/optimizers/`).
"""

import contextlib
import dataclasses
import inspect

import keras
import torch
from keras.src.backend.common import global_state, masking
from keras.src.backend.common import variables as variables_module
from keras.src.layers import layer as layer_module
from keras.src.layers.preprocessing.data_layer import DataLayer
from keras.src.random import seed_generator

# The version that these attributes are read of, and the next one, which is told from it.
TENSORS = (torch.Tensor, torch.nn.Parameter)  # what a call is quick with: no subclasses
VERSION = tuple(int(number) for number in keras.__version__.split(".")[:2])


def functional_graph(model):
    """The `Functional` that computes a model, or `None` if it is no static graph.

    A `Sequential` keeps one inside. A subclass with a `call` of its own has none.
    """
    if isinstance(model, keras.Sequential):
        if type(model).call is not keras.Sequential.call:
            return None
        return model._functional if model.built else None
    functional = type(_PROBE)
    if isinstance(model, functional) and type(model).call is functional.call:
        return model
    return None


def nodes(functional):
    """The calls of a `Functional`'s operations, in an order in which they can run."""
    by_depth = functional._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def output_structure(functional):
    """The structure of a `Functional`'s outputs."""
    return functional._outputs_struct


def all_layers(model):
    """A model and every layer inside it, at any depth."""
    return model._flatten_layers()


def inner_layers(layer):
    """The layers directly inside a layer."""
    return layer._layers


def weights_to_train(layer):
    """The variables that a layer was made to train, whether it is frozen or not."""
    return layer._trainable_variables


def match_inputs(functional, inputs):
    """What a `Functional` is called with, flat, in the order of its inputs.

    A dict finds inputs of a list by their names, as in `Functional.call`.
    """
    wanted = functional._inputs_struct
    if isinstance(inputs, dict) and not isinstance(wanted, dict):
        inputs = [inputs.get(tensor.name) for tensor in keras.tree.flatten(wanted)]
    flat = keras.tree.flatten(inputs)
    return flat if len(flat) == len(functional.inputs) else [None] * len(functional.inputs)


def standardize_inputs(functional, inputs):
    """The flat list of input tensors as a call of the `Functional` makes it.

    Raises Keras's `ValueError` for inputs that it does not know, or too many.
    """
    if isinstance(inputs, dict) or len(keras.tree.flatten(inputs)) != len(functional.inputs):
        functional._assert_input_compatibility(inputs)  # `call` itself would leave out the rest
    return functional._standardize_inputs(inputs)


def loss_tracker(model):
    """The metric that keeps the mean loss, or `None`."""
    return model._loss_tracker


def compiled_loss(model):
    """What `compile(loss=…)` was given, and its weights: `(loss, loss_weights)`."""
    compile_loss = getattr(model, "_compile_loss", None)
    if compile_loss is None:
        return None, None
    return compile_loss._user_loss, compile_loss._user_loss_weights


@dataclasses.dataclass(frozen=True)
class LossPlan:
    """The losses as `compile` understood them.

    Args:
        losses: list of `(loss, weight)`, the weight a number or `None`.
        keys: list of each one's index or name among the outputs; `None` for one further inside.
        means: list of the metrics that keep each loss's mean, empty for one loss.
        outputs, targets: what these were like, with `None` for each tensor.
        names: list of the outputs' names, or `None`.
    """

    losses: list
    keys: list
    means: list
    outputs: object
    targets: object
    names: list | None


def loss_plan(model):
    """The `LossPlan` of a compiled model, or `None` before its loss is built."""
    compile_loss = getattr(model, "_compile_loss", None)
    if compile_loss is None or compile_loss._flat_losses is None:
        return None
    flat = compile_loss._flat_losses
    return LossPlan(
        losses=[(each.loss, each.loss_weights) for each in flat],
        keys=[each.path[0] if len(each.path) == 1 else None for each in flat],
        means=list(compile_loss.metrics),
        outputs=compile_loss._y_pred_build_structure,
        targets=compile_loss._y_true_build_structure,
        names=compile_loss.output_names,
    )


def dtype_of_total_loss(model):
    """The dtype that `compile`'s loss casts every loss to."""
    return model._compile_loss.dtype


def function_of_loss(loss):
    """The function that a loss object calls, or `None` if it does more than that."""
    wrapper = type(_LOSS).__mro__[1]
    kind = type(loss)
    plain = getattr(kind, "call", None) is wrapper.call and kind.__call__ is wrapper.__call__
    plain = plain and "call" not in vars(loss)
    return loss.fn if plain else None


def reduces_as_keras(loss):
    """Whether all that a loss object brings of its own is its `call`."""
    return isinstance(loss, keras.Loss) and type(loss).__call__ is keras.Loss.__call__


def settings_of_loss(loss):
    """What a loss object calls its function with."""
    return loss._fn_kwargs


def settings_of_metric(metric):
    """What a metric that wraps a function calls it with."""
    return metric._fn_kwargs


def compiled_metrics(model):
    """The metrics that `compute_metrics` feeds, `(unweighted, weighted)` for each output."""
    compile_metrics = getattr(model, "_compile_metrics", None)
    if compile_metrics is None or not compile_metrics.built:
        return []
    groups = (compile_metrics._flat_metrics, compile_metrics._flat_weighted_metrics)
    return [
        tuple([] if group is None else list(group.metrics) for group in pair)
        for pair in zip(*groups, strict=True)
    ]


def flat_outputs(model, structure):
    """Targets, outputs or weights as a list with one entry for each output's metrics."""
    return model._compile_metrics._flatten_y(structure)


def metric_function(metric):
    """The function that a metric takes the mean of, or `None` if it does more than that."""
    wrapper = keras.metrics.MeanMetricWrapper
    kind = type(metric)
    plain = isinstance(metric, wrapper) and kind.update_state is wrapper.update_state
    return metric._fn if plain and "update_state" not in vars(metric) else None


def even_thresholds(metric):
    """Whether a metric's thresholds lie at equal distances, as it has found out itself."""
    return metric._thresholds_distributed_evenly


def takes_logits(metric):
    """Whether an `AUC` is told logits."""
    return metric._from_logits


def is_built(metric):
    """Whether a metric that waits for the outputs' shape has its variables."""
    return metric._built


def counted_condition(metric):
    """What `TruePositives` and its like count: `"tp"`, `"fp"`, `"tn"` or `"fn"`."""
    return metric._confusion_matrix_cond.value


def update_compiled_metrics(model, targets, outputs, sample_weight):
    """Feeds all compiled metrics the Keras way."""
    if model._compile_metrics is not None:
        model._compile_metrics.update_state(targets, outputs, sample_weight)


def compute_loss(model, inputs, targets, outputs, sample_weight, training):
    """The loss the Keras way, with everything that `compile` and the layers add."""
    return model._compute_loss(
        x=inputs, y=targets, y_pred=outputs, sample_weight=sample_weight, training=training
    )


def is_overridden(model, name):
    """Whether the model brings its own version of a `keras.Model` method, by class or by itself."""
    if name in vars(model) and not name.startswith("make_"):  # `accelerate` puts those there
        return True
    return getattr(type(model), name) is not getattr(type(_PROBE), name)


_PROBE = keras.Model(*(keras.Input((1,)),) * 2)
_LOSS = keras.losses.MeanSquaredError()


def iterations(optimizer):
    """The variable that counts an optimizer's steps."""
    return optimizer._iterations


def state_variables(optimizer, name):
    """An optimizer's list of state variables, in the order of its trainable variables."""
    return getattr(optimizer, name)


def has_state(optimizer, name):
    """Whether an optimizer was built with a list of state variables."""
    return bool(getattr(optimizer, name, None))


def product_of_momenta(optimizer):
    """The memory of the one number that `Nadam` keeps besides its lists."""
    return memory_of(optimizer._u_product).detach()


def optimizer_of(optimizer, variable):
    """The optimizer in a `MultiOptimizer` that a variable belongs to."""
    return optimizer.optimizers[optimizer._var_to_optimizer_idx[id(variable)]]


def rate_is_called(optimizer):
    """Whether an optimizer's learning rate is a schedule object or a function."""
    return callable(optimizer._learning_rate)


def schedule_of(optimizer):
    """What an optimizer keeps its learning rate in: a variable, a schedule object, a function."""
    return optimizer._learning_rate


def muon_steps_as_adam(optimizer, variable):
    """Whether `keras.optimizers.Muon` updates a variable by Adam's formula."""
    return optimizer._should_use_adamw(variable)


def trainable_variables(optimizer):
    """The variables an optimizer was built for, in its order."""
    return optimizer._trainable_variables


def update_variables(optimizer, gradients, variables):
    """What an optimizer does to variables, without clipping, counting and averaging."""
    optimizer._backend_update_step(gradients, variables, optimizer.learning_rate)


def check_known(optimizer, variables):
    """Raises Keras's `ValueError` for a variable that an optimizer was not built for."""
    optimizer._check_variables_are_known(variables)


def check_gradients(optimizer, gradients, variables):
    """Keras's warning about variables without a gradient; its error if there is none at all."""
    optimizer._filter_empty_gradients(gradients, variables)


def uses_weight_decay(optimizer, variable):
    """Whether an optimizer's own exclusions leave a variable to be decayed."""
    return optimizer._use_weight_decay(variable)


def wraps_models_itself():
    """Whether this Keras's `fit` uses DistributedDataParallel by itself (from 3.16 on)."""
    return VERSION >= (3, 16)


def set_first_epoch(model, epoch):
    """Makes `fit`, once it has called `on_train_begin`, start at an epoch (0 for its own)."""
    model._initial_epoch = epoch or None


def global_seed():
    """What `keras.random` draws from without a seed, as a tensor; `None` before its first use."""
    generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    return None if generator is None else generator.state.value.detach().to("cpu", copy=True)


def set_global_seed(state):
    """Puts back what `global_seed` returned."""
    seed_generator.global_seed_generator().state.value.data.copy_(state)


def current_call_context():
    """The context of the Keras call under way (it knows the mode), or `None`."""
    return global_state.get_global_attribute("current_call_ctx")


@contextlib.contextmanager
def inside_call(model, training):
    """What a layer finds when a model calls it: the mode, and the dtype of its weights.

    A layer without a `training` argument passes the mode on to the layers inside it by Keras's
    call context. As at the beginning of a model's own call, losses that were added are dropped.
    """
    context = layer_module.CallContext(entry_layer=model)
    context.set_value("training", training)
    before = current_call_context()
    global_state.set_global_attribute("current_call_ctx", context)
    if before is None:
        model._clear_losses()
    try:
        with autocast_scope(model):
            yield
    finally:
        global_state.set_global_attribute("current_call_ctx", before)


def autocast_scope(layer):
    """The scope of dtypes in which a layer's `call` reads weights."""
    if layer.compute_dtype == layer.variable_dtype or not layer.autocast:
        return contextlib.nullcontext()
    return variables_module.AutocastScope(layer.compute_dtype)


def no_autocast():
    """A scope in which a variable's value is the variable's own memory."""
    return variables_module.AutocastScope(None)


def set_mode(training):
    """Restates the mode in the present call context, as a layer does that is told it."""
    context = current_call_context()
    if context is not None:
        context.set_value("training", training)


def mask_of(tensor):
    """The mask that Keras has attached to a tensor (symbolic or not), or `None`."""
    if isinstance(tensor, torch.Tensor):
        return getattr(tensor, "_keras_mask", None)  # where Keras keeps it, and quicker
    return masking.get_keras_mask(tensor)


def attach_mask(tensor, mask):
    """Attaches a mask to a tensor, as Keras's layers do."""
    masking.set_keras_mask(tensor, mask)


def with_mask(tensor, mask):
    """The tensor, with a mask attached where there is one, and without where there is none."""
    if mask is not None or mask_of(tensor) is not None:
        attach_mask(tensor, mask)
    return tensor


def takes(layer, argument):
    """Whether a layer's `call` has an argument of this name."""
    return argument in layer.call_signature_parameters


def bound_arguments(operation, args, kwargs):
    """What an operation's `call` is told, by name, with its defaults but for `training`."""
    if isinstance(operation, keras.Layer):
        signature = operation._call_signature
    else:
        signature = inspect.signature(operation.call)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        raise ValueError("a `call` with any keyword arguments")
    return {name: value for name, value in bound.arguments.items() if name != "training"}


_OF_FUNCTIONS = {
    "Map",
    "Scan",
    "AssociativeScan",
    "Switch",
    "WhileLoop",
    "ForiLoop",
    "Cond",
    "VectorizedMap",
    "JVP",
    "ElasticTransform",
}  # operations that call functions of the user's, or draw from a generator


def computes_in_torch(operation):
    """Whether an operation is one of `keras.ops` whose `call` only computes with tensors."""
    if isinstance(operation, keras.Layer) or not isinstance(operation, keras.Operation):
        return False
    kind = type(operation)
    ours = kind.__module__.startswith("keras.src.ops.") and kind.__name__ not in _OF_FUNCTIONS
    return ours and "call" not in vars(operation) and operation._remat_mode is None


def converts_inputs(layer):
    """Whether a layer casts the floats that it is called with to its compute dtype."""
    return layer._convert_input_args and layer.autocast


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """What `MultiHeadAttention` and `GroupedQueryAttention` compute with, by one set of names.

    Args:
        query, key, value, output, gate: `EinsumDense` inside the layer; `gate` may be `None`.
        softmax, dropout: `Softmax` and `Dropout` inside the layer.
        rate: float, the layer's own dropout rate, which says which way it goes.
        scale: float, what queries are multiplied by.
        window: int or `None`, how far a position looks.
        flash: whether the flash kernel is demanded.
        repeats: int, how many heads of the query share one of key and value.
        equations: `(scores, outputs)`, for inputs with more axes than one of positions.
        axes: tuple, the axes of positions.
    """

    query: object
    key: object
    value: object
    output: object
    gate: object
    softmax: object
    dropout: object
    rate: float
    scale: float
    window: int | None
    flash: object
    repeats: int
    equations: tuple
    axes: tuple


def head_settings(layer):
    """The `HeadSettings` of a built layer."""
    grouped = isinstance(layer, keras.layers.GroupQueryAttention)
    use_gate = layer.use_gate if grouped else layer._use_gate
    return HeadSettings(
        query=layer._query_dense,
        key=layer._key_dense,
        value=layer._value_dense,
        output=layer._output_dense,
        gate=layer._gate_dense if use_gate else None,
        softmax=layer._softmax,
        dropout=layer._dropout_layer,
        rate=layer.dropout if grouped else layer._dropout,
        scale=layer._inverse_sqrt_head_dim if grouped else layer._inverse_sqrt_key_dim,
        window=layer.sliding_window if grouped else layer._sliding_window,
        flash=layer._flash_attention,
        repeats=layer.num_repeats if grouped else 1,
        equations=(layer._dot_product_equation, layer._combine_equation),
        axes=(1,) if grouped else tuple(layer._attention_axes),
    )


def default_training(layer):
    """The default of `call`'s argument `training`, or `None`."""
    parameter = layer._call_signature.parameters.get("training")
    default = None if parameter is None else parameter.default
    return None if default is inspect.Parameter.empty else default


def only_passes_mask_on(layer):
    """Whether a layer's output has the mask of its input, as `Layer.compute_mask` says."""
    return type(layer).compute_mask is keras.Layer.compute_mask


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_plain_call(layer):
    """Whether nothing of torch's or the user's is hung into a layer's call.

    Keras layers are torch modules: hooks run when they are called. `call` may also have been
    replaced on the instance.
    """
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return False
    if layer._backward_pre_hooks or layer._remat_mode is not None:
        return False
    return "call" not in layer.__dict__ and "forward" not in layer.__dict__


def has_hooks(variable):
    """Whether somebody's hook waits for the gradient of a variable's own tensor."""
    tensor = variable._value
    return bool(tensor._backward_hooks or tensor._post_accumulate_grad_hooks)


def memory_of(variable):
    """A variable's own tensor, past the casts of an autocast scope."""
    return variable._value


def note_call_settings(layer, reads):
    """Notes what `is_plain_call` looks at, and the layer's regularizer of activities."""
    for name in (*_HOOKS, "_remat_mode", "call", "forward", "activity_regularizer"):
        reads.note(layer, name, getattr(layer, name))


def note_graph(model, reads):
    """Notes the graph of a model, which `Sequential.add` and `pop` make anew."""
    reads.note(model, "_functional", getattr(model, "_functional", None))


def has_training_argument(model):
    """Whether `fit` tells a model the mode."""
    return model._call_has_training_arg


@contextlib.contextmanager
def inside_part(model, context, training):
    """`inside_call` for a model that may itself be called inside another one's call."""
    if context is None:
        with inside_call(model, training):
            yield
        return
    context.set_value("training", training)
    with autocast_scope(model):
        yield


def with_added_losses(model, loss):
    """A loss with what layers have added (`add_loss`) and regularizers, as Keras sums them."""
    added = [model._aggregate_additional_loss(one) for one in model.losses]
    return loss if not added else keras.ops.sum([loss, *added])


def has_compiled_loss(model):
    """Whether `compile` was told a loss."""
    return getattr(model, "_compile_loss", None) is not None


def compiled_loss_of(model, targets, outputs, sample_weight):
    """What `compile(loss=…)` gives, past what layers and regularizers add; `None` for nothing."""
    return model._compile_loss(targets, outputs, sample_weight)


def with_added_losses_but_of(model, loss, variables):
    """`with_added_losses` without the regularizers of some variables."""
    added = [one for layer in model._flatten_layers() for one in layer._get_own_losses()]
    left_out = set(map(id, variables))
    for variable in model.trainable_weights:
        if variable.regularizer is not None and id(variable) not in left_out:
            added.append(variable.regularizer(variable))
    added = [model._aggregate_additional_loss(one) for one in added]
    return loss if not added else keras.ops.sum([loss, *added])


def has_added_losses(layers):
    """Whether a layer of these has added a loss since the last call of the model."""
    return any(layer._losses for layer in layers)


def own_metrics(model, inputs, targets, outputs, sample_weight):
    """The logs of a model that brings its own `compute_metrics`."""
    return model.compute_metrics(inputs, targets, outputs, sample_weight=sample_weight)


def autocasts(variable):
    """Whether a variable is read in an autocast scope's dtype."""
    return variable._autocast


def check_input(layer, symbolic):
    """Raises Keras's `ValueError` for an input that a layer's `input_spec` does not allow."""
    layer._assert_input_compatibility(symbolic)


def in_stateless_scope():
    """Whether Keras computes with other values than its variables hold."""
    return global_state.get_global_attribute("stateless_scope") is not None


def is_called_as_a_layer(layer):
    """Whether calling a layer does what Keras does for its own layers, and no more."""
    return class_of(layer).__call__ in (keras.Layer.__call__, DataLayer.__call__)


def class_of(layer):
    """A layer's class, that behind the swapped one inside a step."""
    return vars(type(layer)).get("native_base", type(layer))


def class_with_call(base, call):
    """A subclass that looks like its base and has another `__call__`.

    Copies, by `copy` or `pickle`, are of the base: nobody would put their class back.
    """

    def __reduce_ex__(layer, protocol):  # noqa: N807
        object.__setattr__(layer, "__class__", base)
        try:
            return layer.__reduce_ex__(protocol)
        finally:
            object.__setattr__(layer, "__class__", kind)

    names = ("__module__", "__qualname__", "__doc__")
    like_base = {name: getattr(base, name) for name in names}
    own = {"__call__": call, "__reduce_ex__": __reduce_ex__, "native_base": base}
    kind = type(base.__name__, (base,), own | like_base)
    return kind


def keeps_keras_call(layer):
    """Whether a layer's class calls as Keras does, and the call adds nothing to the loss."""
    return layer.activity_regularizer is None and is_called_as_a_layer(layer)


def is_only_its_call(layer):
    """Whether calling a layer or model does no more than its `call`."""
    return keeps_keras_call(layer) and is_plain_call(layer)
