"""The optimizers of an own `train_step`, which calls `apply` itself: fused where it is the same."""

import contextlib

from keras_dawn.foundation import keras_optimizers, keras_variables
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.native.lowering.layouts import AS_IS, Leaf, moves
from keras_dawn.native.steps.loss_scaling import LossScaling, only_scales
from keras_dawn.native.steps.updates import make_update, why_not_fused
from keras_dawn.native.steps.updates.fused import may_be_taken_back

import keras
import torch


class NativeOptimizers:
    """Lets `optimizer.apply` of a model's optimizers be one fused call, for a step at a time.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model):
        self.model = model
        self._applies = []
        self._stepped = {}  # the optimizers that have stepped, by their ids
        self.refresh()

    def refresh(self):
        """Looks for optimizers anew: what a layout or a setting decided may be another now."""
        found = list(self._by_name().values())
        self._applies = [NativeApply(optimizer, self._stepped) for optimizer in found]
        left = set(self._stepped) - set(map(id, found))
        for key in left:
            del self._stepped[key]

    def _by_name(self):
        """The model's optimizers, each once, by the attribute that holds it."""
        found = {}
        for name, value in vars(self.model).items():
            if isinstance(value, keras.optimizers.Optimizer) and value not in found.values():
                found[name.removeprefix("_")] = value
        return found

    def why_not_fused(self):
        """The reason why an optimizer steps by its own `apply`, or `None`, by its attribute.

        Those are left out that have no weights yet, and once some have stepped the others: of a
        GAN's, that which `compile` makes unasked.
        """
        reasons = {}
        for name, optimizer in self._by_name().items():
            if optimizer.built and (not self._stepped or id(optimizer) in self._stepped):
                variables = keras_optimizers.trainable_variables(optimizer)
                leaves = [Leaf(variable, AS_IS) for variable in variables]
                reasons[name] = _why_not(optimizer, leaves)
        return reasons

    @contextlib.contextmanager
    def in_place(self):
        """`apply` is fused inside this context."""
        placed = []
        try:
            for apply in self._applies:
                if "apply" not in vars(apply.optimizer):  # else it is patched, or an outer step's
                    placed.append(apply.optimizer)
                    object.__setattr__(apply.optimizer, "apply", apply)
            yield
        finally:
            for optimizer in placed:
                object.__delattr__(optimizer, "apply")


class NativeApply:
    """`optimizer.apply(gradients, variables)`, fused for what the fused updates know.

    Args:
        optimizer: Keras optimizer.
        stepped: dict by their ids, of optimizers that have stepped.
    """

    def __init__(self, optimizer, stepped):
        self.optimizer = optimizer
        self._stepped = stepped
        # By the ids of variables: an update and what steps by it, or `None` for Keras's own.
        self._updates = {}
        self._moves = None

    def __call__(self, grads, trainable_variables=None):
        optimizer = self.optimizer
        self._stepped[id(optimizer)] = optimizer
        update = None
        if trainable_variables is not None and optimizer.built:
            grads, variables = list(grads), list(trainable_variables)
            if all(type(g) is torch.Tensor for g in grads) and len(grads) == len(variables):
                update, steps = self._update_of(variables)
        if (
            update is None
            or not _as_before(variables, update)
            or not _alike(grads, update.parameters)
        ):
            return type(optimizer).apply(optimizer, grads, trainable_variables)
        if update.changes_gradients() or steps is not update:
            grads = [gradient.clone() for gradient in grads]  # they are still the user's
        with torch.no_grad():
            steps.step(grads)
        return None

    def _update_of(self, variables):
        if self._moves != moves.count:  # weights were laid out anew: so has to be the state
            self._updates.clear()
            self._moves = moves.count
        key = tuple(map(id, variables))
        if len(self._updates) > 16:
            self._updates.clear()
        if key not in self._updates:
            self._updates[key] = self._make(variables)
        return self._updates[key]

    def _make(self, variables):
        if not all(isinstance(variable, keras.Variable) for variable in variables):
            return None, None
        leaves = [Leaf(variable, AS_IS) for variable in variables]
        object.__delattr__(self.optimizer, "apply")  # whoever looks sees an unpatched optimizer
        try:
            if not leaves or _why_not(self.optimizer, leaves) is not None:
                return None, None
            inner = unwrap(self.optimizer)
            update = make_update(inner, leaves, variables)
            if inner is self.optimizer:
                return (None, None) if update.reason is not None else (update, update)
            if update.reason is not None or not update.handles_found_inf:
                return None, None
            return update, LossScaling(self.optimizer, update)
        except ValueError:
            return None, None  # Keras says what is wrong with the variables
        finally:
            object.__setattr__(self.optimizer, "apply", self)


def _why_not(optimizer, leaves):
    """Why an optimizer, or the one that its loss scaling is around, is not fused, or `None`."""
    inner = unwrap(optimizer)
    if inner is optimizer:
        return why_not_fused(inner, leaves)
    if not only_scales(optimizer):
        return f"{type(optimizer).__name__} steps by its own code"
    if not all(may_be_taken_back(leaf.variable.constraint) for leaf in leaves):
        return "a constraint of one's own under loss scaling"
    return why_not_fused(inner, leaves)


def _as_before(variables, update):
    """Whether no weight has got another tensor since the update was made."""
    return all(
        keras_variables.memory_of(variable) is parameter
        for variable, parameter in zip(variables, update.parameters, strict=True)
    )


def _alike(gradients, parameters):
    """Whether gradients lie in memory as their parameters do, as fused kernels take it."""
    return all(map(_lies_like, gradients, parameters))


def _lies_like(one, other):
    if one.dtype is not other.dtype or one.stride() != other.stride():
        return False
    return one.shape == other.shape and one.device == other.device
