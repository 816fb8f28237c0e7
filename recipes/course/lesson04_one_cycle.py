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
# steps are long, the past counts less. fast.ai's DAWNBench entries used this shape, with 12.5 to 20
# percent for the tail.
#
# ### Exercise 1
# Write the rate as a function of progress in [0, 1].


# %%
def one_cycle(progress, max_rate, div, tail):
    """`tail`: the share of the training in the last phase; up and down take half of the rest each."""
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
policy = OneCycle(0.5, "dawnbench", div_factor=20, tail_percent=20)
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
RATES = {"constant": 0.1, "steps": 0.3, "one cycle": 0.3}
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
gain = runs["one cycle"].accuracy - runs["constant"].accuracy
classroom.state("one cycle over a constant rate, points", gain, {"digits": 4, "cifar10": 10},
                {"digits": 4, "cifar10": 8}, images)  # fmt: skip

# %% [markdown]
# Half-way through, one cycle is often **behind**: its rate is at its highest, and the network jumps
# about. It wins at the end, when the rate falls and the network settles. So one cannot tell a good
# training by its middle, and a one-cycle run must not be stopped early: its length is part of its
# definition.
#
# ## Why a large rate regularises
#
# Smith & Topin saw that with a large rate other regularisation has to be **reduced**. Repeat it
# small: train on a few images until nearly all are right, once with a small rate and once with a
# large one, both falling to 0 in the end. A sharp minimum is one that a small rate may sit in and a
# large one is thrown out of. We measure sharpness directly: how much the training loss rises when
# every filter is moved by a few percent of its length.

# %%
few = images.subset(128 if classroom.SHORT else 1000, 200 if classroom.SHORT else 1000)
few_training, few_test = classroom.pixels(few, batch_size=50)


def sharpness(model, data, share=0.05, draws=5):
    """Mean rise of the loss when each weight array moves by `share` of its norm at random."""
    generator = torch.Generator().manual_seed(0)
    before = model.evaluate(data, verbose=0)[0]
    kernels = [w for w in model.trainable_weights if w.path.endswith("kernel")]
    rises = []
    for _ in range(draws):
        saved = [w.numpy().copy() for w in kernels]
        for weight in kernels:
            noise = torch.randn(tuple(weight.shape), generator=generator).numpy()
            size = np.linalg.norm(weight.numpy()) / np.linalg.norm(noise)
            weight.assign(weight.numpy() + share * size * noise)
        rises.append(model.evaluate(data, verbose=0)[0] - before)
        for weight, value in zip(kernels, saved, strict=True):
            weight.assign(value)
    return float(np.mean(rises))


found = {}
for rate in (0.01, 0.3):
    model = classroom.network(keras_dawn.SGD(rate, momentum=0.9))
    run = classroom.train(f"few images, highest rate {rate}", model, few_training, few_test, 12,
                          OneCycle(rate))  # fmt: skip
    found[rate] = (100 * run.history["accuracy"][-1] - run.accuracy,
                   sharpness(model, few_training))  # fmt: skip
    print(f"rate {rate}: gap {found[rate][0]:.1f} points, sharpness {found[rate][1]:.2g}")

# %%
figure, axes = figure_of(2, "Small and large rate on few images", height=5)
for axis, values, label in zip(
    axes, zip(*found.values(), strict=True),
    ("training minus test\naccuracy, points", "rise of the loss when\nweights move by 5 %"),
    strict=True,
):  # fmt: skip
    axis.bar(["highest rate 0.01", "highest rate 0.3"], values, color=[ORANGE, BLUE])
    axis.set_ylabel(label)
figure

# %%
classroom.state("gap at the small rate less gap at the large one, points",
                found[0.01][0] - found[0.3][0], {"digits": 8, "cifar10": 20},
                {"digits": 8, "cifar10": 20}, images)  # fmt: skip

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
