"""The backward pass and the optimizer step, for the weights that get a gradient."""

import functools
import operator
import warnings

from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_layers, keras_optimizers, keras_variables
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.steps.backward import backward
from keras_dawn.native.steps.loss_scaling import LossScaling, only_scales
from keras_dawn.native.steps.scaled_on_ranks import ScaledOnRanks
from keras_dawn.native.steps.settings import Settings
from keras_dawn.native.steps.shared_gradients import Apart
from keras_dawn.native.steps.updates import KerasApply, make_update, why_not_fused

import torch


class Optimization:
    """Steps on a loss as `keras.Model.train_step` does.

    Args:
        model: compiled `keras.Model`, its optimizer built.
        leaves: list of `Leaf`, the trainable parameters of the training graph.
        python: bool, whether Python of somebody's runs in the step, which may also use the
            variables of layers that are written in torch.
        may_vary: bool, whether without it another step may compute otherwise.

    Raises:
        ValueError: a weight that the optimizer was not built for, in Keras's words.
    """

    def __init__(self, model, leaves, python=False, may_vary=False):
        self._outer = model.optimizer
        self._optimizer = unwrap(model.optimizer)
        self._variables = model.trainable_weights  # a model may say which they are
        trained = set(map(id, self._variables))
        self._leaves = [leaf for leaf in leaves if id(leaf.variable) in trained]
        self._parameters = [leaf.tensor for leaf in self._leaves]
        self._all = [leaf.tensor for leaf in leaves]
        if python:
            self._all += [keras_variables.memory_of(leaf.variable) for leaf in leaves]
        self._all = list({id(tensor): tensor for tensor in self._all}.values())
        self._take_apart = Apart(self._all, python or may_vary)
        self._chosen = {}
        self._settings_around = Settings(self._outer)
        self._dense = None  # whether gradients were no sparse tensors, in the first step
        self._kept = []  # leaves with the gradients that a callback may look at
        self.left_to_keras = False  # what is said of weights without a gradient in the last step
        self._twice = [leaf for leaf in self._leaves if python and leaf.transform != AS_IS]
        several = current().several
        self._backward_scaled = (
            ScaledOnRanks(model, self._leaves, self._all, self._backward)
            if several
            else self._backward
        )
        self.update, self._scaling = self._make(self._leaves)

    def is_current(self):
        """Whether the update still fits the optimizer's settings and the layout of the memory."""
        if not self._leaves:
            return True
        fused = self.update.reason is None
        return not fused or (
            why_not_fused(self._optimizer, self._leaves) is None and self.update.is_laid_out()
        )

    def why_no_graph(self):
        """Why the step cannot be part of a CUDA graph, or `None`."""
        if not self._variables:
            return "no weight to train"
        return "gradients of the user's" if self._twice else self.update.why_no_graph()

    def settings(self):
        """All that the Python of a step reads of the optimizer."""
        outer = () if self._scaling is None else self._settings_around()
        return outer, self.update.settings()

    def clear(self):
        """Forgets gradients: of plain training before, of an interrupted step, of anybody."""
        for parameter in self._all:
            parameter.grad = None

    def differentiate(self, loss):
        """Leaves the gradients of a loss, a scalar tensor, in the parameters.

        Returns:
            What the loss was multiplied by, a 0-d tensor, or `None` for nothing.
        """
        if not self._variables:
            return None
        scale = (self._scaling or self.update).scale
        scaled = scale(loss)
        if scaled is loss:
            self._backward(loss)
            return None
        self._backward_scaled(scaled)
        return scale(torch.ones_like(loss.detach()))

    def _backward(self, loss):
        """Leaves gradients, each in memory of its own, in the parameters."""
        backward(loss)
        self._take_apart()

    def step(self, keep=False):
        """Updates the weights by their gradients; to be called without gradients.

        Args:
            keep: bool, whether the gradients are to be found in the variables afterwards, as
                Keras leaves them.

        Returns:
            bool tensor, whether loss scaling skipped the step, or `None` without loss scaling.
        """
        if not self._variables:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
            return None
        # Python may have used the variable itself besides: its gradient then has two parts.
        for leaf in self._twice:
            leaf.add_gradient(keras_variables.memory_of(leaf.variable).grad)
        gradients = [parameter.grad for parameter in self._parameters]
        kept = [None if g is None else g.clone() for g in gradients] if keep else ()
        if self._dense is None:
            self._dense = all(g is None or g.layout is torch.strided for g in gradients)
            if not self._dense:  # of a module of torch's, such as `nn.Embedding(sparse=True)`
                self.update = self._by_keras(self._leaves, "sparse gradients")
                self._scaling = None
        update, scaling, self.left_to_keras = self.update, self._scaling, False
        if not update.takes_none and self._some_missing(gradients):
            update, scaling = self._choose(gradients)
            if not update.takes_none:
                gradients = [gradient for gradient in gradients if gradient is not None]
        skip = update.step(gradients) if scaling is None else scaling.step(gradients)
        self.clear()
        self._kept = [pair for pair in zip(self._leaves, kept, strict=False) if pair[1] is not None]
        if kept:
            self.hand_out(self.kept())
        return skip

    def kept(self):
        """The gradients that the last step kept, as torch lays them out."""
        return [gradient for _, gradient in self._kept]

    def hand_out(self, gradients):
        """Leaves gradients, those of `kept` or others like them, in the variables."""
        for (leaf, _), gradient in zip(self._kept, gradients, strict=True):
            shape = tuple(leaf.variable.shape)
            keras_variables.memory_of(leaf.variable).grad = leaf.transform.undo(gradient, shape)

    def _some_missing(self, gradients):
        if len(gradients) < len(self._variables):
            return True
        return any(map(_IS_NONE, gradients))

    def _choose(self, gradients):
        """The update of those weights that got a gradient; Keras's words about the others."""
        self.left_to_keras = True
        if self.update.needs_all:
            return self._by_keras(self._leaves, "weights without a gradient"), None
        # An update is laid out for its weights: one for each choice of them.
        key = tuple(gradient is not None for gradient in gradients)
        found = {id(leaf.variable): used for leaf, used in zip(self._leaves, key, strict=True)}
        used = [True if found.get(id(v)) else None for v in self._variables]
        keras_optimizers.check_gradients(self._optimizer, used, self._variables)
        if len(self._chosen) > 16:  # of a model whose Python reaches ever other weights
            self._chosen.clear()
        if key not in self._chosen:
            self._chosen[key] = self._make(
                [leaf for leaf, used in zip(self._leaves, key, strict=True) if used]
            )
        return self._chosen[key]

    def _make(self, leaves):
        """`(update, scaling)`; scaling is `None` where the update does it or there is none."""
        update = make_update(self._optimizer, leaves, self._variables)
        if self._outer is self._optimizer or not leaves:
            return update, None
        if only_scales(self._outer):
            # Then the kernel skips by itself: to ask whether a gradient is infinite would wait.
            if update.handles_found_inf:
                return update, LossScaling(self._outer, update)
            reason = update.reason or f"{type(self._optimizer).__name__} under loss scaling"
        else:
            reason = f"{type(self._outer).__name__} steps by its own code"
        return self._by_keras(leaves, reason), None

    def _by_keras(self, leaves, reason):
        return KerasApply(self._optimizer, leaves, reason, self._variables, self._outer)


