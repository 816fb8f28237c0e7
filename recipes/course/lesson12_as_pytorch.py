# %% [markdown]
# # 12 · Your Keras model as PyTorch
#
# **You will** read a Keras model as a page of straight PyTorch, count what one training step asks
# of the device under plain Keras and under the native step, and see that both are the same
# training.
#
# *An appendix, about 30 minutes; any laptop, half a minute of computing.*
#
# **Before you run anything:** a network of ten layers with weights. How many operations does one
# training step start on the device, roughly: 50, 500, 5,000? Which layer needs the most of them?

# %%
# %matplotlib inline
from collections import Counter

import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn.native.operation_counter import OperationCounter
from keras_dawn.plots.style import BLUE, ORANGE, figure_of

import classroom
import keras
import numpy as np
import torch
from checks import as_pytorch as checks

# %% [markdown]
# ## A model, and what it says
#
# A Keras model is a graph of layers. `to_torch` walks it once and says it again in torch calls; the
# weights are shared.

# %%
keras.utils.set_random_seed(0)
small = keras.Sequential(
    [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(name="relu"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(2, name="head"),
    ]
)
print(keras_dawn.to_torch(small).code)

# %% [markdown]
# ### Exercise 1
# Write the forward pass of this model yourself, in evaluation mode: images
# `(batch, height, width, 3)`, the weights in Keras's layouts (a kernel is height × width × inputs ×
# outputs; a dense kernel inputs × outputs).


# %%
def forward(x, conv_kernel, gamma, beta, mean, variance, head_kernel, head_bias, epsilon=1e-3):
    """Torch tensors; returns (batch, 2)."""
    return ...


checks.check_forward(forward)

# %% [markdown]
# ### Exercise 2
# In evaluation, batch normalisation is a multiplication and an addition per channel, so it can be
# **folded** into the convolution before it. Return the folded kernel and its new bias.


# %%
def fold(conv_kernel, gamma, beta, mean, variance, epsilon=1e-3):
    return None  # kernel, bias


checks.check_fold(fold)

# %% [markdown]
# ## Counting a step
#
# Every operation that reaches the device is counted (views of memory are not: they cost the device
# nothing).

# %%
images = classroom.load_images()
STEPS = 20
training, _ = classroom.pixels(
    images.subset(32 * STEPS, 100) if not classroom.SHORT else images, 32
)


def counted(accelerated):
    """Operations a step, over one epoch of `fit`."""
    model = classroom.network()
    if not accelerated:
        keras_dawn.restore(model)
    model.fit(training, epochs=1, verbose=0, shuffle=False)  # builds what is built once
    with OperationCounter() as counter:
        model.fit(training, epochs=1, verbose=0, shuffle=False)
    return Counter({name: count / len(training) for name, count in counter.work().items()})


plain, native = counted(False), counted(True)
print(f"plain Keras {plain.total():.0f} operations a step, native {native.total():.0f}")

# %%
names = [name for name, _ in (plain + native).most_common(14)]
figure, (axis,) = figure_of(1, "Operations of one training step, WRN-10-1", height=5)
places = np.arange(len(names))
axis.barh(places - 0.2, [plain[name] for name in names], 0.4, color=ORANGE, label="plain Keras")
axis.barh(places + 0.2, [native[name] for name in names], 0.4, color=BLUE, label="native step")
axis.set_yticks(places, names, fontsize=8)
axis.invert_yaxis()
axis.set_xlabel("times a step")
axis.legend(frameon=False)
figure

# %%
classroom.state("plain Keras's operations over the native step's",
                plain.total() / native.total(), 4.85, 0.5)  # fmt: skip

# %% [markdown]
# On a GPU each operation takes some microseconds to start, whatever it does; a step of a small
# network is then as long as the list of its operations. Batch normalisation is about ten operations
# in plain Keras and one in torch.
#
# ## The same training
#
# Fewer operations must not be another training. Three steps each way from the same weights:

# %%
x, y = torch.rand(32, 32, 32, 3), torch.arange(32) % 10
weights = []
for accelerated in (False, True):
    model = classroom.network(keras_dawn.SGD(0.01, momentum=0.9))
    if not accelerated:
        keras_dawn.restore(model)
    for _ in range(3):
        model.train_on_batch(x, y)
    weights.append(np.concatenate([w.numpy().ravel() for w in model.trainable_weights]))
difference = np.abs(weights[0] - weights[1]).max()
print(f"largest difference of a weight after three steps: {difference:.1e}")
classroom.state("that difference, in millionths", 1e6 * difference, 6, 6)

# %% [markdown]
# ## The clock so far
# The same three epochs, with and without the native step.

# %%
training, test = classroom.pixels(images)
runs = []
for name in ("plain Keras", "native step"):
    model = classroom.network(keras_dawn.SGD(0.3, momentum=0.9))
    if name == "plain Keras":
        keras_dawn.restore(model)
    runs.append(classroom.train(name, model, training, test, 3, keras_dawn.OneCycle(0.3)))
classroom.restate(images, *runs)
classroom.state("time of the native step over plain Keras's",
                runs[1].epochs[-1].training_seconds / runs[0].epochs[-1].training_seconds,
                0.6, 0.2)  # fmt: skip

# %% [markdown]
# ## Questions
# 1. `print(keras_dawn.explain(model))`: which layers of a model of yours stay Keras layers, and
#    why?
# 2. Keras's running variance is the batch's biased one, torch's the unbiased one. How large is the
#    difference for a batch of 32 images of 8 × 8 pixels, and for one of 2 images of 1 × 1?
# 3. What would you lose if you threw the Keras model away after `to_torch`?
#
# ## Further reading
# - Reed et al. (2021): *torch.fx: practical program capture and transformation*, arXiv:2112.08429
# - `keras_dawn/native/README.md`: how the engine works, and what it refuses
