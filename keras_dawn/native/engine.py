"""What stands behind an accelerated model's `fit`, `evaluate`, `predict` and `save`."""

import contextlib
import functools

from keras_dawn.distributed import metrics, session, sharding
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_models, keras_predict, keras_variables
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.native import parallel
from keras_dawn.native.call_arguments import arguments_of, takes_callbacks
from keras_dawn.native.class_weight import asked_about, weighed_by_class
from keras_dawn.native.error_notes import note_line
from keras_dawn.native.fit_callbacks import SetEpoch, with_ours
from keras_dawn.native.fit_checks import check_data
from keras_dawn.native.host_arrays import on_the_way
from keras_dawn.native.predicting import predict
from keras_dawn.native.rank_callbacks import DriftingWeights, EqualWeights
from keras_dawn.native.stepping import Stepping
from keras_dawn.native.steps import joint_evaluation
from keras_dawn.native.steps.reduction import GradientReduction
from keras_dawn.native.unmade_batches import LeaveBatchesUnmade
from keras_dawn.schedules.under_way import end_schedules

import keras
from torch.utils.data import DataLoader

_PURPOSES = {"fit": "train", "evaluate": "test", "predict": "predict"}


ATTRIBUTE = "_keras_dawn_engine"  # of an accelerated model


def engine_of(model):
    """The `Engine` of an accelerated model, or `None`.

    Raises:
        ValueError: what is not a Keras model.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model, got {type(model).__name__}.")
    return vars(model).get(ATTRIBUTE)


class Engine(Stepping):
    """What `accelerate` keeps for one model, and what its methods then do.

    Every public method but those of `Stepping` stands in the place of the model's own.

    Args:
        model, log_every, compile: as `accelerate` takes them.
        explanation: callable from an `Engine` to its `Explanation`, for the first `fit`'s line.
    """

    def __init__(self, model, log_every, compile, explanation):
        super().__init__(model, log_every, compile)
        self.explanation = explanation
        self.announced = False  # whether a `fit` has said how it steps
        self._together = False  # whether a `fit` or `evaluate` of all ranks is running

    def make_train_function(self, force=False):
        self.install("train_function", "make_train_function", force)

    def make_test_function(self, force=False):
        self.install("test_function", "make_test_function", force)

    def make_predict_function(self, force=False):
        self.install("predict_function", "make_predict_function", force)

    def reset_metrics(self):
        # By the class: the instance's method is this one.
        type(self.model).reset_metrics(self.model)
        if self.steps is not None:
            self.steps.reset_logs()

    def train_on_batch(self, *args, **kwargs):
        if current().several and (self.is_own("train_function") or not self.is_graph()):
            raise ValueError(
                f"{self.model.name} keeps its Python, and train_on_batch would train it on each "
                "rank alone. Call fit, which averages the gradients over the ranks."
            )
        with self.exact_logs(), self.following():
            return type(self.model).train_on_batch(self.model, *args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self.exact_logs(), self.following():
            return type(self.model).test_on_batch(self.model, *args, **kwargs)

    def predict_on_batch(self, *args, **kwargs):
        with self.following():
            return type(self.model).predict_on_batch(self.model, *args, **kwargs)

    def fit(self, *args, **kwargs):
        with self._running(), self.watching():
            try:
                return self._fit(*args, **kwargs)
            except BaseException:  # Ctrl-C in a notebook: the next `fit` begins as this one did
                for optimizer in optimizers_of(self.model):
                    end_schedules(optimizer)
                raise
            finally:
                if self.steps is not None:
                    # Gigabytes of a GPU's memory; the next `fit` captures again within a few steps.
                    self.steps.graphs.release()

    def _fit(self, *args, **kwargs):
        arguments = self._arguments("fit", args, kwargs)
        check_data(self.model, arguments.get("x"), arguments.get("validation_data"))
        follows = hasattr(arguments.get("x"), "set_epoch") and hasattr(arguments["x"], "epoch")
        loader = isinstance(arguments.get("x"), DataLoader)
        if follows and loader and type(self.model).fit is keras.Model.fit:
            # It shuffles itself, or does not: Keras would warn that its own default has no effect.
            arguments.setdefault("shuffle", False)
        if follows and isinstance(arguments["callbacks"], list):
            # First of all: the other callbacks may look at the data of the epoch that begins.
            goes_on = arguments.get("steps_per_epoch") is not None
            first = SetEpoch(
                arguments["x"], arguments.get("initial_epoch", 0), goes_on,
                arguments.get("validation_data"),
            )  # fmt: skip
            arguments["callbacks"] = [first, *arguments["callbacks"]]
        if hasattr(arguments.get("x"), "unmade") and isinstance(arguments["callbacks"], list):
            unmade = LeaveBatchesUnmade(self, arguments["x"])
            arguments["callbacks"] = [unmade, *arguments["callbacks"]]
        with weighed_by_class(arguments):
            if not current().several:
                return type(self.model).fit(self.model, **arguments)
            self._check_parallel()
            try:
                with self._all_ranks():
                    fit = self._fit_of_a_rank
                    return session.run_fit(self.model, fit, arguments, self._weigh)
            finally:
                self._weigh(1.0)  # for `train_on_batch`, whose batches are no parts

    def _fit_of_a_rank(self, model, **arguments):
        """`fit` of the model's class; gradients of a model with Python of its own are averaged."""
        first, *others = arguments["callbacks"]
        if self.is_graph() and not self.is_own("train_function"):  # its steps average
            arguments["callbacks"] = [first, DriftingWeights(), *others]
            return type(model).fit(model, **arguments)

        def begin():  # the model is built by now
            metrics.check_metrics(model)
            own = self.is_own("train_function")  # else the loss has been weighed
            weight = (lambda: self.rank_weight) if own else lambda: 1.0
            tensors = [keras_variables.memory_of(variable) for variable in model.variables]
            return stack.enter_context(GradientReduction(tensors, weight).active())

        with contextlib.ExitStack() as stack:
            # Ahead of callbacks that save: they may only see weights that all ranks share.
            arguments["callbacks"] = [first, EqualWeights(begin), *others]
            return type(model).fit(model, **arguments)

    def evaluate(self, *args, **kwargs):
        arguments = self._arguments("evaluate", args, kwargs)
        method = type(self.model).evaluate
        if not current().several:
            with self._running(), asked_about(arguments):
                return method(self.model, **arguments)
        with self._running(), self._all_ranks(), asked_about(arguments):
            together = functools.partial(joint_evaluation.evaluated_together, self.model)
            return session.run_evaluate(self.model, method, arguments, self._alone, together)

    def predict(self, *args, **kwargs):
        arguments = self._arguments("predict", args, kwargs)
        if not current().is_main:
            arguments["verbose"] = 0
        served = sharding.all_served(arguments.get("x"))
        with self._running(), asked_about(arguments), served:
            if keras_predict.is_known(self.model):
                with self.into_arrays():
                    return predict(self.model, self, **arguments)
            return type(self.model).predict(self.model, **arguments)

    def get_metrics_result(self):
        def compute():
            return type(self.model).get_metrics_result(self.model)

        def of_all_ranks():
            return metrics.metrics_of_all_ranks(self.model, compute)

        if not self._together:
            return compute()
        if joint_evaluation.is_under_way(self.model):
            device = keras_variables.device_of(self.model)
            if self.in_step:
                joint_evaluation.announce_metrics(device)
            else:
                joint_evaluation.wait_for_others(device, of_all_ranks)
        return of_all_ranks()

    def save(self, *args, **kwargs):
        if current().is_main:
            return type(self.model).save(self.model, *args, **kwargs)

    def save_weights(self, *args, **kwargs):
        if current().is_main:
            type(self.model).save_weights(self.model, *args, **kwargs)

    def _arguments(self, name, args, kwargs):
        """The call's arguments by name, with the callbacks that a native step needs."""
        arguments = arguments_of(self.model, name, args, kwargs)
        device = keras_variables.device_of(self.model).type
        arguments = on_the_way(self.model, name, arguments, device)
        if not takes_callbacks(self.model, name):
            return arguments  # a method of the model's own, which takes none
        own = self.is_own(f"{_PURPOSES[name]}_function") or keras_models.is_overridden(
            self.model, "compute_metrics"
        )  # then the logs are tensors of the model's own, and to read them waits for a GPU
        waits = own and device != "cpu"
        arguments["callbacks"] = with_ours(arguments, self, name, waits)
        return arguments

    def _check_parallel(self):
        reason = parallel.why_not(self.model)
        if reason is not None:
            raise ValueError(
                f"{self.model.name} cannot be trained on {current().world_size} ranks: {reason}"
            )

    def _weigh(self, rank_weight):
        self.rank_weight = rank_weight
        if self.steps is not None:
            self.steps.rank_weight = rank_weight

    @contextlib.contextmanager
    def _running(self):
        self.running += 1
        try:
            with self.following(False):  # before its callbacks are told
                yield
        except Exception as error:
            note_line(error, self.model)
            raise
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
