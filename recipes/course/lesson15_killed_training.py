# %% [markdown]
# # 15 · A training that is killed, and goes on
#
# **You will** kill a training's process without warning and start it again, find that no bit is
# different at the end, and leave out of a checkpoint one thing after the other to see what each was
# for.
#
# *About 40 minutes; any laptop, about a minute of computing.*
#
# **Before you run anything:** a training is killed after two of four epochs. You have its weights.
# What else must you know to end where it would have ended? Which of these matters most?

# %%
# %matplotlib inline
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keras_dawn import OneCycle, ResumeTraining  # before Keras: picks its torch backend
from keras_dawn.plots.style import BLUE, figure_of

import classroom
import keras
import numpy as np
from checks import killed_training as checks

# %% [markdown]
# ## A process that is killed
#
# The script is the same at every start; nothing in it asks whether there was a start before.

# %%
SCRIPT = """
import keras_dawn, keras, numpy as np
from keras_dawn import OneCycle, ResumeTraining, data

keras.utils.set_random_seed(1)
pixels = np.random.default_rng(0).integers(0, 256, (256, 16, 16, 3), dtype=np.uint8)
images = data.DeviceImages(
    pixels, np.arange(256) % 10, 16, transforms=[data.PadCrop(2)], sampler=data.Shuffled()
)
model = keras_dawn.models.WideResNet(10, 1, input_shape=(16, 16, 3))
model.compile(keras_dawn.SGD(momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True))
keras_dawn.accelerate(model)
callbacks = [OneCycle(0.1), ResumeTraining("checkpoints", every_steps=2)]
model.fit(images, epochs=3, callbacks=callbacks, verbose=0, shuffle=False)
np.save("weights.npy", np.concatenate([w.numpy().ravel() for w in model.weights]))
"""


