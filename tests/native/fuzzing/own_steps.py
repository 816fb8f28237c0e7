"""Models with steps, losses and metrics of their own: what a drawn model may inherit from."""

import keras
from keras import ops


class OwnTrainStep(keras.Model):
    """A train_step of one's own around Keras's."""

    def train_step(self, data):
        logs = super().train_step(data)
        return {**logs, "twice": 2 * logs["loss"]}


class HandStep(keras.Model):
    """A train_step that does all of it by hand, as Keras's guide for torch has it."""

    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        predicted = self(x, training=True)
        loss = self.compute_loss(x, y, predicted, weight)
        self.optimizer.scale_loss(loss).backward()
        weights = [v for v in self.trainable_weights if v.value.grad is not None]
        self.optimizer.apply([v.value.grad for v in weights], weights)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted, weight)
        return {metric.name: metric.result() for metric in self.metrics}


class TwoOptimizers(keras.Model):
    """One optimizer for every other weight, another one for the rest, one after the other."""

    def compile(self, optimizer, **settings):
        super().compile(optimizer, **settings)
        self.second = keras.optimizers.SGD(0.02, momentum=0.5)

    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        for optimizer, first in ((self.optimizer, 0), (self.second, 1)):
            self.zero_grad()
            loss = self.compute_loss(x, y, self(x, training=True), weight)
            loss.backward()
            weights = [v for v in self.trainable_weights[first::2] if v.value.grad is not None]
            if weights:
                optimizer.apply([v.value.grad for v in weights], weights)
        return {"last": loss}


class OwnTestStep(keras.Model):
    """A test_step of one's own, which looks at the model's training mode too."""

    def test_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        logs = super().test_step(data)
        first = keras.tree.flatten(self(x, training=False))[0]
        return {**logs, "size": ops.mean(ops.abs(first))}


class OwnPredictStep(keras.Model):
    """A predict_step of one's own."""

    def predict_step(self, data):
        predicted = super().predict_step(data)
        return keras.tree.map_structure(lambda part: 0.5 * part, predicted)


class OwnLoss(keras.Model):
    """A compute_loss of one's own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss * 1.5


class OwnMetrics(keras.Model):
    """A compute_metrics of one's own."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "highest": ops.max(keras.tree.flatten(y_pred)[0])}


class OwnTracker(keras.Model):
    """Metrics besides the compiled ones, which a loss of one's own updates."""

    def compile(self, *args, **settings):
        super().compile(*args, **settings)
        self.tracker = keras.metrics.Mean(name="tracked")

    @property
    def metrics(self):
        own = [self.tracker] if hasattr(self, "tracker") else []  # from `compile` on
        return [*super().metrics, *own]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        self.tracker.update_state(2.0 * loss)
        return loss

    def get_metrics_result(self):
        return {**super().get_metrics_result(), "half": 0.5 * self.tracker.result()}


OWN_STEPS = (
    "OwnTrainStep", "HandStep", "TwoOptimizers", "OwnTestStep", "OwnPredictStep", "OwnLoss",
    "OwnMetrics", "OwnTracker",
)  # fmt: skip
