"""What runs native in a model, what falls back, and why."""

import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field, replace

from keras_dawn.convolutions import table_in_use
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation.counted import counted
from keras_dawn.native.engine import engine_of
from keras_dawn.native.stepping import Stepping
from keras_dawn.native.steps.graph_forward import GraphForward
from keras_dawn.native.steps.step_graphs import WHOLE


@dataclass(frozen=True, repr=False)
class Explanation:
    """What `explain` found; `str()` of it is a table.

    Args:
        native: bool, whether `fit` runs native at all.
        refusal: str or `None`, why it does not.
        layers: `Counter` of layer classes written in torch.
        fallbacks: list of `(layer name, class, reason)`: layers called as they are.
        loss, metrics, optimizer: `"native"`, or how and why otherwise; `None` if not compiled.
        ranks: how several processes train together, or `None` for one.
        graph: what of a training step is a CUDA graph, or `None` without a GPU.
        python: what keeps its Python, such as an own `train_step`, or `None` for a graph.
        python_reason: str, why the model's own `call` does, where it is known, or `None`.
        awaited: str, the model's own `call` where no batch has shown so far how it goes, or `None`.
        uncalled: list of `(layer name, class)`: layers that no batch has gone through so far.
        accelerated: bool, whether the model is accelerated at all.
        compiled: str, what `torch.compile` was asked for and gets, or `None` where it was not.
        convolutions: dict from the name of a convolution to the ways that it went with the last
            batch (`keras_dawn.convolutions`); those that always are torch's own are left out.
        table: str, the name of the table that says so, or `None` without such convolutions.
    """

    native: bool
    refusal: str | None
    layers: Counter
    fallbacks: list
    loss: str | None = None
    metrics: str | None = None
    optimizer: str | None = None
    ranks: str | None = None
    graph: str | None = None
    python: str | None = None
    python_reason: str | None = None
    awaited: str | None = None
    uncalled: list = field(default_factory=list)
    accelerated: bool = True
    compiled: str | None = None
    convolutions: dict = field(default_factory=dict)
    table: str | None = None

    def is_whole(self):
        """Whether everything in the model and its step is native."""
        parts = (self.loss, self.metrics, self.optimizer)
        whole = all(part in (None, "native") for part in parts)
        kept = self.fallbacks or self.python or self.awaited
        return self.native and not kept and whole

    def __str__(self):
        if not self.native:
            return f"plain Keras: {self.refusal}"
        lines = [("part", "how")]
        if not self.accelerated:
            lines = [("not accelerated", "if it were:"), *lines]
        if self.python:
            reason = f": {self.python_reason}" if self.python_reason else ""
            lines.append((self.python, f"as it is{reason}; the layers inside compute natively"))
        if self.awaited:
            lines.append((self.awaited, "not called so far: a batch shows what of it is native"))
        for kind, count in self.layers.most_common():
            lines.append((f"{count} × {kind}", "native"))
        for name, kind, reason in self.fallbacks:
            lines.append((f"{name} ({kind})", f"the Keras layer itself: {reason}"))
        for name, kind in self.uncalled:
            lines.append((f"{name} ({kind})", "not called so far"))
        for way in dict.fromkeys(self.convolutions.values()):
            alike = [name for name, other in self.convolutions.items() if other == way]
            more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
            lines.append((f"{alike[0]}{more}", way))
        if self.table:
            lines.append(("their ways", f"by the table {self.table}"))
        for part in ("loss", "metrics", "optimizer", "ranks", "graph", "compiled"):
            if getattr(self, part):
                lines.append((_TITLES.get(part, part), getattr(self, part)))
        width = max(len(first) for first, _ in lines)
        return "\n".join(f"{first:<{width}}  {second}" for first, second in lines)

    def __repr__(self):
        return str(self)  # a notebook's cell that ends with `explain(model)` shows the table

    def line(self, name):
        """One line for the first `fit` of the model `name`."""
        if not self.native:
            return f"keras_dawn: {name} steps in plain Keras: {self.refusal}"
        count = sum(self.layers.values())
        parts = [f"{counted(count, 'layer')} native"]
        if self.python:
            parts.append(f"{self.python} as it is")
        if self.awaited:
            parts.append(f"{self.awaited} not called so far")
        if self.fallbacks:
            names = ", ".join(layer for layer, _, _ in self.fallbacks[:3])
            more = f" and {len(self.fallbacks) - 3} more" if len(self.fallbacks) > 3 else ""
            one = len(self.fallbacks) == 1
            parts.append(f"{names}{more} called as {'a Keras layer' if one else 'Keras layers'}")
        for part in ("loss", "metrics", "optimizer"):
            if getattr(self, part) not in (None, "native"):
                parts.append(f"{part}: {getattr(self, part)}")
        if self.compiled in (_NOT_COMPILED, _ASKED_OF_KERAS):
            parts.append(f"torch.compile: {self.compiled}")
        return f"keras_dawn: {name}: {'; '.join(parts)}. keras_dawn.explain(model) says more."


