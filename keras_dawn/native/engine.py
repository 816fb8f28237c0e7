"""What stands behind an accelerated model's `fit`, `evaluate`, `predict` and `save`."""

import contextlib
import inspect

from keras_dawn.distributed import metrics, session
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_internals
from keras_dawn.foundation.device import why_not_native
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.native import parallel
from keras_dawn.native.fit_callbacks import (
    Announcement,
    EqualWeights,
    FollowChanges,
    LastCallback,
    SetEpoch,
    watches_batches,
)
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.step import NativeSteps
from keras_dawn.native.steps.batch_logs import FreshLogs
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.functions import NativeFunction, OwnStep
from keras_dawn.native.steps.own_metrics import NativeMeans
from keras_dawn.native.steps.own_optimizers import NativeOptimizers
from keras_dawn.native.steps.reduction import GradientReduction
from keras_dawn.schedules.parameter_schedule import end_schedules

import keras

_PURPOSES = {"fit": "train", "evaluate": "test", "predict": "predict"}


class Engine:
    """What `accelerate` keeps for one model: its native steps, or why there are none.

    Attributes:
        steps: `NativeSteps`, or `None`.
        layers: `NativeLayers` that an own `train_step` and the like run on, or `None`.
        refusal: str, why the model stays on the plain Keras path, or `None`.
    """

    def __init__(self, model, log_every, compile):
        self.model = model
        self.log_every = log_every
        self.compile = compile
        self.steps = None
        self.layers = self.optimizers = self.means = None
        self.refusal = None
        self._by_layer = None  # why a graph is called layer by layer, found out by a batch
        self._compiled = None  # what `compile` had made, to know whether it was called again
        self._together = False  # whether a `fit` or `evaluate` of all ranks is running
        self._rank_weight = 1.0
        self.announced = False  # whether a `fit` has said how it steps
        self._watched = False  # whether a callback of the user's acts between batches
        self.running = 0  # how many `fit`, `evaluate` and `predict` are under way

    def is_native(self):
        """Whether the last steps computed natively, wholly or with the model's own Python."""
        if self.steps is not None:
            return True
        return self.layers is not None and bool(self.layers.native())

    def make_train_function(self, force=False):
        self._install("train_function", "make_train_function", force)

    def make_test_function(self, force=False):
        self._install("test_function", "make_test_function", force)

    def make_predict_function(self, force=False):
        self._install("predict_function", "make_predict_function", force)

    def reset_metrics(self):
        type(self.model).reset_metrics(self.model)
        if self.steps is not None:
            self.steps.reset_logs()

    def train_on_batch(self, *args, **kwargs):
        if current().several and (self._is_own("train_function") or not self._is_graph()):
            raise ValueError(
                f"{self.model.name} keeps its Python, and train_on_batch would train it on each "
                "rank alone. Call fit, which averages the gradients over the ranks."
            )
        with self._exact_logs():
            return type(self.model).train_on_batch(self.model, *args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self._exact_logs():
            return type(self.model).test_on_batch(self.model, *args, **kwargs)

    def fit(self, *args, **kwargs):
        with self._running():
            try:
                return self._fit(*args, **kwargs)
            except BaseException:  # Ctrl-C in a notebook: the next `fit` begins as this one did
                for optimizer in optimizers_of(self.model):
                    end_schedules(optimizer)
                raise

    def _fit(self, *args, **kwargs):
        arguments = self._arguments("fit", args, kwargs)
        follows = hasattr(arguments.get("x"), "set_epoch") and hasattr(arguments["x"], "epoch")
        if follows and isinstance(arguments["callbacks"], list):
            goes_on = arguments.get("steps_per_epoch") is not None
            first = SetEpoch(arguments["x"], arguments.get("initial_epoch", 0), goes_on)
            arguments["callbacks"] = [first, *arguments["callbacks"]]
        if not current().several:
            return type(self.model).fit(self.model, **arguments)
        self._check_parallel()
        with self._all_ranks():
            return session.run_fit(self.model, self._fit_of_a_rank, arguments, self._weigh)

    def _fit_of_a_rank(self, model, **arguments):
        """`fit` of the model's class; gradients of a model with Python of its own are averaged."""
        if self._is_graph() and not self._is_own("train_function"):
            return type(model).fit(model, **arguments)  # its steps average

        def begin():  # the model is built by now
            metrics.check_metrics(model)
            own = self._is_own("train_function")  # else the loss has been weighed
            weight = (lambda: self._rank_weight) if own else lambda: 1.0
            tensors = [keras_internals.memory_of(variable) for variable in model.variables]
            return stack.enter_context(GradientReduction(tensors, weight).active())

        with contextlib.ExitStack() as stack:
            first, *others = arguments["callbacks"]  # before anybody saves
            arguments["callbacks"] = [first, EqualWeights(begin), *others]
            return type(model).fit(model, **arguments)

    def evaluate(self, *args, **kwargs):
        arguments = self._arguments("evaluate", args, kwargs)
        method = type(self.model).evaluate
        if not current().several:
            with self._running():
                return method(self.model, **arguments)
        with self._running(), self._all_ranks():
            return session.run_evaluate(self.model, method, arguments, self._alone)

    def predict(self, *args, **kwargs):
        arguments = self._arguments("predict", args, kwargs)
        if not current().is_main:
            arguments["verbose"] = 0
        with self._running():
            return type(self.model).predict(self.model, **arguments)

    def get_metrics_result(self):
        def compute():
            return type(self.model).get_metrics_result(self.model)

        return metrics.metrics_of_all_ranks(self.model, compute) if self._together else compute()

    def save(self, *args, **kwargs):
        if current().is_main:
            return type(self.model).save(self.model, *args, **kwargs)

    def save_weights(self, *args, **kwargs):
        if current().is_main:
            type(self.model).save_weights(self.model, *args, **kwargs)

    def _arguments(self, name, args, kwargs):
        """The call's arguments by name, with the callbacks that a native step needs.

        A class may bring its own `fit` with other arguments: what it passes on as `**kwargs` is
        passed on here too.
        """
        signature = inspect.signature(getattr(type(self.model), name))
        bound = signature.bind(self.model, *args, **kwargs)
        arguments = {}
        for key, value in bound.arguments.items():
            kind = signature.parameters[key].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                plain = inspect.signature(getattr(keras.Model, name)).parameters
                unnamed = [each for each in plain if each not in ("self", *arguments)]
                arguments.update(zip(unnamed, value, strict=False))
            else:
                arguments[key] = value
        del arguments[next(iter(signature.parameters))]  # the model itself
        callbacks = arguments.get("callbacks")
        kinds = {each.kind for each in signature.parameters.values()}
        if "callbacks" not in signature.parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
            return arguments  # a method of the model's own, which takes none
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.tree.flatten(callbacks) if callbacks else []
            own = self._is_own(f"{_PURPOSES[name]}_function") or keras_internals.is_overridden(
                self.model, "compute_metrics"
            )  # then the logs are the model's own tensors, which a GPU makes wait for
            kind = FollowChanges if own and _device_of(self.model) != "cpu" else LastCallback
            self._watched = name == "fit" and watches_batches(callbacks)
            last = kind(self.follow_changes, self._watched)
            fresh = FreshLogs(self, callbacks)
            more = [Announcement(self)] if name == "fit" and not self.announced else []
            arguments["callbacks"] = [*callbacks, fresh, *more, last]
        else:
            FreshLogs.join(callbacks, self)
        return arguments

    def _check_parallel(self):
        reason = parallel.why_not(self.model)
        if reason is not None:
            raise ValueError(
                f"{self.model.name} cannot be trained on {current().world_size} ranks: {reason}"
            )

    def _weigh(self, rank_weight):
        self._rank_weight = rank_weight
        if self.steps is not None:
            self.steps.rank_weight = rank_weight

    @contextlib.contextmanager
    def _running(self):
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def _alone(self):
        return self._all_ranks(together=False)

    @contextlib.contextmanager
    def _all_ranks(self, together=True):
        before, self._together = self._together, together
        try:
            yield
        finally:
            self._together = before

    def prepare(self, purpose):
        """Brings the steps up to date; returns them, or `None` for the plain path."""
        self.refusal = why_not_native(_device_of(self.model))
        if getattr(self.model, "steps_per_execution", 1) > 1:
            self.refusal = "steps_per_execution"  # an error of Keras's before 3.16
        if self.refusal is not None:
            self.steps = None
            return None
        compiled = _compiled_parts(self.model)
        if self.steps is not None and not self._is_current():
            self.steps = None
        try:
            return self._prepared(purpose, compiled)
        except LoweringError as error:
            self.steps = None
            if not self._is_graph():
                self.refusal = str(error)
                return None
            self._by_layer = str(error)  # the layers that can still compute natively
            return self._prepared(purpose, compiled)

    def _is_current(self):
        """Whether the steps still fit what was compiled, and every setting that they read."""
        now, then = _compiled_parts(self.model), self._compiled
        same = len(now) == len(then) and all(a is b for a, b in zip(now, then, strict=True))
        return same and self.steps.is_current()

    def _prepared(self, purpose, compiled):
        if self.steps is None:
            by_layer = self._by_layer is not None
            self.steps = NativeSteps(self.model, self.log_every, self.compile, by_layer)
            self.steps.rank_weight = self._rank_weight
            self._compiled = compiled
        self.steps.keep_gradients = self._watched
        if purpose == "train_function":
            self.steps.prepare_training()
        elif purpose == "test_function":
            self.steps.prepare_losses()
        return self.steps

    def follow_changes(self):
        """Takes up what callbacks changed, such as a layer's `trainable` or its rate."""
        if self._is_own("train_function"):
            self._refresh()
        elif self.steps is not None and not self._is_current():
            exact = self.steps.exact_logs
            if self.prepare("predict_function") is not None:
                self.steps.exact_logs = exact  # the function that runs prepares what it needs

    def _refresh(self):
        """Looks anew at what an own `train_step` and the like use."""
        for each in (self.layers, self.optimizers, self.means):
            if each is not None:
                each.refresh()

    def _is_graph(self):
        graph = keras_internals.functional_graph(self.model) is not None
        return graph and self._by_layer is None

    def _is_own(self, attribute):
        """Whether the model's class brings its own step, or its own function around it."""
        step = attribute.replace("function", "step")
        return any(
            keras_internals.is_overridden(self.model, name) for name in (step, f"make_{attribute}")
        )

    def own_parts(self):
        """Names of the model's methods that keep their Python."""
        model = self.model
        names = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")
        own = [name for name in names if keras_internals.is_overridden(model, name)]
        if not self._is_graph() and keras_internals.is_overridden(model, "call"):
            own.insert(0, f"{type(model).__name__}.call")
        return own

    def _install(self, attribute, plain, force):
        model = self.model
        make_plain = getattr(type(model), plain)
        own = self._is_own(attribute)
        if getattr(model, "steps_per_execution", 1) > 1:
            make_plain(model, force=True)  # raises Keras's own error
            return
        proved = why_not_native(_device_of(model)) is None
        if own and proved and not getattr(model, "jit_compile", False):
            if self.layers is None:
                self.layers, self.optimizers = NativeLayers(model), NativeOptimizers(model)
                self.means = NativeMeans(model)
            self._refresh()
            make_plain(model, force=True)
            function = getattr(model, attribute)
            native = self.layers, self.optimizers, self.means
            setattr(model, attribute, OwnStep(function, *native))
            return
        steps = None if own else self.prepare(attribute)
        if steps is None and current().several and attribute == "train_function":
            raise ValueError(
                f"{model.name} cannot be trained on {current().world_size} ranks: {self.refusal}"
            )
        if steps is None:
            if isinstance(getattr(model, attribute), (NativeFunction, OwnStep)):
                force = True
            make_plain(model, force=force)
            return
        setattr(model, attribute, NativeFunction(self, attribute))

    def plain_function(self, attribute):
        """Keras's own function, put in the place of a native one."""
        getattr(type(self.model), f"make_{attribute}")(self.model, force=True)
        return getattr(self.model, attribute)

    def fall_back(self, reason, attribute):
        """Steps that go layer by layer: what a graph cannot do with a batch, or Keras's error."""
        if current().several and attribute == "train_function":
            raise ValueError(f"{self.model.name} cannot be trained on several ranks: {reason}")
        if self._is_graph():
            exact = self.steps is not None and self.steps.exact_logs
            self.steps, self._by_layer = None, reason
            self.prepare(attribute).exact_logs = exact
        return self.steps

    @contextlib.contextmanager
    def _exact_logs(self):
        self.prepare("predict_function")
        if self.steps is None:
            yield
            return
        self.steps.exact_logs = True
        try:
            yield
        finally:
            if self.steps is not None:
                self.steps.exact_logs = False


def _device_of(model):
    variables = model.variables
    tensor = variables[0].value if variables else keras.ops.zeros(())
    return tensor.device.type


def _compiled_parts(model):
    """What `compile` made: optimizer, loss, loss weights, metrics."""
    optimizer = getattr(model, "optimizer", None)
    return [optimizer, *keras_internals.compiled_loss(model), *model.metrics]
