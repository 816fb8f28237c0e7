"""Steps that only a subclassed model can have: branches on its mode, its own weights and state."""

import keras

from tests.native.fuzzing import layer_settings
from tests.native.fuzzing.draw import call


class SubclassSteps:
    """These steps of a `GraphDraw`."""

    def _only_training(self, source):
        """What happens under `if training:`."""
        if self.d.chance(0.5):
            self.add(self.d.pick("{x} * 1.5", "{x} + 0.1", "ops.tanh({x})").format(x=source),
                     [source], only_training=True)  # fmt: skip
        else:
            make = self.d.pick(
                layer_settings.batch_norm(self.d, self.shape(source)),
                layer_settings.activation_layer(self.d, self.shape(source)),
            )
            self.add_layer(make, [source], only_training=True)

    def _by_mode(self, source):
        """A layer that is handed the model's own mode, or another one."""
        make = self.d.pick(
            layer_settings.batch_norm(self.d, self.shape(source)),
            call("InTraining", 0.5),
            call("PassesTraining", True),
        )
        mode = self.d.pick("training", "training", "False", "True", "not training")
        self.tensors["training"] = False
        self.add_layer(make, [source], f", training={mode}")

    def _own_state(self, source):
        """A Python number of the model's own."""
        self._count += 1
        name = f"number{self._count}"
        self.add(f"{source} * {{me}}{name}", [source], name, "0.5")

    def _own_weight(self, source):
        size = self.shape(source)[-1]
        self._count += 1
        name = f"w{self._count}"
        make = f"self.add_weight(shape=({size},), initializer='ones', name={name!r})"
        # Outside of a class there is no self: a stand-in of the same shape is tried.
        self.tensors["self"] = _Weights()
        self.add(f"{source} * {{me}}{name}", [source], name, make)


class _Weights:
    def add_weight(self, shape, **_):
        return keras.ops.ones(shape)
