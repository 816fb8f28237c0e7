"""What goes on inside the layers while a model trains."""

from keras_dawn.foundation import keras_losses, keras_models
from keras_dawn.foundation.model_state import kept, metric_variables
from keras_dawn.foundation.norms import norms_of

import keras
import torch

_MOST = 8  # layers in one picture that can be told apart


class LayerStatistics(keras.callbacks.Callback):
    """Looks at activations and gradients of the layers on one fixed batch, every few steps.

    Collapsing or exploding layers show early: a mean that runs away, a spread near 0, activations
    that are nearly all 0 (fastai's `ActivationStats`). The probe is a pass of its own in
    inference mode: it changes neither the training nor its random numbers. A `fit` with
    `initial_epoch` adds to the rows. Draw them with
    `keras_dawn.plots.plot_layer_statistics`.

    Args:
        x, y: the batch: inputs as the model takes them, and targets.
        every_steps: int from 1 up; the first look is before the first step.
        layers: list of layer names; by default those with a kernel, at most eight of them, evenly
            from first to last.

    Attributes:
        rows: list of dicts with `step`, `layer`, `mean`, `std` and `near_zero` (the fraction of
            activations within 0.05 of 0) of its output, and `gradient_norm` of its weights.

    Raises:
        ValueError: bad numbers; when the training begins, unknown layers, or a model of Python of
            its own.

    Example:
        >>> statistics = LayerStatistics(images[:64], labels[:64], every_steps=50)  # doctest: +SKIP
        >>> model.fit(train, epochs=3, callbacks=[statistics])                      # doctest: +SKIP
    """

    def __init__(self, x, y, *, every_steps=50, layers=None):
        super().__init__()
        if not isinstance(every_steps, int) or every_steps < 1:
            raise ValueError(
                f"`every_steps` must be a whole number from 1 up, got {every_steps!r}."
            )
        self.x, self.y = x, y
        self.every_steps, self.layers = every_steps, layers
        self.rows = []
        self._steps = 0
        self._begins = False

    def on_train_begin(self, logs=None):
        known = {layer.name: layer for layer in self.model.layers}
        names = self.layers
        if names is None:
            names = [name for name, layer in known.items() if hasattr(layer, "kernel")]
            if len(names) > _MOST:
                last = _MOST - 1
                names = [names[n * (len(names) - 1) // last] for n in range(_MOST)]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{self.model.name} has no layer {', '.join(unknown)}.")
        self._watched = [known[name] for name in names]
        try:
            outputs = [layer.output for layer in self._watched]
            graph = keras_models.functional_graph(self.model) or self.model
            inputs, answers = graph.input, graph.output  # structures, as the loss takes them
        except (AttributeError, ValueError) as error:
            raise ValueError(
                f"LayerStatistics cannot look into {self.model.name}: it needs a Functional or "
                f"Sequential model in which each of the layers is called once. {error}"
            ) from None
        self._probe = keras.Model(inputs, [answers, outputs])
        self._begins = True

    def on_epoch_begin(self, epoch, logs=None):
        if self._begins and epoch == 0:  # a `fit` with `initial_epoch` goes on
            self.rows, self._steps = [], 0
        self._begins = False

    def on_train_batch_begin(self, batch, logs=None):
        if self._steps % self.every_steps == 0:
            self._look()
        self._steps += 1

    def on_train_end(self, logs=None):
        self._look()

    def state_dict(self):
        """The rows and the steps so far, for checkpoints."""
        return {"rows": self.rows, "steps": self._steps, "begins": self._begins}

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        self.rows[:], self._steps = state["rows"], state["steps"]
        self._begins = state["begins"]

    def _look(self):
        if self.rows and self.rows[-1]["step"] == self._steps:
            return  # at the end of the `fit` before
        answers, outputs = self._probe(self.x, training=False)
        loss = self._loss(answers, outputs[0].device)
        weights = [weight for layer in self._watched for weight in layer.trainable_weights]
        # Not `backward`, which would add to the gradients of the training. Of frozen layers none.
        values = [weight.value for weight in weights]
        slopes = self._slopes(loss, values) if values else ()
        by_weight = {id(w): slope for w, slope in zip(weights, slopes, strict=True)}
        for layer, output in zip(self._watched, outputs, strict=True):
            own = [by_weight[id(weight)] for weight in layer.trainable_weights]
            own = [slope for slope in own if slope is not None]
            output = output.detach().float()
            numbers = [
                output.mean(),
                output.std(),
                (output.abs() < 0.05).float().mean(),
                torch.stack(norms_of(own)).norm() if own else torch.zeros((), device=output.device),
            ]
            # All four in one copy to the host, which waits for the device once.
            mean, std, near_zero, gradient = torch.stack(numbers).tolist()
            self.rows.append(
                {
                    "step": self._steps,
                    "layer": layer.name,
                    "mean": mean,
                    "std": std,
                    "near_zero": near_zero,
                    "gradient_norm": gradient,
                }
            )

    def _loss(self, answers, device):
        targets = keras.tree.map_structure(lambda y: torch.as_tensor(y, device=device), self.y)
        # Losses of several outputs count each one's mean where they are computed.
        with kept([variable.value for variable in metric_variables(self.model)]):
            return keras_losses.compute_loss(self.model, self.x, targets, answers, None, False)

    def _slopes(self, loss, values):
        """The gradients; in float16 at the scale of the training, or small ones would be 0."""
        scale = getattr(self.model.optimizer, "dynamic_scale", None)  # of a `LossScaleOptimizer`
        scale = 1.0 if scale is None else float(scale)
        while True:
            slopes = torch.autograd.grad(loss * scale, values, allow_unused=True, retain_graph=True)
            slopes = [None if slope is None else slope.float() / scale for slope in slopes]
            finite = all(slope is None or slope.isfinite().all() for slope in slopes)
            if finite or scale <= 1:
                return slopes
            scale /= 16  # it was too large yet