def start(folder):
    """The script in a process of its own."""
    (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
    return subprocess.Popen([sys.executable, "train.py"], cwd=folder, stderr=subprocess.PIPE)


def whole(folder):
    """Weights after a run that nobody kills, and what it said."""
    process = start(folder)
    said = process.communicate()[1].decode("utf-8", "replace")
    if process.returncode:
        raise RuntimeError(said)
    return np.load(folder / "weights.npy"), said


with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
    unbroken, _ = whole(Path(one))
    process = start(Path(other))
    while not list(Path(other).glob("checkpoints/*.pt")):
        if process.poll() is not None:
            raise RuntimeError(process.stderr.read().decode())
        time.sleep(0.005)
    process.kill()  # the machine is gone: no signal that could be caught, no last word
    process.communicate()
    print("killed after", sorted(p.name for p in Path(other).glob("checkpoints/*.pt"))[-1])
    resumed, said = whole(Path(other))
    print(next(line for line in said.splitlines() if "goes on" in line or "complete" in line))
same = np.array_equal(unbroken, resumed)
print("the same bits:", same)
classroom.state("weights that differ", np.sum(unbroken != resumed), 0, 0)

# %% [markdown]
# ## What a training is, between two steps
#
# Now by hand. A training of four epochs is stopped after two; what it is then is put back into a
# new model, but for one thing.

# %%
images = classroom.load_images()
images = images.subset(min(1280, len(images.train_images)), 100)


def fit(model, training, first, last, cycle_first=0):
    """Epochs `first` to `last` of a one-cycle training of four."""
    cycle = OneCycle(0.3, epochs=range(cycle_first, cycle_first + 4))
    model.fit(training, initial_epoch=first, epochs=last, callbacks=[cycle], verbose=0,
              shuffle=False)  # fmt: skip


def vector(model):
    return np.concatenate([w.numpy().ravel() for w in model.trainable_weights])


def state_of(model):
    """What the training is: weights with moving statistics, and the optimizer's velocities."""
    return model.get_weights(), [v.numpy().copy() for v in model.optimizer.variables]


def go_on(left_out):
    """Epochs three and four in a new model, with all of the state but one thing."""
    model, (training, _) = classroom.network(), classroom.pixels(images, 64)
    model.set_weights(state[0])
    if left_out == "batch statistics":
        fresh = classroom.network()
        for old, new in zip(model.non_trainable_weights, fresh.non_trainable_weights, strict=True):
            old.assign(new.value)
    model.optimizer.build(model.trainable_variables)
    if left_out != "velocities":
        for variable, value in zip(model.optimizer.variables, state[1], strict=True):
            variable.assign(value)
    if left_out == "order of the data":  # as of a generator that was begun anew
        training.sampler.seed += 100
    fit(model, training, 2, 4, cycle_first=2 if left_out == "schedule" else 0)
    return vector(model)


unbroken_model, (training, _) = classroom.network(), classroom.pixels(images, 64)
fit(unbroken_model, training, 0, 4)
unbroken = vector(unbroken_model)
model, (training, _) = classroom.network(), classroom.pixels(images, 64)
fit(model, training, 0, 2)
state = state_of(model)
travelled = np.linalg.norm(unbroken - vector(model))
PARTS = ("nothing", "batch statistics", "velocities", "order of the data", "schedule")
distances = {part: np.linalg.norm(go_on(part) - unbroken) / travelled for part in PARTS}
for part, distance in distances.items():
    print(f"left out: {part:18} {distance:.3f} of the way of the last two epochs astray")

# %%
figure, (axis,) = figure_of(1, "How far astray without…")
axis.barh(list(distances), list(distances.values()), color=BLUE)
axis.invert_yaxis()
axis.set_xlabel("distance from the unbroken training's weights, over the way of its last epochs")
figure

# %%
classroom.state("astray with all of the state", distances["nothing"], 0, 0)
classroom.state("astray without the order of the data", distances["order of the data"], 0.5, 0.3,
                images)  # fmt: skip
classroom.state("astray without the schedule", distances["schedule"], 1.5, 1.0, images)

# %% [markdown]
# The moving statistics of batch normalisation do not change how a training goes on: its steps use
# the batch's own. They change what an evaluation says.
#
# ## The order of the data
#
# A generator that was half used up cannot be asked where it was. An order that is a *function* of
# seed and epoch can: the new process makes it again, and passes over what was trained on.
#
# ### Exercise 1
# Write it: the order of `count` images in an epoch, from `seed` and `epoch` alone, without touching
# NumPy's global generator.


# %%
def order(seed, epoch, count):
    """Array `(count,)`, each place once."""
    return ...


checks.check_order(order)

# %% [markdown]
# ### Exercise 2
# A checkpoint was written after `step` batches of this order. Which places does the rest of the
# epoch serve, batch by batch? The last batch may be smaller.


# %%
def batches_left(order, step, batch_size):
    """List of lists of places."""
    return ...


checks.check_batches_left(batches_left)

# %% [markdown]
# ## The clock so far
#
# The training of lesson 4, killed in its third epoch. What was trained before the kill counts.

# %%
everything = classroom.load_images()


class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == (0 if classroom.SHORT else 2):
            raise RuntimeError("the machine is gone")


def train(folder, *callbacks):
    training, test = classroom.pixels(everything)
    resume = ResumeTraining(folder, every_steps=10)
    return classroom.train("killed, and gone on", classroom.network(), training, test, 4,
                           OneCycle(0.3), *callbacks, resume)  # fmt: skip


with tempfile.TemporaryDirectory() as folder:
    try:
        train(folder, Kill())
    except RuntimeError as error:
        print(error)
    run = train(folder)
classroom.restate(everything, run)

# %% [markdown]
# ## Questions
# 1. A checkpoint is written while the process is killed. How must a file be written so that the
#    next start finds a whole one?
# 2. Two processes train on halves of each batch. Which parts of the state does each have of its
#    own?
# 3. `fine_tune` has several `fit`s, one after the other, each with an optimizer of its own. What
#    must a checkpoint say so that the right one goes on?
#
# ## Further reading
# - Mohan et al. (2021): *CheckFreq: frequent, fine-grained DNN checkpointing*, FAST
# - `help(keras_dawn.ResumeTraining)`: what is saved, and what is refused
