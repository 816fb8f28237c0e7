# %% [markdown]
# # 6 · Growing images: small ones first
#
# **You will** find out why one network can see images of any size, measure what an image of each
# size costs, and train with images that grow against images of one size.
#
# *About 40 minutes; any laptop, a minute of computing.*
#
# **Before you run anything:** an image of 16 × 16 pixels has a quarter of the pixels of one of 32 ×
# 32. How much cheaper is a training step? A network was trained on 32 pixels and is shown 24: does
# it run? Does it still recognise anything?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn import OneCycle, data
from keras_dawn.plots.style import BLUE, GREEN, GREY, ORANGE, figure_of

import classroom
import numpy as np
import torch
from checks import growing_images as checks

# %% [markdown]
# ## Why any size fits
#
# A convolution slides over an image of any size. What fixes the size in older networks is the first
# dense layer: it has a weight for each place. A **global pooling** in front of it reduces every
# channel to one number, whatever the size. Adaptive pooling is the general form: it cuts each side
# into `n` nearly equal parts.
#
# ### Exercise 1
# Reduce a feature map of any height and width to `n × n`: part `i` of a side of `s` pixels runs
# from $\lfloor i s / n \rfloor$ to $\lceil (i + 1) s / n \rceil$, and its mean is taken (that is
# `torch.nn.AdaptiveAvgPool2d`).


# %%
def adaptive_pool(x, n):
    """`x`: array (height, width). Returns (n, n)."""
    return ...


checks.check_adaptive_pool(adaptive_pool)

# %%
images = classroom.load_images()
model = classroom.network(size=None)  # `None`: images of any size
for size in (16, 20, 24, 32):
    print(size, tuple(model(np.zeros((1, size, size, 3), "float32")).shape))

# %% [markdown]
# ## What an image costs
#
# The operations of a convolutional network grow with the number of pixels.
#
# ### Exercise 2
# Give the cost of an epoch at `size` pixels relative to one at `full` pixels, and then that of a
# whole plan.


# %%
def relative_cost(size, full):
    return ...


def relative_cost_of_plan(epochs_by_size, full):
    """`epochs_by_size`: dict from pixels to epochs. Relative to as many epochs at `full`."""
    return ...


checks.check_relative_cost(relative_cost)
checks.check_relative_cost_of_plan(relative_cost_of_plan)

# %%
sizes = (8, 12, 16, 20, 24, 28, 32)
batch_labels = torch.arange(64) % 10
seconds = {}
for size in sizes[-2:] if classroom.SHORT else sizes:
    batch = torch.randn(64, size, size, 3)
    seconds[size] = classroom.seconds_each(lambda b=batch: model.train_on_batch(b, batch_labels))
measured = {size: value / seconds[32] for size, value in seconds.items()}

# %%
figure, (axis,) = figure_of(1, "A training step by image size, relative to 32 pixels")
axis.plot(list(measured), list(measured.values()), "o-", color=BLUE, lw=2, label="measured")
axis.plot(sizes, [(size / 32) ** 2 for size in sizes], "--", color=GREY, label="pixels")
axis.set_xlabel("pixels a side")
axis.set_ylabel("time relative to 32 pixels")
axis.set_ylim(bottom=0)
axis.legend(frameon=False)
figure

# %%
classroom.state("step at 20 pixels over step at 32", measured.get(20, 0.0), 0.4, 0.15)

# %% [markdown]
# Small images have a floor: reading the weights, starting each operation, the update. That is why
# one does not begin at 8 pixels.
#
# ## The experiment
#
# The same one cycle of the rate, the same epochs; one training sees 32 pixels throughout, the other
# 20, then 26, then 32 (`keras_dawn.data.Resize`). Both are tested at 32.

# %%
EPOCHS = 6


def grow(plan):
    training, test = classroom.pixels(images, augmentation=[data.Resize(plan)])
    name = "pixels " + ", ".join(map(str, plan.values()))
    model = classroom.network(keras_dawn.SGD(0.3, momentum=0.9, weight_decay=5e-4), size=None)
    return classroom.train(name, model, training, test, EPOCHS, OneCycle(0.3))


constant, growing = grow({0: 32}), grow({0: 20, 2: 26, 4: 32})

# %%
figure, (axis,) = figure_of(1, "Test accuracy at 32 pixels against training time")
for run, colour in ((constant, ORANGE), (growing, GREEN)):
    axis.plot([e.training_seconds for e in run.epochs], [e.accuracy for e in run.epochs], "o-",
              color=colour, lw=2, label=run.name)  # fmt: skip
axis.set_xlabel("training time in seconds")
axis.set_ylabel("test accuracy in %")
axis.legend(frameon=False)
figure

# %%
ratio = growing.epochs[-1].training_seconds / constant.epochs[-1].training_seconds
classroom.state("time of the growing images over that of constant ones", ratio, 0.72, 0.17)
classroom.state("accuracy lost by growing, points", constant.accuracy - growing.accuracy,
                0.3, 1.2, images)  # fmt: skip

# %% [markdown]
# In the early epochs the growing training is tested at a size that it has not seen, and the
# accuracy says little: objects look larger to it than they did in training. In the last epochs it
# catches up. fast.ai's ImageNet entry went from 128 over 224 to 288 pixels; the last step alone
# brought half a point, as the crops of training magnify what they show (Touvron et al. 2019 made a
# method of it).
#
# ## The clock so far

# %%
classroom.restate(images, constant, growing)

# %% [markdown]
# ## Questions
# 1. Batch normalisation keeps means and variances of the features. What happens to them when the
#    size changes?
# 2. Resize after decoding a whole photo, or decode at the small size? When does it matter (lesson
#    9)?
# 3. With small images there is memory for a larger batch. What else has to change then (lesson 5)?
#
# ## Further reading
# - Karras et al. (2017): *Progressive growing of GANs*, arXiv:1710.10196, where growing was first
#   used to train
# - Touvron et al. (2019): *Fixing the train-test resolution discrepancy*, arXiv:1906.06423
# - Tan & Le (2021): *EfficientNetV2*, arXiv:2104.00298: growing images with growing regularisation
