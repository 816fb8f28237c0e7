# %% [markdown]
# # 3 · The range test: how high may the rate go?
#
# **You will** sweep the learning rate over seven powers of ten in one short run, read from the
# curve how high it may go, and check the reading by training at rates below, at, and above it.
#
# *About 40 minutes; any laptop, a minute of computing.*
#
# **Before you run anything:** the rate rises by the same factor in every step, from far too small
# to far too large. Sketch the loss against the rate. Where on your sketch would you train?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn.plots.style import BLUE, GREY, ORANGE, figure_of
from keras_dawn.schedules import Sweep, try_values

import classroom
import numpy as np
from checks import range_test as checks

# %% [markdown]
# ## One sweep
#
# Smith's range test (2015) trains for a hundred steps while the rate rises from hardly anything to
# too much. A batch's loss is noisy, so it is smoothed by an exponential average that forgets
# slowly.
#
# ### Exercise 1
# The average starts at 0, so its first values are far too small. Write it with the correction:
# after step `t` (from 1) the average is divided by $1 - \beta^t$, as Adam does.


# %%
def smoothed(losses, beta):
    """The corrected average after each of the losses, as a list."""
    return ...


checks.check_smoothed(smoothed)

# %%
images = classroom.load_images()
training, test = classroom.pixels(images)
model = classroom.network(keras_dawn.SGD(0.1, momentum=0.9))
# In short: find_learning_rate(model, training). Here the loss is smoothed less, as steps are few.
sweep = Sweep(1e-5, 10.0, 20 if classroom.SHORT else 120, smoothing=0.9)
found = try_values(sweep, model, training, shuffle=False)
print(f"valley {found.valley:.3g}, steepest {found.steep:.3g}, a tenth of the minimum's rate "
      f"{found.minimum:.3g}")  # fmt: skip
print("stopped at", found.stopped)

# %% [markdown]
# The test put everything back: the network has not been trained.
#
# ### Exercise 2
# One reading is the rate at which the loss falls fastest **per power of ten**. Return it.


# %%
def steepest(rates, losses):
    """`rates` rise by a constant factor; the loss at each. Use the difference of neighbours."""
    return ...


checks.check_steepest(steepest)

# %% [markdown]
# ## Is it true?
#
# Now train, two epochs each, at rates from far below to far above, from the same initial weights.

# %%
rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
losses, accuracies = [], []
for rate in rates[:2] if classroom.SHORT else rates:
    run = classroom.train(f"rate {rate:g}", classroom.network(keras_dawn.SGD(rate, momentum=0.9)),
                          training, test, 2)  # fmt: skip
    losses.append(np.nan_to_num(min(run.history["loss"][-1], 10.0), nan=10.0))  # diverged
    accuracies.append(run.accuracy)
best = rates[int(np.argmin(losses))]
print(f"lowest training loss at the rate {best:g}")

# %%
figure, (sweep, check) = figure_of(2, "Above: one sweep of 120 steps. Below: whole trainings",
                                   height=6)  # fmt: skip
sweep.semilogx(found.values, found.losses, color=GREY, lw=0.8, label="each batch")
sweep.semilogx(found.values, found.smoothed, color=BLUE, lw=2, label="smoothed")
for name, colour in (("valley", ORANGE), ("minimum", GREY)):
    sweep.axvline(getattr(found, name), color=colour, ls="--", label=f"suggestion: {name}")
sweep.set_ylim(0, 5)
sweep.set_ylabel("loss")
sweep.legend(frameon=False, fontsize=8)
check.semilogx(rates[: len(losses)], losses, "o-", color=BLUE, lw=2)
check.set_xlabel("learning rate")
check.set_ylabel("training loss, 2 epochs")
figure

# %%
classroom.state(
    "powers of ten between the valley and the best rate",
    abs(np.log10(found.valley / best)), 0.65, 0.5,
)  # fmt: skip
worse = losses[rates.index(best) - 3] / min(losses) if len(losses) == len(rates) else 0.0
classroom.state("loss at about a thirtieth of the best rate, over the lowest", worse, 6, 3)

# %% [markdown]
# The curve has three parts: nothing happens; the loss falls; it blows up. The best single rate lies
# high on the slope, close to where the trouble begins, and a rate thirty times smaller wastes most
# of the training. A constant rate must keep a distance from the edge for the whole training; a rate
# that rises and falls, as in the next lesson, may go close to it for a while.
#
# ## The clock so far
# The test itself took no more steps than two epochs. What a good rate buys, in one epoch's
# accuracy:

# %%
print(
    "accuracy after two epochs:", dict(zip(rates, np.round(accuracies, 1).tolist(), strict=False))
)
again = classroom.train(
    "the valley's rate", classroom.network(keras_dawn.SGD(found.valley, momentum=0.9)),
    training, test, 5,
)  # fmt: skip
classroom.restate(images, again)

# %% [markdown]
# ## Questions
# 1. The sweep's curve depends on how many steps it has. Which part moves if it has a thousand?
# 2. Why is the loss of each batch read, and not the mean that Keras prints during an epoch?
# 3. Sweep `parameter="momentum"` at a fixed rate. What do you expect, and what do you see?
#
# ## Further reading
# - Smith (2015): *Cyclical learning rates for training neural networks*, arXiv:1506.01186
# - Gugger (2018): *How do you find a good learning rate*
