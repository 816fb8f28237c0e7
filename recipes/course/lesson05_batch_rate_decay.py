# %% [markdown]
# # 5 · Batch size, rate and decay: three knobs, one product
#
# **You will** find the best rate for several batch sizes and see the rule that ties them together,
# find where the rule ends, and work out how much of a weight its decay leaves.
#
# *About 40 minutes; any laptop, two minutes of computing.*
#
# **Before you run anything:** with a batch of 64 the best rate is 0.1. What is it with a batch of
# 256, for the same number of **epochs**? And with the best rate for each, which batch reaches the
# higher accuracy?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn import OneCycle
from keras_dawn.plots.style import COLOURS, figure_of

import classroom
from checks import batch_rate_decay as checks

# %% [markdown]
# ## The rule
#
# A step over a batch of $B$ images moves the weights by $\eta$ times the **mean** gradient. Four
# times the batch makes a quarter of the steps an epoch; to go as far, each has to be four times as
# long: $\eta \propto B$ (Goyal et al. 2017).
#
# ### Exercise 1
# Scale a rate from one batch size to another.


# %%
def scaled_rate(rate, batch, new_batch):
    return ...


checks.check_scaled_rate(scaled_rate)

# %% [markdown]
# ## The experiment
#
# Three batch sizes, four rates each, one cycle of two epochs. Only the highest rate differs.

# %%
images = classroom.load_images()
BATCHES = (16, 64, 256)
RATES = (0.05, 0.2, 0.8, 3.2)
accuracy = {}
for batch in BATCHES:
    training, test = classroom.pixels(images, batch)
    for rate in RATES[:1] if classroom.SHORT else RATES:
        run = classroom.train(
            f"batch {batch}, rate {rate}", classroom.network(keras_dawn.SGD(rate, momentum=0.9)),
            training, test, 2, OneCycle(rate),
        )  # fmt: skip
        accuracy[batch, rate] = run.accuracy

# %%
figure, (axis,) = figure_of(1, "Accuracy after two epochs, by batch size and rate")
for batch, colour in zip(BATCHES, COLOURS, strict=False):
    points = [(rate, percent) for (b, rate), percent in accuracy.items() if b == batch]
    axis.semilogx(*zip(*points, strict=True), "o-", color=colour, lw=2, label=f"batch {batch}")
axis.set_xlabel("highest rate")
axis.set_ylabel("test accuracy in %")
axis.legend(frameon=False)
figure


# %%
best = {b: max(((v, r) for (batch, r), v in accuracy.items() if batch == b)) for b in BATCHES}
for batch, (percent, rate) in best.items():
    print(f"batch {batch:3}: {percent:.1f} % at the rate {rate}")
small, large = accuracy.get((16, 0.2), 0.0), accuracy.get((64, 0.2), 0.0)
classroom.state("rate 0.2, batch 16 over batch 64, points", small - large, 4, 3, images)
classroom.state("the same with batch 64 at the rule's 0.8", small - accuracy.get((64, 0.8), 0.0),
                2.6, 2, images)  # fmt: skip
classroom.state("batch 16 over batch 256, each at its best rate, points",
                best[16][0] - best[256][0], 48, 25, images)  # fmt: skip

# %% [markdown]
# From 16 to 64 the best rate moves to the right as the rule says, and a part of what the larger batch
# lost comes back. From 64 to 256 it does not: 32 steps altogether are too few, however long. For so
# little training the small batch is far ahead. The **critical batch size** is where that begins
# (McCandlish et al. 2018); it is larger for harder data and later in the training. A GPU needs large
# batches to be busy; a CPU does not, as it is as fast with 128 images as with 2,048.
#
# ## Decay
#
# Coupled L2 decay adds $\lambda w$ to the gradient. Without any other gradient and without
# momentum, a step leaves $1 - \eta\lambda$ of a weight.
#
# ### Exercise 2
# What fraction of a weight is left after some epochs?


# %%
def fraction_left(rate, decay, steps_per_epoch, epochs):
    return ...


checks.check_fraction_left(fraction_left)

# %% [markdown]
# ### Exercise 3
# You scale batch and rate by the rule and keep the epochs. What must happen to $\lambda$ so that an
# epoch's decay stays what it was? Return the new decay (to first order: the product over the steps
# of an epoch must not change).


# %%
def scaled_decay(decay, batch, new_batch, rate, new_rate):
    return ...


checks.check_scaled_decay(scaled_decay)

# %%
for decay in (0.0, 5e-4, 5e-3, 5e-2):
    left = (1 - 0.1 * decay) ** (10 * 62)  # 62 steps an epoch
    print(f"decay {decay:g}: {left:.3f} of a weight is left after ten epochs at the rate 0.1")

# %% [markdown]
# ## The clock so far
# The same target with a small and with a large batch, each at its best rate above.

# %%
finals = []
for batch, rate in ((64, 0.8), (256, 0.8)):
    training, test = classroom.pixels(images, batch)
    finals.append(classroom.train(
        f"batch {batch}, one cycle", classroom.network(keras_dawn.SGD(rate, momentum=0.9)),
        training, test, 4, OneCycle(rate),
    ))  # fmt: skip
classroom.restate(images, *finals)

# %% [markdown]
# ## Questions
# 1. Adam divides by the size of the gradient. Which rule, linear or square root, would you try
#    there?
# 2. fast.ai's 8-GPU entry has a batch of 1,024 and a rate of 2.0; the one for 1 GPU 512 and 1.5.
#    Which rule is that?
# 3. Batch normalisation makes the scale of a weight irrelevant to the outputs. What does decay do
#    to such a weight, then?
#
# ## Further reading
# - Goyal et al. (2017): *Accurate, large minibatch SGD*, arXiv:1706.02677
# - McCandlish et al. (2018): *An empirical model of large-batch training*, arXiv:1812.06162
# - Shallue et al. (2018): *Measuring the effects of data parallelism*, arXiv:1811.03600
# - van Laarhoven (2017): *L2 regularization versus batch and weight normalization*,
#   arXiv:1706.05350
