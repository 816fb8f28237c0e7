# %% [markdown]
# # 8 · Data parallel: a big batch is the mean of its shards
#
# **You will** split a batch over several processes by hand, get the gradient of the whole batch
# back to the last digits, find the one layer that breaks it, and work out what several GPUs can
# gain.
#
# *About 40 minutes; any laptop, a few seconds of computing. The command at the end uses two
# processes of your CPU.*
#
# **Before you run anything:** four GPUs each compute the mean gradient of 8 images, and the four
# means are averaged. Is that the gradient of the 32 images together? And if the shards have 8, 8, 8
# and 5 images? And with batch normalisation in the network?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn.distributed import scaling
from keras_dawn.plots.style import BLUE, GREEN, ORANGE, figure_of

import classroom
import keras
import numpy as np
import torch
from checks import data_parallel as checks

# %% [markdown]
# ## One batch, four shards

# %%
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
images = torch.tensor(random.normal(size=(32, 8, 8, 3)).astype("float32"))
labels = torch.tensor(random.integers(0, 10, 32))


def network(normalise):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3)(inputs)
    if normalise:
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def gradient(model, part):
    """The mean gradient of some of the images, all weights in one vector."""
    model.zero_grad()
    scores = model(images[part], training=True)
    torch.nn.functional.cross_entropy(scores, labels[part].to(scores.device)).backward()
    return torch.cat([w.value.grad.flatten() for w in model.trainable_weights]).cpu().numpy()


def difference(model, shards):
    """How far the plain mean of the shards' gradients is from the whole batch's, relatively."""
    whole = gradient(model, slice(None))
    parts = np.mean([gradient(model, shard) for shard in shards], 0)
    return np.abs(parts - whole).max() / np.abs(whole).max()


EVEN = [slice(0, 8), slice(8, 16), slice(16, 24), slice(24, 32)]
UNEVEN = [slice(0, 8), slice(8, 16), slice(16, 27), slice(27, 32)]
plain, normalised = network(False), network(True)
results = {
    "even shards": difference(plain, EVEN),
    "uneven shards": difference(plain, UNEVEN),
    "even, batch normalisation": difference(normalised, EVEN),
}
for name, value in results.items():
    print(f"{name:28} {value:.1e}")
classroom.state("uneven shards, largest relative difference", results["uneven shards"], 0.32, 0.05)

# %%
figure, (axis,) = figure_of(1, "Mean of the shards against the whole batch")
axis.barh(list(results), list(results.values()), color=[GREEN, BLUE, ORANGE])
axis.set_xscale("log")
axis.set_xlabel("largest relative difference")
figure

# %% [markdown]
# Even shards agree to the last digits of float32: the loss is a mean, and a mean of means of equal
# size is the mean. Uneven shards need weights. Batch normalisation sees 8 images instead of 32 and
# is another function: its statistics must be averaged over the processes too
# (`synchronize_batch_normalization`), or one accepts that it is another training, as everybody did
# in 2018.
#
# ### Exercise 1
# Put the gradients of shards of any sizes together to that of the whole batch.


# %%
def combine(gradients, sizes):
    """`gradients` (shards, weights): mean gradients; `sizes` (shards,): images in each."""
    return ...


checks.check_combine(combine)

# %% [markdown]
# ## The rate
#
# Eight processes with the batch of one each make a batch of eight times the size, and an epoch an
# eighth of the steps. The linear scaling rule (Goyal et al. 2017) multiplies the rate by eight,
# after a warm-up.
#
# ### Exercise 2
# Give the rate in step `step` (from 0): it rises linearly from `rate` in step 0 to `processes`
# times that in step `warm_up`, and stays.


# %%
def warmed_up(rate, processes, step, warm_up):
    return ...


checks.check_warmed_up(warmed_up)

# %% [markdown]
# ## What it gains
#
# A ring all-reduce sends about twice the gradient's bytes through each process, whatever their
# number. If a step computes for 80 ms and its gradient is 100 MB, over a link of 10 GB/s and over
# one of 1 GB/s, nothing overlapping:

# %%
counts = np.array([1, 2, 4, 8, 16, 32])


def efficiency(compute_seconds, gradient_bytes, bytes_per_second, processes):
    sending = 2 * (processes - 1) / processes * gradient_bytes / bytes_per_second
    return compute_seconds / (compute_seconds + sending)


figure, (axis,) = figure_of(1, "How much of each GPU's time is computing")
for link, colour in ((10e9, GREEN), (1e9, ORANGE)):
    axis.plot(counts, 100 * efficiency(0.08, 100e6, link, counts), "o-", color=colour,
              lw=2, label=f"{link / 1e9:.0f} GB/s")  # fmt: skip
axis.set_xscale("log", base=2)
axis.set_xticks(counts, counts)
axis.set_ylim(0, 105)
axis.set_xlabel("processes")
axis.set_ylabel("percent")
axis.legend(frameon=False)
figure

# %% [markdown]
# The package's model of a step (`keras_dawn.distributed.scaling`) adds latency, buckets and
# overlap, and says how much of fast.ai's 18 minutes on 128 GPUs it explains.
#
# ## For real
#
# A script needs one line, `keras_dawn.distribute()`; torchrun starts the processes. On a laptop:
#
#     torchrun --nproc-per-node=2 recipes/cifar10_wrn.py --preset=smoke --dataset=digits

# %% [markdown]
# ## The clock so far
# The training of lesson 4, and what it would take and cost on several machines like this one, if a
# step's gradient (0.3 MB) went over a link of 1 GB/s: the time falls, the bill does not.

# %%
lesson_images = classroom.load_images()
training, test = classroom.pixels(lesson_images)
run = classroom.train("one machine", classroom.network(), training, test, 4,
                      keras_dawn.OneCycle(0.3))  # fmt: skip
classroom.restate(lesson_images, run)
step = run.epochs[-1].training_seconds / (len(training) * len(run.epochs))
for machines in (1, 2, 4, 8):
    fraction = efficiency(step / machines, 0.3e6, 1e9, machines)
    seconds = run.epochs[-1].training_seconds / machines / fraction
    print(
        f"{machines} machines: {seconds:6.2f} s, USD {machines * classroom.PRICE.cost(seconds):.6f}"
    )

# %%
print(scaling.__doc__.splitlines()[0])

# %% [markdown]
# ## Questions
# 1. The last batch of an epoch has 5 images left for 4 processes. Drop them, pad them, or weigh
#    them? What does each do to an evaluation?
# 2. Why does the all-reduce begin before the backward pass has ended, and with which layers?
# 3. The batch is eight times as large and the rate is too. What is still not the same training?
#
# ## Further reading
# - Goyal et al. (2017): *Accurate, large minibatch SGD*, arXiv:1706.02677
# - Li et al. (2020): *PyTorch distributed*, arXiv:2006.15704
# - Jia et al. (2018): *Highly scalable deep learning training system with mixed-precision*,
#   arXiv:1807.11205
