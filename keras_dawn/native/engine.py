"""What stands behind an accelerated model's `fit`, `evaluate`, `predict` and `save`."""

import contextlib
import inspect

from keras_dawn.distributed import session
from keras_dawn.distributed.ranks import current
from keras_dawn.native import keras_internals, parallel
from keras_dawn.native.fit_callbacks import LastCallback, SetEpoch
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.step import NativeSteps
from keras_dawn.native.steps.batch_logs import FreshLogs

import keras


class Engine:
    """What `accelerate` keeps for one model: its native steps, or why there are none."""

    def __init__(self, model, log_every, compile):
        self.model = model
        self.log_every = log_every
        self.compile = compile
        self.steps = None
        self.refusal = None
        self._refused_in_step = None  # found out by running a batch
        self._signature = None
        self._compiled = None  # kept alive: their ids are part of the signature
        self._together = False  # whether a `fit` or `evaluate` of all ranks is running

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
        with self._exact_logs():
            return type(self.model).train_on_batch(self.model, *args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self._exact_logs():
            return type(self.model).test_on_batch(self.model, *args, **kwargs)

    def fit(self, *args, **kwargs):
        arguments = self._arguments("fit", args, kwargs)
        follows = hasattr(arguments.get("x"), "set_epoch") and hasattr(arguments["x"], "epoch")
        if follows and isinstance(arguments["callbacks"], list):
            arguments["callbacks"] = [SetEpoch(arguments["x"]), *arguments["callbacks"]]
        if not current().several:
            return type(self.model).fit(self.model, **arguments)
        self._check_parallel()
        with self._all_ranks():
            return session.run_fit(self.model, type(self.model).fit, arguments, self._weigh)

    def evaluate(self, *args, **kwargs):
        arguments = self._arguments("evaluate", args, kwargs)
        if not current().several:
            arguments.update(arguments.pop("kwargs", {}))
            return type(self.model).evaluate(self.model, **arguments)
        with self._all_ranks():
            return session.run_evaluate(self.model, type(self.model).evaluate, arguments)

    def predict(self, *args, **kwargs):
        arguments = self._arguments("predict", args, kwargs)
        if not current().is_main:
            arguments["verbose"] = 0
        return type(self.model).predict(self.model, **arguments)

    def get_metrics_result(self):
        def compute():
            return type(self.model).get_metrics_result(self.model)

        return session.metrics_of_all_ranks(self.model, compute) if self._together else compute()

    def save(self, *args, **kwargs):
        if current().is_main:
            type(self.model).save(self.model, *args, **kwargs)

    def save_weights(self, *args, **kwargs):
        if current().is_main:
            type(self.model).save_weights(self.model, *args, **kwargs)

    def _arguments(self, name, args, kwargs):
        """The call's arguments by name, with a callback that needs no thread of its own."""
        method = getattr(type(self.model), name)
        arguments = dict(inspect.signature(method).bind(self.model, *args, **kwargs).arguments)
        del arguments["self"]
        callbacks = arguments.get("callbacks")
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.tree.flatten(callbacks) if callbacks else []
            if refusal(self.model) is None:
                fresh = FreshLogs(self, callbacks)
                callbacks = [*callbacks, fresh, LastCallback(self.follow_changes)]
            arguments["callbacks"] = callbacks
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
        if self.steps is not None:
            self.steps.rank_weight = rank_weight

    @contextlib.contextmanager
    def _all_ranks(self):
        before, self._together = self._together, True
        try:
            yield
        finally:
            self._together = before

    def prepare(self, purpose):
        """Brings the steps up to date; returns them, or `None` for the plain path."""
        model = self.model
        self.refusal = refusal(model) or self._refused_in_step
        if self.refusal is not None:
            self.steps = None
            return None
        signature = _signature(model)
        if self.steps is None or signature != self._signature or not _shared(self.steps):
            self.steps = None
        try:
            if self.steps is None:
                self.steps = NativeSteps(model, self.log_every, self.compile)
                self._signature = signature
                self._compiled = _compiled_parts(model)
            if purpose == "train_function":
                self.steps.prepare_training()
            elif purpose == "test_function":
                self.steps.prepare_losses()
        except LoweringError as error:
            self.steps, self.refusal = None, str(error)
            return None
        return self.steps

    def follow_changes(self):
        """Lowers again if callbacks changed what depends on it, such as a layer's `trainable`."""
        if self.steps is not None and _signature(self.model) != self._signature:
            self.make_train_function()

    def _install(self, attribute, plain, force):
        model = self.model
        steps = self.prepare(attribute)
        if steps is None and current().several and attribute == "train_function":
            raise ValueError(
                f"{model.name} cannot be trained on {current().world_size} ranks: {self.refusal}"
            )
        if steps is None:
            if isinstance(getattr(model, attribute), _NativeFunction):
                force = True
            getattr(type(model), plain)(model, force=force)
            return
        step = getattr(steps, attribute.replace("function", "step"))

        def fall_back(reason):
            if current().several and attribute == "train_function":
                raise ValueError(f"{model.name} cannot be trained on several ranks: {reason}")
            self._refused_in_step = reason
            getattr(type(model), plain)(model, force=True)
            return getattr(model, attribute)

        setattr(model, attribute, _NativeFunction(step, fall_back))

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
            self.steps.exact_logs = False


class _NativeFunction:
    """A native step as Keras calls it; the first batch may still show that it cannot be."""

    def __init__(self, step, fall_back):
        self._step = step
        self._fall_back = fall_back

    def __call__(self, batches):
        try:
            return self._step(batches)
        except LoweringError as error:
            return self._fall_back(str(error))(batches)


def refusal(model):
    """Why a model stays on the plain Keras path altogether, or `None`."""
    for name in ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"):
        if keras_internals.is_overridden(model, name):
            return f"{type(model).__name__} brings its own {name}."
    if getattr(model, "steps_per_execution", 1) > 1:
        return "The model was compiled with steps_per_execution, which Keras refuses on torch."
    if getattr(model, "run_eagerly", False):
        return "The model was compiled with run_eagerly=True."
    if getattr(model, "jit_compile", False):
        return "The model was compiled with jit_compile=True; use accelerate(compile=True)."
    for variable in model.trainable_variables:
        if variable.regularizer is not None:
            return f"{variable.path} has a regularizer: use the optimizer's weight decay."
    for layer in keras_internals.all_layers(model):
        if getattr(layer, "activity_regularizer", None) is not None:
            return f"{layer.name} has an activity regularizer."
    return None


def _signature(model):
    """What a lowering depends on: another one is made when this changes."""
    layers = [
        (id(layer), layer.trainable, layer.compute_dtype)
        for layer in keras_internals.all_layers(model)
        if hasattr(layer, "compute_dtype")
    ]
    variables = [(id(variable), variable.trainable) for variable in model.variables]
    return layers, variables, [id(part) for part in _compiled_parts(model)]


def _compiled_parts(model):
    """What `compile` made: optimizer, loss, loss weights, metrics."""
    optimizer = getattr(model, "optimizer", None)
    return [optimizer, *keras_internals.compiled_loss(model), *model.metrics]


def _shared(steps):
    """Whether the Keras variables still have the memory that the graphs work on."""
    lowered = [steps.evaluating] + ([steps.training] if steps.training else [])
    return all(leaf.is_shared() for low in lowered for leaf in low.leaves.values())
