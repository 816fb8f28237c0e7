# %% [markdown]
# # 4 · One cycle and super-convergence
#
# **You will** write the one-cycle policy, race it against a constant rate and against steps at
# equal epochs, and look at what a large rate does to a network besides moving it fast.
#
# *About 40 minutes; any laptop, a minute or two of computing.*
#
# **Before you run anything:** the rate goes up for the first third of the training and down for the
# rest, and is far too high in between. Compared with the best constant rate over the same number of
# epochs, is the accuracy half-way through the training better or worse? And at the end?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn import OneCycle, ParameterSchedule, schedules
from keras_dawn.plots import plot_comparison
from keras_dawn.plots.style import BLUE, ORANGE, figure_of

import classroom
import numpy as np
import torch
from checks import one_cycle as checks

# %% [markdown]
# ## The policy
#
# Smith & Topin (2017): up in a straight line from `max_rate / div` to `max_rate`, as long down
# again, and a tail down to a hundredth of where it began. Momentum goes the other way round: when
# steps are long, the past counts less. fast.ai's DAWNBench entries used this shape, with an eighth to
# a fifth of the training for the tail.
#
# ### Exercise 1
# Write the rate as a function of progress in [0, 1].


# %%
def one_cycle(progress, max_rate, div, tail):
    """`tail`: the fraction of the training in the last part; up and down take half of the rest."""
    return ...


checks.check_one_cycle(one_cycle)

# %% [markdown]
# ### Exercise 2
# Momentum falls from `high` to `low` while the rate rises, comes back, and stays `high` in the
# tail.


# %%
def momentum(progress, high, low, tail):
    return ...


checks.check_momentum(momentum)

# %%
policy = OneCycle(0.5, "dawnbench", div_factor=20, tail_fraction=0.2)
values = policy.values(epochs=6, steps_per_epoch=50)
print("rate:", [round(rate, 3) for rate in values["learning_rate"][::60]])

# %% [markdown]
# ## The race
#
# The same network, images and epochs. Each schedule has the highest rate that was best for it among
# 0.03, 0.1, 0.3 and 1 (on another seed): a schedule judged at another one's rate would be a straw
# man.

# %%
images = classroom.load_images()
training, test = classroom.pixels(images)
RATES = {"constant": 0.03, "steps": 0.3, "one cycle": 1.0}
if images.name == "cifar10":  # from recipes/compare.py
    RATES = {"constant": 0.05, "steps": 0.5, "one cycle": 0.5}
EPOCHS = 4 if images.name == "digits" else 5


def schedule(name):
    rate = RATES[name]
    if name == "one cycle":
        return OneCycle(rate)
    curve = schedules.constant(rate)
    if name == "steps":
        curve = schedules.steps([rate, rate / 10, rate / 100], [0.5, 0.75])
    return ParameterSchedule({"learning_rate": curve})


runs = {
    name: classroom.train(
        name,
        classroom.network(keras_dawn.SGD(RATES[name], momentum=0.9, weight_decay=5e-4)),
        training, test, EPOCHS, schedule(name),
    )
    for name in RATES
}  # fmt: skip

# %%
figure = plot_comparison(
    {name: schedule(name).values(EPOCHS, len(training))["learning_rate"] for name in runs},
    {name: [[epoch.accuracy for epoch in run.epochs]] for name, run in runs.items()},
    {name: [run.accuracy] for name, run in runs.items()},
)
figure

# %%
classroom.state("accuracy of one cycle, percent", runs["one cycle"].accuracy, 96, 1.5, images)
gain = runs["one cycle"].accuracy - runs["constant"].accuracy
print(f"over a constant rate: {gain:.1f} points (much depends on where the constant one stands "
      "when it is stopped)")  # fmt: skip

