# %% [markdown]
# # 10 · Spot machines, checkpoints and the bill
#
# **You will** kill a training and let it go on with the bits of an unbroken one, find out how often
# to save, and compare the bill of a machine that may vanish with that of one that may not.
#
# *About 40 minutes; any laptop, under a minute of computing.*
#
# **Before you run anything:** a spot machine costs a third and is taken away every five hours on
# average. A training takes three hours and saves every ten minutes. How much longer does it take,
# and how much cheaper is it?

# %%
# %matplotlib inline
import tempfile

import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn import OneCycle, ResumeTraining, data
from keras_dawn.dawnbench import expected_spot_cost
from keras_dawn.plots.style import BLUE, GREEN, ORANGE, figure_of

import classroom
import keras
import numpy as np
from checks import spot_machines as checks

# %% [markdown]
# ## A training that is cut off
#
# `Evict` stands for the cloud: it ends the training in the middle of a step.


# %%
class Evict(keras.callbacks.Callback):
    def __init__(self, at_step):
        super().__init__()
        self.left = at_step

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("the machine is gone")


pixels = np.random.default_rng(0).integers(0, 256, (256, 16, 16, 3), dtype=np.uint8)


def train(folder, *callbacks):
    """The same script each time; returns all weights as one vector."""
    keras.utils.set_random_seed(1)
    model = keras_dawn.models.WideResNet(10, 1, input_shape=(16, 16, 3))
    model.compile(
        keras_dawn.SGD(momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    keras_dawn.accelerate(model)
    images = data.DeviceImages(
        pixels,
        np.arange(256) % 10,
        32,
        transforms=[data.PadCrop(2)],
        sampler=data.Shuffled(),
    )
    save = ResumeTraining(folder, every_steps=3)
    model.fit(
        images, epochs=2, callbacks=[OneCycle(0.1), *callbacks, save], verbose=0, shuffle=False
    )
    return np.concatenate([w.numpy().ravel() for w in model.weights])


with tempfile.TemporaryDirectory() as folder:
    unbroken = train(folder)
with tempfile.TemporaryDirectory() as folder:
    for at_step in (5, 6):
        try:
            train(folder, Evict(at_step))
        except RuntimeError as error:
            print(error)
    resumed = train(folder)
print("the same bits:", np.array_equal(unbroken, resumed))

# %% [markdown]
# What has to be in a checkpoint for that? Weights are not enough: think of momentum, the schedule's
# place, the order of the images, the random crops, the metrics of half an epoch.
#
# ## How often to save
#
# Save rarely, and much is done twice; save all the time, and saving is all one does. With a save of
# $d$ seconds and an eviction every $M$ seconds on average, saving every $c$ seconds loses about
# $d / c$ of the time to saving and $c / (2 M)$ to work done twice.
#
# ### Exercise 1
# Which $c$ makes the sum smallest? (Young 1974.)


# %%
def best_interval(save_seconds, mean_seconds_between_evictions):
    return ...


checks.check_best_interval(best_interval)

# %%
between, save = 5 * 3600.0, 2.0
interval = np.logspace(0.5, 4, 100)
figure, (axis,) = figure_of(1, "What is lost, evicted every five hours, saving takes 2 s")
axis.loglog(interval, 100 * save / interval, color=ORANGE, lw=2, label="saving")
axis.loglog(interval, 100 * interval / (2 * between), color=BLUE, lw=2, label="done twice")
axis.loglog(interval, 100 * (save / interval + interval / (2 * between)), color=GREEN, lw=3,
            label="both")  # fmt: skip
axis.set_xlabel("seconds between checkpoints")
axis.set_ylabel("percent of the time")
axis.legend(frameon=False)
figure

# %% [markdown]
# ## The bill
#
# fast.ai's ImageNet training took 2.96 hours on a machine of USD 24.48 an hour, and cost about USD
# 25 on one of USD 8.45 that could vanish.

# %%
on_demand = 2.9575 * 24.48
print(f"on demand: USD {on_demand:.2f}")
for checkpoint_seconds in (60, 600, 3600):
    spot = expected_spot_cost(
        2.9575, 8.45, mean_hours_between_interruptions=5.0, restart_minutes=5.0,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    print(
        f"spot, saving every {checkpoint_seconds:4} s: USD {spot.usd:.2f} in {spot.hours:.2f} hours, "
        f"evicted {spot.interruptions:.2f} times"
    )

# %% [markdown]
# ### Exercise 2
# Without any checkpoint, a training of $T$ hours that is evicted every $M$ hours on average (at
# random, at a constant rate) and begins again each time takes $M\,(e^{T/M} - 1)$ hours. Give its
# expected cost in USD, and find out from which `T` on the on-demand machine is cheaper.


# %%
def cost_without_checkpoints(hours, mean_hours, usd_per_hour):
    return ...


checks.check_cost_without_checkpoints(cost_without_checkpoints)

# %%
classroom.state("USD for the spot training, saving every ten minutes", expected_spot_cost(
    2.9575, 8.45, mean_hours_between_interruptions=5.0, restart_minutes=5.0,
    checkpoint_seconds=600,
).usd, 25.8, 0.1)  # fmt: skip

# %% [markdown]
# ## The clock so far
# The training of lesson 4 on demand; and had it been a thousand times as long, on a machine at a
# third of the price that is taken away every five hours.

# %%
images = classroom.load_images()
training, test = classroom.pixels(images)
run = classroom.train("one cycle", classroom.network(), training, test, 4, OneCycle(0.3))
classroom.restate(images, run)
hours = 1000 * run.epochs[-1].training_seconds / 3600
spot = expected_spot_cost(
    hours, classroom.PRICE.usd_per_hour / 3, mean_hours_between_interruptions=5.0,
    restart_minutes=5.0, checkpoint_seconds=600,
)  # fmt: skip
print(f"a thousand of them: USD {classroom.PRICE.cost(3600 * hours):.3f} in {hours:.2f} hours on demand, "
      f"USD {spot.usd:.3f} in {spot.hours:.2f} hours on spot")  # fmt: skip

# %% [markdown]
# ## For real
#
# `recipes/cloud/README.md` walks through a spot training of any recipe with SkyPilot, and
# `python -m keras_dawn.dawnbench.cost RUN_FOLDER` prints its bill.
#
# ## Questions
# 1. DAWNBench takes on-demand prices only. Why, and what would you report?
# 2. A checkpoint is written while the machine is taken away. What must hold about the file's name
#    and place so that the next start is safe?
# 3. Two machines train from the same folder by mistake. What should happen?
#
# ## Further reading
# - Young (1974): *A first order approximation to the optimum checkpoint interval*
# - Daly (2006): *A higher order estimate of the optimum checkpoint interval*
