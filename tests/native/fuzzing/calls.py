"""Draws what is done with a model: orders of calls, with their data and callbacks."""

from tests.native.fuzzing.changes import Changes
from tests.native.fuzzing.draw import Source, call
from tests.native.fuzzing.programs import structured


class CallsDraw(Changes):
    """Draws calls for a model.

    Args:
        d: `Draw`.
        program: `Program` without calls.
        targets: list of `Target`, one for each output.
        compiling: function that draws another `compile` statement.
        batch: int.
    """

    def __init__(self, d, program, targets, compiling, batch):
        self.d, self.program, self.targets = d, program, targets
        self.compiling, self.batch = compiling, batch
        self.random = False  # whether some dropout draws in training now
        self.undo = []  # what makes it stop

    def draw(self, count):
        """A tuple of statements."""
        calls, d = [], self.d
        trains = {self.fit: 6, self.train_on_batch: 1.5}
        looks = {self.evaluate: 2, self.predict: 2, self.test_on_batch: 1, self.direct: 0.5,
                 self.predict_on_batch: 0.7}  # fmt: skip
        changes = {self.freeze: 1.2, self.setting: 2, self.optimizer: 1, self.weights: 1,
                   self.save: 0.5, self.again: 0.4, self.recompile: 0.6, self.state: 0.8,
                   self.twin: 0.3, self.adapt: 0.4, self.gradients: 0.2,
                   self.copy: 0.3, self.add: 0.5, self.hook: 0.4}  # fmt: skip
        calls += d.weighted({self.fit: 5, self.evaluate: 1, self.predict: 1, **trains})()
        for _ in range(count):
            kind = d.weighted({"train": 5, "look": 3, "change": 4})
            if kind == "train" and self.random:
                calls += self.undo
                self.undo, self.random = [], False
            calls += d.weighted({"train": trains, "look": looks, "change": changes}[kind])()
            if kind == "change" and not self.random:
                calls += d.weighted({**trains, **looks})()
        if d.chance(0.06):
            calls += self.wrong()
        return tuple(calls)

    def fit(self):
        d = self.d
        settings = {"epochs": d.maybe(0.6, 2, 3), "shuffle": d.maybe(0.8, False)}
        data = self._data(settings)
        if d.chance(0.25):
            settings["validation_data"] = call("", *map(Source, self._validation()))
            settings["validation_freq"] = d.maybe(0.15, 2)
            settings["validation_batch_size"] = d.maybe(0.3, 3)
        elif d.chance(0.05) and "x, y" in data:
            settings["validation_split"] = 0.3
        callbacks = self._callbacks(settings)
        settings["callbacks"] = callbacks
        return [*self._rows(callbacks), f"model.fit({data}{_after(settings)}, verbose=0)",
                *(["rows"] if callbacks and "rows" in callbacks else [])]  # fmt: skip

    def _rows(self, callbacks):
        return ["rows = []"] if callbacks and "rows" in callbacks else []

    def _data(self, settings):
        """x, y and weights as `fit` gets them; some go into `settings`."""
        d = self.d
        if d.chance(0.08):
            settings.pop("shuffle", None)
            if self.program.structure == ("single", "single") and d.chance(0.4):
                return f"loader(x, y, {self.batch})"
            if d.chance(0.25):
                settings["steps_per_epoch"] = d.pick(2, 3)
                return f"generated(x, y, {self.batch})"
            weights = d.maybe(0.3, f", {self._sample_weight('n')}") or ""
            return f"Batches(x, y, {self.batch}{weights})"
        settings["batch_size"] = self.batch
        if settings["epochs"] and d.chance(0.1):
            settings["initial_epoch"] = 1
        settings["steps_per_epoch"] = d.maybe(0.03, 2)
        if d.chance(0.15):
            settings["sample_weight"] = Source(self._sample_weight("n"))
        elif d.chance(0.08) and len(self.targets) == 1 and self.targets[0].classes:
            settings["class_weight"] = {
                number: 0.5 + number for number in range(self.targets[0].classes)
            }
        return d.pick("x, y", "x, y", "x, y", "on_torch(x), on_torch(y)")

    def _sample_weight(self, count):
        names = [target.name for target in self.targets]
        weights = [f"np.abs(numbers({self.d.data_seed()}, {count}))" for _ in names]
        return structured(names, self.program.structure[1], weights)

    def _validation(self):
        weights = [self._sample_weight("len_v")] if self.d.chance(0.15) else []
        return "xv", "yv", *weights

    def _callbacks(self, settings):
        d = self.d
        if d.chance(0.65):
            return None
        rate = d.pick("0.02 * (epoch + 1)", "0.1 / (epoch + 1)")
        options = [
            f"keras.callbacks.LearningRateScheduler(lambda epoch: {rate})",
            f"AtEpoch(lambda epoch: setattr(model.optimizer, 'learning_rate', {rate}))",
            "AtEpoch(lambda epoch: model.get_weights(), 'end')",
            "AtEpoch(lambda epoch: model.set_weights([0.9 * w for w in model.get_weights()]))",
            "AtBatch(lambda batch: setattr(model.optimizer, 'learning_rate', 0.01 * (batch + 1)))",
            "keras.callbacks.EarlyStopping('loss', patience=0, restore_best_weights=True)",
            "keras.callbacks.ReduceLROnPlateau('loss', patience=0, min_delta=10.0)",
            "keras.callbacks.TerminateOnNaN()",
            "AtEpoch(lambda epoch: model.evaluate(xv, yv, verbose=0), 'end')",
            "keras_dawn.OneCycle(0.1)",
            "keras_dawn.callbacks.ExponentialMovingAverage(0.9)",
            "keras_dawn.callbacks.Lookahead()",
            "keras.callbacks.ModelCheckpoint(folder / 'c.weights.h5', 'loss', "
            "save_best_only=True, save_weights_only=True)",
            "keras.callbacks.SwapEMAWeights()",
        ]
        layer = self._layer(lambda make: True)
        if layer:
            options.append(
                f"AtEpoch(lambda epoch: setattr(the(model, {layer!r}), 'trainable', "
                f"epoch % 2 == {d.pick(0, 1)}))"
            )
        if any("log_every=1)" in line for line in self.program.compile):
            options.append("Logs(rows)")
        settings.setdefault("epochs", 2)
        settings["epochs"] = settings["epochs"] or 2
        return Source(f"[{d.pick(*options)}]")

    def train_on_batch(self):
        d = self.d
        settings = {"return_dict": d.maybe(0.5, True)}
        if d.chance(0.15):
            settings["sample_weight"] = Source(self._sample_weight("n"))
        calls = [f"model.train_on_batch(x, y{_after(settings)})"]
        return calls * d.pick(1, 1, 2)

    def test_on_batch(self):
        return [f"model.test_on_batch(xv, yv{_after({'return_dict': self.d.maybe(0.5, True)})})"]

    def evaluate(self):
        settings = {"batch_size": self.d.maybe(0.8, self.batch)}
        settings["return_dict"] = self.d.maybe(0.6, True)
        if self.d.chance(0.15):
            settings["sample_weight"] = Source(self._sample_weight("n"))
        x = self.d.pick("x, y", "x, y", "on_torch(x), on_torch(y)")
        return [f"model.evaluate({x}{_after(settings)}, verbose=0)"]

    def predict(self):
        x = self.d.pick("x", "xv", "on_torch(x)")
        return [f"model.predict({x}, batch_size={self.d.pick(self.batch, 32, 2)}, verbose=0)"]

    def predict_on_batch(self):
        return ["model.predict_on_batch(xv)"]

    def direct(self):
        """The model called as it is."""
        training = self.d.maybe(0.5, *([False] if self.random else [False, True]))
        x = "on_torch(xv)"
        return [f"model({x}{_after({'training': training})})"]


def _after(settings):
    return "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
