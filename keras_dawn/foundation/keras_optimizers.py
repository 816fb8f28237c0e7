"""What an optimizer keeps, counts and checks."""

from keras_dawn.foundation.keras_variables import memory_of

import keras


def iterations(optimizer):
    """The variable that counts an optimizer's steps."""
    return optimizer._iterations


def state_variables(optimizer, name):
    """An optimizer's list of state variables, in the order of its trainable variables."""
    return getattr(optimizer, name)


def has_state(optimizer, name):
    """Whether an optimizer was built with a list of state variables."""
    return bool(getattr(optimizer, name, None))


def variables_of(optimizer):
    """An optimizer's variables, and those that Keras does not count among them.

    `Nadam` makes its product of momenta in `build`, in which a `LossScaleOptimizer` around it lets
    nothing be counted.
    """
    found = {id(variable): variable for variable in optimizer.variables}
    while optimizer is not None:
        for value in vars(optimizer).values():
            if isinstance(value, keras.Variable):
                found.setdefault(id(value), value)
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return list(found.values())


def product_of_momenta(optimizer):
    """The memory of the one number that `Nadam` keeps besides its lists."""
    return memory_of(optimizer._u_product).detach()


def optimizer_of(optimizer, variable):
    """The optimizer in a `MultiOptimizer` that a variable belongs to."""
    return optimizer.optimizers[optimizer._var_to_optimizer_idx[id(variable)]]


def inner_optimizers(optimizer):
    """The optimizers in a `MultiOptimizer`, as far as it knows them; none in any other."""
    several = isinstance(optimizer, keras.optimizers.MultiOptimizer)
    return list(optimizer.optimizers) if several else []


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


def decay_exclusions(optimizer):
    """What stays the same object until an optimizer is told to exclude other variables.

    Keras lets that be told after `build`, too. `None` before `uses_weight_decay` is asked.
    """
    return getattr(optimizer, "_exclude_from_weight_decay_cache", None)


def copy_decay_exclusions(optimizer, new):
    """Leaves in a new optimizer the variables without decay that another one leaves without.

    Keras keeps what `exclude_from_weight_decay` was told beside the settings that it writes down.
    """
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(new, name, getattr(optimizer, name))
