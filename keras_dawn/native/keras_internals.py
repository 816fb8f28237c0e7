"""Every private Keras attribute that the native engine reads, in one place.

Keras moves these between versions; `tests/native/test_keras_internals.py` says what each
is expected to be. Nothing else in the package touches an underscore of Keras's, but for
what an optimizer has to override (`keras_dawn/optimizers/`).
"""

import keras


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


def trace(model):
    """A `Functional` of what a subclassed model's `call` does, or `None`.

    The model must have been built by calling it on one tensor; `call` is run again, on a
    symbolic tensor of that shape.
    """
    shapes = getattr(model, "_build_shapes_dict", None)
    if not model.built or not shapes or len(shapes) != 1:
        return None
    (shape,) = shapes.values()
    if not all(isinstance(size, int) or size is None for size in shape):
        return None
    inputs = keras.Input(batch_shape=(None, *shape[1:]), dtype=model.input_dtype)
    return keras.Model(inputs, model.call(inputs))


def output_structure(functional):
    """The structure of a `Functional`'s outputs."""
    return functional._outputs_struct


def all_layers(model):
    """A model and every layer inside it, at any depth."""
    return model._flatten_layers()


def standardize_inputs(functional, inputs):
    """The flat list of input tensors as `Functional.call` makes it."""
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


def compiled_metrics(model):
    """The metrics that `compute_metrics` feeds, flat: `(unweighted, weighted)`."""
    compile_metrics = getattr(model, "_compile_metrics", None)
    if compile_metrics is None or not compile_metrics.built:
        return [], []
    return [
        [metric for group in groups if group for metric in group.metrics]
        for groups in (compile_metrics._flat_metrics, compile_metrics._flat_weighted_metrics)
    ]


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
    """Whether the model's class brings its own version of a `keras.Model` method."""
    return getattr(type(model), name) is not getattr(type(_PROBE), name)


_PROBE = keras.Model(*(keras.Input((1,)),) * 2)


def iterations(optimizer):
    """The variable that counts an optimizer's steps."""
    return optimizer._iterations


def state_variables(optimizer, name):
    """An optimizer's list of state variables, in the order of its trainable variables."""
    return getattr(optimizer, name)


def trainable_variables(optimizer):
    """The variables an optimizer was built for, in its order."""
    return optimizer._trainable_variables


def update_variables(optimizer, gradients, variables):
    """What an optimizer does to variables, without clipping, counting and averaging."""
    optimizer._backend_update_step(gradients, variables, optimizer.learning_rate)


def uses_weight_decay(optimizer, variable):
    """Whether an optimizer's own exclusions leave a variable to be decayed."""
    return optimizer._use_weight_decay(variable)


def wraps_models_itself():
    """Whether this Keras's `fit` uses DistributedDataParallel by itself (from 3.16 on)."""
    major, minor = (int(part) for part in keras.__version__.split(".")[:2])
    return (major, minor) >= (3, 16)


def set_first_epoch(model, epoch):
    """Makes `fit`, once it has called `on_train_begin`, start at an epoch (0 for its own)."""
    model._initial_epoch = epoch or None


def autocasts(variable):
    """Whether a variable is read in an autocast scope's dtype."""
    return variable._autocast


def remat_mode(operation):
    """What an operation made in a `keras.RematScope` recomputes in the backward pass, or `None`."""
    return getattr(operation, "_remat_mode", None)
