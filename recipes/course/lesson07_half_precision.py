# %% [markdown]
# # 7 · Half precision and loss scaling
#
# **You will** see what 16 bits can and cannot hold, lose a gradient to underflow, and bring it back
# by scaling the loss, by hand and with Keras.
#
# *About 40 minutes; any laptop, a quarter of a minute of computing. On a GPU or a CPU with bfloat16
# the same code is also fast.*
#
# **Before you run anything:** a weight is 1.0 and its update 0.0003. What is their sum in float16?
# And in bfloat16? What is the smallest positive number of each?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn.plots.style import BLUE, GREEN, ORANGE, figure_of

import classroom
import keras
import numpy as np
import torch
from checks import half_precision as checks

# %% [markdown]
# ## Three ways to spend bits
#
# | | sign | exponent | fraction | largest | smallest normal | next after 1 |
# |---|---|---|---|---|---|---|
# | float32 | 1 | 8 | 23 | 3.4e38 | 1.2e-38 | 1 + 1.2e-7 |
# | bfloat16 | 1 | 8 | 7 | 3.4e38 | 1.2e-38 | 1 + 7.8e-3 |
# | float16 | 1 | 5 | 10 | 65,504 | 6.1e-5 | 1 + 9.8e-4 |
#
# bfloat16 keeps float32's range and gives up digits; float16 keeps more digits and gives up range.

# %%
one, update = torch.tensor(1.0), torch.tensor(0.0003)
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    print(dtype, (one.to(dtype) + update.to(dtype)).item(), torch.finfo(dtype).smallest_normal)

# %% [markdown]
# The update is lost in both: they round the sum to 1. That is why mixed precision keeps **float32
# masters** of the weights and computes with 16-bit copies (Micikevicius et al. 2018).
#
# ### Exercise 1
# The gap between 1 and the next number is $2^{-f}$ with $f$ bits of fraction. Rounding to the
# nearest, what is the largest update (to a weight of 1) that is lost?


# %%
def largest_lost_update(fraction_bits):
    return ...


checks.check_largest_lost_update(largest_lost_update)

# %% [markdown]
# ## Where gradients live
#
# Masters do not help a gradient that is zero before it reaches them. Here are the gradients of an
# untrained network's layers, and float16's lower limit.

# %%
keras.utils.set_random_seed(0)
model = keras_dawn.models.WideResNet(10, 1)
scores = model(np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype("float32"))
labels = torch.arange(64) % 10
torch.nn.functional.cross_entropy(scores, labels.to(scores.device)).backward()
sizes = torch.cat([w.value.grad.abs().flatten() for w in model.trainable_weights]).cpu()
sizes = sizes[sizes > 0].log2()
SMALLEST = 2.0**-24  # of float16, with the denormal numbers
lost = 100 * (sizes < -24).float().mean()
classroom.state("percent of gradients below float16's smallest number", float(lost), 0.1, 0.05)

# %%
figure, (axis,) = figure_of(1, "Sizes of gradients, as powers of two")
axis.hist(sizes.numpy(), bins=60, color=BLUE, label="as they are")
axis.hist((sizes + 10).numpy(), bins=60, color=GREEN, alpha=0.6, label="loss times 1,024")
axis.axvline(-24, color=ORANGE, lw=2, label="float16's smallest number")
axis.set_xlabel("log2 of the absolute value")
axis.set_ylabel("how many")
axis.margins(y=0.3)
axis.legend(frameon=False)
figure

# %% [markdown]
# Multiplying the **loss** by a constant multiplies every gradient by it, as the derivative is
# linear: the whole histogram moves right. Before the update, the gradients are divided by it again,
# in float32.
#
# ### Exercise 2
# Write the step for one weight: `gradient_of(weight, scale)` returns the float16 gradient of a loss
# that was multiplied by `scale`. Return the new weight of plain descent, in float32.


# %%
def scaled_step(weight, gradient_of, rate, scale):
    return ...


checks.check_scaled_step(scaled_step)

# %% [markdown]
# ## Too much of it
#
# A scale that is too large overflows: a gradient becomes infinite. **Dynamic** scaling tries the
# largest that works: an overflow skips the step and halves the scale; after 2,000 steps without one
# it doubles. That is Keras's `LossScaleOptimizer`, which `keras_dawn.accelerate` runs on the
# device.

# %%
gradient = torch.tensor([3e-7, 2.0])
for scale in (1.0, 1024.0, 2.0**16):
    scaled = (gradient * scale).half()
    print(f"scale {scale:8.0f}: {scaled.tolist()} → {(scaled.float() / scale).tolist()}")

# %% [markdown]
# ### Exercise 3
# Write the rule: given the scale, whether this step overflowed, and how many steps in a row have
# been good (this one included), return the new scale. It doubles when the count is a multiple of
# `every`.


# %%
def next_scale(scale, overflowed, good_steps, every=2000):
    return ...


checks.check_next_scale(next_scale)

# %% [markdown]
# ## In a model
#
# Two lines are all that changes. Logits and loss stay in float32 (the package's models see to
# that).

# %%
keras.config.set_dtype_policy("mixed_float16")
half = keras_dawn.models.WideResNet(10, 1)
keras.config.set_dtype_policy("float32")
optimizer = keras.optimizers.LossScaleOptimizer(keras_dawn.SGD(0.1), initial_scale=512.0)
first = half.layers[1]
print(f"masters {first.kernel.dtype}, computes in {first.compute_dtype}")
print(f"logits in {half.layers[-1].compute_dtype}, scale {float(optimizer.initial_scale):.0f}")

# %% [markdown]
# ## The clock so far
# The network of lesson 1 with one cycle, in float32 and in bfloat16. Whether it is faster depends
# on the processor (a table of `torch.backends.cpu.get_cpu_capability()` and this ratio from all
# laptops of the class is a good picture); the accuracy must not.

# %%
images = classroom.load_images()
training, test = classroom.pixels(images)
runs = []
for policy in ("float32", "mixed_bfloat16"):
    keras.config.set_dtype_policy(policy)
    model = classroom.network(keras_dawn.SGD(0.3, momentum=0.9))
    keras.config.set_dtype_policy("float32")
    runs.append(classroom.train(policy, model, training, test, 4, keras_dawn.OneCycle(0.3)))
classroom.restate(images, *runs)
classroom.state("accuracy lost in bfloat16, points", runs[0].accuracy - runs[1].accuracy,
                0, 2, images)  # fmt: skip

# %% [markdown]
# ## Questions
# 1. fast.ai's DAWNBench entry used a static scale of 512 and float16. Why does bfloat16 need none?
# 2. Batch normalisation sums thousands of squares. Which limit of float16 does it meet first?
# 3. The step is skipped after an overflow. What should happen to momentum, and to the schedule?
#
# ## Further reading
# - Micikevicius et al. (2018): *Mixed precision training*, arXiv:1710.03740
# - Kalamkar et al. (2019): *A study of bfloat16 for deep learning training*, arXiv:1905.12322
