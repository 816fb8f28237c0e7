"""Which way an accelerated model steps: by its graph, layer by layer, in its own step, plainly."""

import contextlib

from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_models, keras_variables
from keras_dawn.foundation.device import why_not_native
from keras_dawn.native.compiled_parts import are_same, compiled_parts
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.step import NativeSteps
from keras_dawn.native.step_modes import StepModes
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.functions import InStep, NativeFunction, OwnStep
from keras_dawn.native.steps.graph_way import GraphWay
from keras_dawn.native.steps.own_metrics import NativeMeans
from keras_dawn.native.steps.own_optimizers import NativeOptimizers

import torch


class Stepping(StepModes):
    """Which way a model steps, brought up to date before each call of a step.

    Args:
        model: `keras.Model`.
        log_every: int, in how many steps the logs within an epoch are refreshed.
        compile: bool, whether lowered graphs go to `torch.compile`.

    Attributes:
        layers: `NativeLayers` that an own `train_step` and the like run on, or `None`.
        refusal: str, why the model stays on the plain Keras path, or `None`.
    """

    def __init__(self, model, log_every, compile):
        super().__init__()
        self.model = model
        self.log_every = log_every
        self.compile = compile
        self.layers = self.optimizers = self.means = None
        self.refusal = None
        self.rank_weight = 1.0  # of this rank's batches, beside those of other ranks
        self.in_step = False  # whether a step is under way
        self.running = 0  # how many `fit`, `evaluate` and `predict` are under way
        self._way = GraphWay()  # as batches have shown
        self._compiled = None  # what `compile` had made, to know whether it was called again
        self._trained = None  # the same, when a training was last prepared

    def is_native(self):
        """Whether the last steps computed natively, wholly or with the model's own Python."""
        if self.steps is not None:
            return True
        return self.layers is not None and bool(self.layers.native())

    def prepare(self, purpose):
        """Brings the steps up to date; returns them, or `None` for the plain path."""
        # Asked anew each time: a refusal ends when its reason does.
        return self._prepare(purpose, self._why_not_native())

    def has_trained(self):
        """Whether the model has begun to train natively with what is compiled now."""
        return self._trained is not None and are_same(compiled_parts(self.model), self._trained)

    def _prepare(self, purpose, refusal):
        self.refusal = refusal
        if getattr(self.model, "steps_per_execution", 1) > 1:
            self.refusal = "steps_per_execution"  # before 3.16 Keras raises: torch has none
        if self.refusal is not None:
            self._drop_steps()
            return None
        compiled = compiled_parts(self.model)
        if self.steps is not None and not self._is_current(compiled):
            self._drop_steps()
        try:
            return self._prepared(purpose, compiled)
        except LoweringError as error:
            self._drop_steps()
            if not self.is_graph():
                self.refusal = str(error)
                return None
            # From now on each layer computes natively that can.
            self._way = GraphWay(by_layer=str(error))
            return self._prepared(purpose, compiled)

    def _why_not_native(self):
        """Why the model as it is now cannot be native at all, or `None`."""
        variables = self.model.variables
        if any(map(keras_variables.is_cast, variables)):
            return "torch cast its weights, and Keras's variables have other dtypes"
        return why_not_native(keras_variables.device_of(self.model, variables).type)

    def _drop_steps(self):
        if self.steps is not None:
            self.steps.graphs.release()
        self.steps = None

    def _is_current(self, now):
        """Whether the steps still fit what is compiled now, and every setting that they read."""
        return are_same(now, self._compiled) and self.steps.is_current()

    @torch.inference_mode(False)  # weights laid out anew are trained later, whoever asks first
    def _prepared(self, purpose, compiled):
        if self.steps is None:
            self.steps = NativeSteps(self.model, self.log_every, self.compile, self._way)
            self.steps.rank_weight = self.rank_weight
            self._compiled = compiled
        self.steps.keep_gradients = self.watched
        self.steps.makes_arrays = self.makes_arrays
        if purpose == "train_function":
            self.steps.prepare_training()
            self._trained = compiled
        elif purpose == "test_function":
            self.steps.prepare_losses()
        return self.steps

    def follow_changes(self):
        """Takes up what callbacks changed, such as a layer's `trainable` or its rate."""
        if self.is_own("train_function"):
            self._refresh()
        if self.steps is not None and not self._is_current(compiled_parts(self.model)):
            exact = self.steps.exact_logs
            if self.prepare("predict_function") is not None:
                # Forward only: the function that runs next prepares losses or training itself.
                self.steps.exact_logs = exact

    def follow_python(self):
        """Takes up what data, a loss or a metric of the user's changed since the last step.

        Layers that are called one by one are looked at when they are called.
        """
        if self.is_graph():
            self.follow_changes()

    def _refresh(self):
        """Looks anew at what an own `train_step` and the like use."""
        for each in (self.layers, self.optimizers, self.means):
            if each is not None:
                each.refresh()

    def is_graph(self):
        """Whether the steps go by the model's graph of layers."""
        graph = keras_models.functional_graph(self.model) is not None
        return graph and self._way.by_layer is None

    def is_own(self, attribute):
        """Whether the model's class brings its own step, or its own function around it."""
        step = attribute.replace("function", "step")
        return any(
            keras_models.is_overridden(self.model, name) for name in (step, f"make_{attribute}")
        )

    def own_parts(self):
        """Names of the model's methods that keep their Python."""
        model = self.model
        names = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")
        own = [name for name in names if keras_models.is_overridden(model, name)]
        if not self.is_graph() and keras_models.has_own_call(model):
            own.insert(0, f"{type(model).__name__}.call")
        return own

    def install(self, attribute, plain, force):
        """Puts the function of a step where `fit` and the like look for it.

        Args:
            attribute: str, such as `"train_function"`.
            plain: str, the method of Keras's that makes it.
            force: bool, as Keras's own method takes it.
        """
        model = self.model
        make_plain = getattr(type(model), plain)
        own = self.is_own(attribute)
        present = getattr(model, attribute)
        ours = isinstance(present, (NativeFunction, OwnStep, InStep))
        if not (force or own or ours or present is None or keras_models.is_made_by_keras(present)):
            return  # one that somebody has put there, as in Keras's own method
        if getattr(model, "steps_per_execution", 1) > 1:
            make_plain(model, force=True)  # raises Keras's own error
            return
        refusal = self._why_not_native()
        proved = refusal is None
        if own and proved and not getattr(model, "jit_compile", False):
            if self.layers is None:
                self.layers, self.optimizers = NativeLayers(model), NativeOptimizers(model)
                self.means = NativeMeans(model)
            self._refresh()
            make_plain(model, force=True)
            function = getattr(model, attribute)
            setattr(model, attribute, OwnStep(self, function, attribute))
            return
        if not proved:
            self.layers = self.optimizers = self.means = None  # the last step may have had them
        waits = not (own or self.running) and attribute != "predict_function"
        if waits and keras_models.waits_for_a_batch(model):
            if model.built:  # forward only: losses and metrics are read once they are built
                self._prepare("predict_function", refusal)
            setattr(model, attribute, NativeFunction(self, attribute, waits=True))
            return
        steps = None if own else self._prepare(attribute, refusal)
        if steps is None and current().several and attribute == "train_function":
            raise ValueError(
                f"{model.name} cannot be trained on {current().world_size} ranks: {self.refusal}"
            )
        if steps is None:
            make_plain(model, force=force or ours)
            if current().several and attribute == "test_function":
                setattr(model, attribute, InStep(self, getattr(model, attribute)))
            return
        setattr(model, attribute, NativeFunction(self, attribute))

    def plain_function(self, attribute):
        """Keras's own function, put in the place of a native one."""
        getattr(type(self.model), f"make_{attribute}")(self.model, force=True)
        return getattr(self.model, attribute)

    def fall_back(self, error, attribute):
        """Steps that take a batch which these cannot take, or raise Keras's error.

        Args:
            error: `LoweringError` of these.
            attribute: str, such as `"train_function"`.
        """
        if current().several and attribute == "train_function":
            raise ValueError(
                f"{self.model.name} cannot be trained on several ranks: {error}. Sizes that change "
                "have to be open in its `keras.Input`, as in `Input((None, None, 3))`."
            )
        if self.is_graph():
            exact = self.steps is not None and self.steps.exact_logs
            forward = None if self.steps is None else self.steps.forward
            self._way = self._way.after(error, forward)
            self._drop_steps()
            self.prepare(attribute).exact_logs = exact
        return self.steps

    def forget_fall_back(self):
        """The next steps are again those that a graph has when no batch has come."""
        self._way = GraphWay()
        self._drop_steps()

    @contextlib.contextmanager
    def exact_logs(self):
        """Logs of every step are exact in here."""
        self.prepare("predict_function")
        with contextlib.nullcontext() if self.steps is None else self.leaving_exact_logs():
            yield