class Trainability:
    """Notices that a layer or a weight was frozen or thawed, within an epoch too."""

    def __init__(self, model):
        layers = [x for x in keras_layers.all_layers(model) if hasattr(x, "trainable")]
        self._variables = model.variables
        self._now = keras_layers.flags_of([*layers, *self._variables])
        self._flags = self._now()
        # One may say by itself what is trained, and is asked in every step then.
        self._chooses = any(map(_chooses_weights, layers))
        self._model, self._weights = model, model.trainable_weights

    def changed(self):
        """Whether any flag is another one than when this was made, or other weights are trained."""
        if self._chooses:
            now = self._model.trainable_weights
            if list(map(id, now)) != list(map(id, self._weights)):
                return True
        return self._now() != self._flags

    def is_of_all(self):
        """Whether the model has no more variables, and no others, than when this was made."""
        now = self._model.variables
        return len(now) == len(self._variables) and all(map(operator.is_, now, self._variables))


def _chooses_weights(layer):
    """Whether a layer's class says which weights are trained, and Keras's flags do not."""
    kind = keras_layers.class_of(layer)
    parts = [getattr(kind, name, None) for name in ("trainable_weights", "trainable_variables")]
    return not all(
        isinstance(part, property) and part.fget.__module__.startswith("keras.src.")
        for part in parts
    )


_IS_NONE = functools.partial(operator.is_, None)