# %% [markdown]
# Half-way through, both schedules that end low are often **behind** or hardly ahead: the rate is at
# its highest, and the network jumps about. They win at the end, when the rate falls and the network
# settles. So one cannot tell a good training by its middle, and a one-cycle run must not be stopped
# early: its length is part of its definition. Steps do about as well as one cycle here; on CIFAR-10
# one cycle is 5.8 points ahead of steps at equal epochs (three seeds; `recipes/compare.py`).
#
# ## Why a large rate regularises
#
# Smith & Topin saw that with a large rate other regularisation has to be **reduced**. Repeat it
# small: train on a thousand images until all of them are right, once with a small highest rate and
# once with a large one, both falling to nearly 0 in the end. A sharp minimum is one that a small
# rate may sit in and a large one is thrown out of. We measure sharpness directly: how much the
# training loss rises when every filter is moved by a tenth of its length in a random direction.

# %%
few = images.subset(128 if classroom.SHORT else 1000, 200 if classroom.SHORT else 1000)
few_training, few_test = classroom.pixels(few, batch_size=50)


def sharpness(model, data, fraction=0.1, draws=5):
    """Mean rise of the loss when each weight array moves by `fraction` of its norm at random."""
    generator = torch.Generator().manual_seed(0)
    before = model.evaluate(data, verbose=0)[0]
    kernels = [w for w in model.trainable_weights if w.path.endswith("kernel")]
    rises = []
    for _ in range(draws):
        saved = [w.numpy().copy() for w in kernels]
        for weight in kernels:
            noise = torch.randn(tuple(weight.shape), generator=generator).numpy()
            size = np.linalg.norm(weight.numpy()) / np.linalg.norm(noise)
            weight.assign(weight.numpy() + fraction * size * noise)
        rises.append(model.evaluate(data, verbose=0)[0] - before)
        for weight, value in zip(kernels, saved, strict=True):
            weight.assign(value)
    return float(np.mean(rises))


found = {}
for rate in (0.05, 1.0):
    model = classroom.network(keras_dawn.SGD(rate, momentum=0.9))
    run = classroom.train(
        f"few images, highest rate {rate}", model, few_training, few_test, 20, OneCycle(rate)
    )
    right = 100 * model.evaluate(few_training, verbose=0)[1]
    found[rate] = run.accuracy, sharpness(model, few_training)
    print(f"  of the training images {right:.1f} % are right, sharpness {found[rate][1]:.2g}")

# %%
figure, (accuracy, sharp) = figure_of(2, "Small and large rate on few images", height=5)
labels = [f"highest rate {rate}" for rate in found]
accuracy.bar(labels, [value[0] for value in found.values()], color=[ORANGE, BLUE])
accuracy.set_ylim(min(value[0] for value in found.values()) - 3, 100)
accuracy.set_ylabel("test accuracy in %")
sharp.bar(labels, [value[1] for value in found.values()], color=[ORANGE, BLUE])
sharp.set_yscale("log")
sharp.set_ylabel("rise of the training loss")
figure

# %%
classroom.state("powers of ten between the two sharpnesses",
                np.log10(found[0.05][1] / found[1.0][1]), 1.6, 1, images)  # fmt: skip
classroom.state("accuracy of the large rate over that of the small one, points",
                found[1.0][0] - found[0.05][0], 1.9, 1.8, images)  # fmt: skip

# %% [markdown]
# Both networks know all their training images. The one that was trained at the large rate sits in a
# valley that is many times flatter, and is better on images that it has not seen.

# %% [markdown]
# ## The clock so far

# %%
classroom.restate(images, *runs.values())

# %% [markdown]
# ## Questions
# 1. fast.ai's ImageNet entry did **not** use one cycle, as it did not reach 93 %; its CIFAR-10
#    entries did. What is different about 45 epochs of ImageNet?
# 2. Weight decay multiplies weights by $1 - \eta\lambda$ in each step. What does one cycle do to
#    the decay, then?
# 3. You have one more hour of computing. Would you go on from the end of a one-cycle run, or begin
#    a longer one?
#
# ## Further reading
# - Smith & Topin (2017): *Super-convergence*, arXiv:1708.07120
# - Smith (2018): *A disciplined approach to neural network hyper-parameters*, arXiv:1803.09820
# - Li et al. (2019): *Towards explaining the regularization effect of initial large learning rate*,
#   arXiv:1907.04595
