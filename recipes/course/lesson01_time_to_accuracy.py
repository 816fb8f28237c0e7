# %% [markdown]
# # 1 · Time to accuracy, and what DAWNBench measured
#
# **You will** train a network against the clock, read its time to accuracy off the way the
# benchmark did, put a price on it, and see what is in that number and what is not.
#
# *About 40 minutes; any laptop, half a minute of computing. Real CIFAR-10 where it is on the
# machine, otherwise the built-in digits.*
#
# **Before you run anything:** two systems reach the same accuracy in the end. The first processes
# twice as many images a second, the second needs half as many epochs. Which one would win a
# benchmark of images a second? Which one would win a benchmark of time to accuracy? Which one would
# you rent?

# %%
# %matplotlib inline
import keras_dawn  # noqa: F401  (before Keras: picks Keras's torch backend)
from keras_dawn.dawnbench.boards import CIFAR10_BOARD
from keras_dawn.plots.style import BLUE, GREY, ORANGE, figure_of

import classroom
import keras
import numpy as np
from checks import time_to_accuracy as checks

# %% [markdown]
# ## One training against the clock
#
# Until 2017 systems were compared by images a second, which rewards a large batch whatever it does
# to the accuracy. Stanford's DAWNBench (Coleman et al. 2017) asked instead: **how long until 94 %
# of the CIFAR-10 test images are right, and what does that cost?** Here is the question at the size
# of a laptop: the network of all lessons, trained as one begins: Adam at its default rate.

# %%
images = classroom.load_images()
target = classroom.TARGETS[images.name]
training, test = classroom.pixels(images)
model = classroom.network(keras.optimizers.Adam(0.001))
run = classroom.train("Adam, constant rate 0.001", model, training, test, 10)
classroom.state("epochs to the target", run.epochs_to(target) or 0, 5, 2, images)
for epoch in run.epochs:
    print(f"epoch {epoch.epoch + 1}: {epoch.accuracy:5.1f} % after {epoch.training_seconds:5.1f} s")

# %%
figure, (axis,) = figure_of(1, "Test accuracy against training time")
axis.plot([0, *(e.training_seconds for e in run.epochs)],
          [10, *(e.accuracy for e in run.epochs)], "o-", color=BLUE, lw=2)  # fmt: skip
axis.axhline(target, color=GREY, ls="--", lw=1)
seconds = run.seconds_to(target)
if seconds is not None:
    axis.axvline(seconds, color=ORANGE, lw=2)
    axis.annotate(f"{seconds:.1f} s", (seconds, 20), xytext=(6, 0), textcoords="offset points",
                  color=ORANGE)  # fmt: skip
axis.set_xlabel("training time in seconds")
axis.set_ylabel("test accuracy in %")
figure

# %% [markdown]
# ### Exercise 1
# An entry is a table with a row an epoch. The time that counts is the one in the **first** row at
# or above the threshold, whatever the later rows say. Return it, or `None` if no row is.


# %%
def time_to_accuracy(hours, accuracies, threshold):
    """`hours`, `accuracies`: lists, one number an epoch."""
    return ...


checks.check_time_to_accuracy(time_to_accuracy)

# %% [markdown]
# ## What is in the clock
#
# | counts | does not count |
# |---|---|
# | loading the data, preprocessing | the validation after each epoch |
# | building the network | saving checkpoints |
# | every training step | |
#
# So there are two clocks, and a number without its clock's name says little.
# `keras_dawn.TrainingClock` keeps both; `TimeToAccuracy` stops the first one during validation.

# %%
last = run.epochs[-1]
fraction = 1 - last.training_seconds / last.wall_seconds
print(f"training clock {last.training_seconds:.1f} s, wall clock {last.wall_seconds:.1f} s")
classroom.state("percent of the time in validation", 100 * fraction, 11,
                8, images)  # fmt: skip

# %% [markdown]
# ### Exercise 2
# A log gives the wall clock at the end of each epoch's validation, and how long each validation
# took. Return the training clock at the end of each epoch.


# %%
def training_clock(wall, validation):
    """`wall`, `validation`: arrays of seconds, one number an epoch; `wall` is cumulative."""
    return ...


checks.check_training_clock(training_clock)

# %% [markdown]
# ## The bill
#
# The cost is time × price per hour of the whole machine, on demand: eight GPUs that take half as
# long as one cost four times as much.
#
# ### Exercise 3
# Give the cost in USD of a training of so many seconds.


# %%
def cost(seconds, usd_per_hour, machines=1):
    return ...


checks.check_cost(cost)

# %% [markdown]
# ## The board
#
# CIFAR-10 to 94 %, as the entries say, with fast.ai's of April 2018. From the best entry before it,
# an hour on a GPU, to the last of the competition, ten seconds on eight: none of it was the
# hardware alone.

# %%
figure, (axis,) = figure_of(1, "CIFAR-10 to 94 %: entries on the board")
for entry in CIFAR10_BOARD:
    ours = "fast.ai" in entry.author
    axis.semilogy(entry.date, entry.seconds, "o", ms=9 if ours else 6,
                  color=ORANGE if ours else BLUE)  # fmt: skip
    if ours or entry.seconds > 3000 or entry.seconds < 10:
        side = 1 if entry.seconds > 10 else -1
        axis.annotate(f"{entry.author}, {entry.hardware}", (entry.date, entry.seconds),
                      xytext=(9 * side, -3), textcoords="offset points", fontsize=8,
                      ha="left" if side > 0 else "right")  # fmt: skip
axis.set_ylabel("seconds to 94 %")
figure

# %%
fastest = np.sort([entry.seconds for entry in CIFAR10_BOARD])
print(f"from {fastest[-1]:.0f} s to {fastest[0]:.1f} s: {fastest[-1] / fastest[0]:.0f} times")

# %% [markdown]
# ## The clock so far

# %%
classroom.restate(images, run)

# %% [markdown]
# ## Questions
# 1. An entry reaches 94.0 % in epoch 30, falls to 93.9 % in epoch 31 and ends at 94.4 %. Which time
#    counts? What does that do to the choice of a schedule?
# 2. One run is enough for an entry, and 60 % of the runs of a system reach 94 %. What does its
#    board time mean, and what would you report instead?
# 3. The benchmark's clock leaves validation out. Which trick becomes free by that rule?
#
# ## Further reading
# - Coleman et al. (2017): *DAWNBench: an end-to-end deep learning benchmark and competition*
# - Coleman et al. (2019): *Analysis of DAWNBench, a time-to-accuracy machine learning performance
#   benchmark*, arXiv:1806.01427
# - Howard (2018): *Training ImageNet in 3 hours for USD 25; and CIFAR10 for USD 0.26*, fast.ai
