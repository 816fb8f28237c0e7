# %% [markdown]
# # 14 · Falling back, and what `explain` says
#
# **You will** write a model that keeps its own Python, read which of its parts still compute
# natively, measure what the rest costs, and teach the engine a layer that it does not know.
#
# *About 40 minutes; any laptop, about a minute of computing.*
#
# **Before you run anything:** a subclassed model prints the mean of its features in every `call`.
# Can its training step still be faster than plain Keras's? May the print happen once only, when the
# model is read?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn.native.operation_counter import OperationCounter
from keras_dawn.plots.style import BLUE, GREEN, ORANGE, figure_of

import classroom
import keras
import numpy as np
import torch
from checks import falling_back as checks
from keras import layers, ops

# %% [markdown]
# ## Three models, one computation
#
# The first only combines layers and `keras.ops`; the second keeps a list of what it saw; the third
# has a layer that no rule knows.


# %%
class Net(keras.Model):
    """A small subclassed network."""

    def __init__(self):
        super().__init__()
        self.convolutions = [
            layers.Conv2D(filters, 3, 2, "same", use_bias=False) for filters in (16, 32, 64)
        ]
        self.normalizations = [layers.BatchNormalization() for _ in self.convolutions]
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(10)

    def features(self, x, training):
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            x = ops.relu(normalization(convolution(x), training=training))
        return self.pool(x)

    def call(self, x, training=False):
        return self.head(self.features(x, training))


class Watched(Net):
    """The same, and it notes how large its features are: Python that runs in every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x, training=False):
        x = self.features(x, training)
        self.seen.append(float(ops.stop_gradient(ops.mean(x))))
        return self.head(x)


class Shrink(layers.Layer):
    """Soft threshold: what is small becomes 0, what is large comes closer to it."""

    def __init__(self, threshold, **settings):
        super().__init__(**settings)
        self.threshold, self.calls = threshold, []

    def call(self, x):
        self.calls.append(x.shape[0])  # Python of its own
        return ops.sign(x) * ops.relu(ops.abs(x) - self.threshold)


def with_shrink():
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(16, 3, 2, "same", use_bias=False),
            layers.BatchNormalization(),
            Shrink(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def compiled(model):
    model.compile(
        keras_dawn.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return keras_dawn.accelerate(model)


images = classroom.load_images()
training, test = classroom.pixels(images, 32)
few, _ = classroom.pixels(images.subset(min(640, len(images.train_images)), 100), 32)

# %%
models = {}
for build in (Net, Watched, with_shrink):
    keras.utils.set_random_seed(classroom.SEED)
    models[build.__name__] = model = compiled(build())
    model.fit(few, epochs=1, verbose=0, shuffle=False)
    print(f"--- {build.__name__}\n{keras_dawn.explain(model)}\n")

watched = models["Watched"]
print(
    f"{len(few)} steps, {len(watched.seen)} notes: the Python runs each time (and when Keras builds)"
)

# %% [markdown]
# `explain` has a line for each part and says how it is computed: *native*, *as it is* (Python of
# yours, in which the layers compute natively), or *the Keras layer itself*, with the reason. Nothing
# is left out silently, and nothing of yours is frozen into what it did once.
#
# ## What it costs
#
# Operations that one training step starts on the device, as in the appendix:


# %%
def operations(build, accelerated=True):
    """Operations a step, over one epoch of `fit`."""
    keras.utils.set_random_seed(classroom.SEED)
    model = compiled(build())
    if not accelerated:
        keras_dawn.restore(model)
    model.fit(few, epochs=1, verbose=0, shuffle=False)  # builds what is built once
    with OperationCounter() as counter:
        model.fit(few, epochs=1, verbose=0, shuffle=False)
    return sum(counter.work().values()) / len(few)


counts = {
    build.__name__: (operations(build, False), operations(build))
    for build in (Net, Watched, with_shrink)
}
for name, (plain, ours) in counts.items():
    print(f"{name:12} plain Keras {plain:5.0f} operations a step, accelerated {ours:5.0f}")

# %%
figure, (axis,) = figure_of(1, "Operations of one training step")
places = np.arange(len(counts))
for offset, colour, label, which in (
    (-0.2, ORANGE, "plain Keras", 0),
    (0.2, BLUE, "accelerated", 1),
):
    values = [count[which] for count in counts.values()]
    axis.bar(places + offset, values, 0.4, color=colour, label=label)
axis.set_xticks(places, counts)
axis.legend(frameon=False)
figure

# %%
for name, stated in (("Net", 3.57), ("Watched", 3.5)):
    classroom.state(f"{name}: plain Keras's operations over the accelerated ones",
                    counts[name][0] / counts[name][1], stated, 0.3)  # fmt: skip

# %% [markdown]
# ### Exercise 1
# A step takes `plain` seconds in plain Keras. A `fraction` of that time is spent in parts that can
# compute natively, where they take `1 / gain` of it; the rest stays as it is. How long is a step?
# (Amdahl 1967.)


# %%
def seconds_a_step(plain, fraction, gain):
    return ...


checks.check_seconds_a_step(seconds_a_step)

# %%
figure, (axis,) = figure_of(1, "Native parts are four times as fast")
fractions = np.linspace(0, 1, 50)
axis.plot(fractions, 1 / (1 - fractions + fractions / 4), color=GREEN, lw=2)
axis.set_xlabel("fraction of the time in native parts")
axis.set_ylabel("speed of the whole step")
figure

# %% [markdown]
# ## A rule of your own
#
# ### Exercise 2
# Write `Shrink` in torch: `x` is a tensor, `threshold` a number.


# %%
def shrink(x, threshold):
    return ...


checks.check_shrink(shrink)

# %% [markdown]
# A rule says it to the engine. (Here with torch's own function; put yours in its place once the
# check says ✓.)

# %%
from keras_dawn import rule  # noqa: E402


@rule(Shrink)
def shrink_rule(builder, layer, inputs, call):
    (x,) = inputs
    node = builder.call(torch.nn.functional.softshrink, x.node, layer.threshold, name=call.name)
    return x.with_node(node)


keras.utils.set_random_seed(classroom.SEED)
taught = compiled(with_shrink())
x = torch.randn(4, 32, 32, 3)
difference = float((keras_dawn.to_torch(taught)(x) - taught(x)).detach().abs().max())
print(f"native and Keras differ by {difference:.1e}")
print(keras_dawn.explain(taught))
print("whole:", keras_dawn.explain(taught).is_whole())

# %% [markdown]
# ## The clock so far
# The subclassed network that is watched, by the clock of the course: its Python runs, and the
# target is reached.

# %%
keras.utils.set_random_seed(classroom.SEED)
run = classroom.train(
    "subclassed, watched", compiled(Watched()), training, test, 4, keras_dawn.OneCycle(0.3)
)
classroom.restate(images, run)

# %% [markdown]
# ## Questions
# 1. Why is it wrong to record `Watched.call` once and to replay the recording?
# 2. What would a rule for `Shrink` have to promise about its `calls`?
# 3. `fit(..., verbose=0)` and everything native: nothing is printed. Why is one line printed as
#    soon as something falls back?
#
# ## Further reading
# - Amdahl (1967): *Validity of the single processor approach to achieving large scale computing
#   capabilities*
# - `keras_dawn/native/README.md`: the table of what stays Keras's