_TITLES = {"graph": "CUDA graph", "compiled": "torch.compile"}
_NOT_COMPILED = "not used: it is for models that are one graph, and this one keeps its Python"
_COMPILED_BY_KERAS = "its own train_step with jit_compile=True, which plain Keras compiles"
_ASKED_OF_KERAS = "not used: `jit_compile` is plain Keras's, accelerate(model, compile=True) ours"


def explain(model):
    """Says what `accelerate` makes of a model; the model need not be accelerated.

    Args:
        model: `keras.Model`. Loss, metrics and optimizer are covered once it is compiled and has
            seen a batch; so are the layers of a subclassed model and of a `Sequential` without an
            `Input`.

    Returns:
        `Explanation`.

    Example:
        >>> model = keras_dawn.models.WideResNet(10, 1)
        >>> print(keras_dawn.explain(keras_dawn.accelerate(model)))
        part                        how
        9 × Conv2D                  native
        7 × BatchNormalization      native
        7 × ReLU                    native
        3 × Add                     native
        2 × ZeroPadding2D           native
        1 × GlobalAveragePooling2D  native
        1 × Dense                   native
    """
    engine = engine_of(model)
    if engine is not None:
        return explanation(engine)
    return replace(explanation(Stepping(model, 1, False)), accelerated=False)


def explanation(engine, convolutions=True):
    """The `Explanation` of an `Engine`, or of the `Stepping` of a model that is not accelerated.

    To find the ways of convolutions runs the graph once without numbers; `False` leaves them out.
    """
    model = engine.model
    own = engine.own_parts()
    if "train_step" in own and getattr(model, "jit_compile", False):
        return Explanation(False, _COMPILED_BY_KERAS, Counter(), [])
    if "train_step" in own and engine.layers is not None:
        details = {"compiled": _NOT_COMPILED if engine.compile else None}
        details["optimizer"] = _how_each(engine.optimizers.why_not_fused(), "its own apply")
        if convolutions:
            details["convolutions"] = engine.layers.convolutions()
        return _explanation(model, engine.layers, own, **details)
    steps = _prepared(engine)
    if steps is None:
        return Explanation(False, engine.refusal, Counter(), [])
    details = {}
    if model.compiled and steps.update is not None and steps.metrics is not None:
        details["loss"] = _how(steps.loss.reason, "Keras's, on the native outputs")
        details["metrics"] = _how(steps.metrics.reason, "Keras's")
        details["optimizer"] = _how(steps.update.reason, "its own apply")
        details["graph"] = steps.graphs.how()
    forward = steps.forward
    if engine.compile:
        whole = isinstance(forward, GraphForward)
        details["compiled"] = "the graph of the layers" if whole else _NOT_COMPILED
    elif getattr(model, "jit_compile", False):
        details["compiled"] = _ASKED_OF_KERAS
    if convolutions:
        details["convolutions"] = forward.convolutions()
    return _explanation(model, forward, own, **details)


def _prepared(engine):
    """The steps as they are now: where the model has trained, with all that its next `fit` needs.

    They may be others than those that trained it, made for a batch of another size.
    """
    if engine.has_trained() and not current().several:  # there all ranks would have to ask
        with contextlib.suppress(ValueError):  # of Keras's: the next `fit` raises it
            return engine.prepare("train_function")
    return engine.prepare("predict_function")


def _explanation(model, forward, own, **details):
    native, fallbacks = forward.native(), forward.fallbacks()
    call = f"{type(model).__name__}.call"
    if current().several:
        details["ranks"] = f"{current().world_size} over {current().backend}, "
        if fallbacks or set(own) - {"compute_metrics", "test_step", "predict_step"}:
            details["ranks"] += "gradients averaged at the end of each backward pass"
        elif (details.get("graph") or "").startswith(WHOLE):
            details["ranks"] += "gradients averaged by the CUDA graph of the step"
        else:
            details["ranks"] += "DistributedDataParallel"
    if any(layer is model for layer in native):  # its `call` only combines layers
        native = [layer for layer in native if layer is not model]
        own = [part for part in own if part != call]
    elif call in own and forward.awaits_own_call():
        details["awaited"], own = call, [part for part in own if part != call]
    elif call in own:
        # The beginning says of a layer that no rule computes it, as is plain for a model's `call`.
        reason = forward.why_own_call() or ""
        details["python_reason"] = re.sub("^no rule, and Python [^:]*: ", "", reason) or None
    if details.get("convolutions"):
        details["table"] = table_in_use().identity
    return Explanation(
        True,
        None,
        Counter(type(layer).__name__ for layer in native),
        [(layer.name, type(layer).__name__, reason) for layer, reason in fallbacks],
        python=" and ".join(own) or None,
        uncalled=[(layer.name, type(layer).__name__) for layer in forward.uncalled()],
        **details,
    )


def _how_each(reasons, otherwise):
    """How several parts go, from the reason why each is not native, or `None`, by its name."""
    if not any(reasons.values()):
        return "native" if reasons else None
    how = {name: _how(reason, otherwise) for name, reason in reasons.items()}
    return "; ".join(how.values() if len(how) == 1 else map(": ".join, how.items()))


def _how(reason, otherwise):
    return "native" if reason is None else f"{otherwise}: {reason}"
