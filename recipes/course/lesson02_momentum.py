# %% [markdown]
# # 2 · Momentum by hand
#
# **You will** write gradient descent with momentum, see why there are two forms of it, and find out
# what goes wrong when a published recipe is run with the other form.
#
# *About 40 minutes; any laptop, a quarter of a minute of computing.*
#
# **Before you run anything:** Keras and PyTorch both have `SGD(learning_rate=0.02, momentum=0.9)`.
# Both get the same gradients. After 100 steps at a constant rate, are the weights the same? And if
# the rate is divided by ten after 50 steps? Write your guesses down.

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn.plots.style import BLUE, GREEN, ORANGE, figure_of

import classroom
import keras
import numpy as np
import torch
from checks import momentum as checks

# %% [markdown]
# ## A valley
#
# The simplest loss on which momentum matters is a valley: steep in one direction, flat in the
# other. Its gradient is as simple.

# %%
STEEPNESS = np.array([1.0, 25.0])


def loss(w):
    return 0.5 * float((STEEPNESS * w**2).sum())


def gradient(w):
    return STEEPNESS * w


# %% [markdown]
# Plain descent has to choose: a rate that the steep direction bears is too small for the flat one.
# With momentum the steps along the flat direction add up, and those across the valley cancel.


# %%
def descend(rate, momentum, steps=60):
    w, v = np.array([10.0, 1.0]), np.zeros(2)
    losses = [loss(w)]
    for _ in range(steps):
        v = momentum * v + gradient(w)
        w = w - rate * v
        losses.append(loss(w))
    return losses


plain, heavy = descend(0.07, 0.0), descend(0.02, 0.8)
print(f"after 60 steps: plain {plain[-1]:.2e}, with momentum {heavy[-1]:.2e}")

# %%
figure, (axis,) = figure_of(1, "A valley: loss over the steps")
axis.semilogy(plain, color=ORANGE, lw=2, label="rate 0.07, no momentum")
axis.semilogy(heavy, color=BLUE, lw=2, label="rate 0.02, momentum 0.8")
axis.set_xlabel("step")
axis.set_ylabel("loss")
axis.legend(frameon=False)
figure

# %% [markdown]
# ## Two forms
#
# Sutskever et al. (2013) keep the **rate inside the velocity**; Keras does the same. PyTorch keeps
# it **outside**:
#
# | PyTorch | Keras |
# |---|---|
# | $v \leftarrow m\,v + g$ | $v \leftarrow m\,v - \eta\,g$ |
# | $w \leftarrow w - \eta\,v$ | $w \leftarrow w + v$ |
#
# ### Exercise 1
# Fill in one step of each. `w`, `v` and `g` are numbers or arrays.


# %%
def torch_step(w, v, g, rate, momentum):
    v = ...
    w = ...
    return None  # return w, v


def keras_step(w, v, g, rate, momentum):
    v = ...
    w = ...
    return None  # return w, v


checks.check_torch_step(torch_step)
checks.check_keras_step(keras_step)

# %% [markdown]
# ## The experiment
#
# Both libraries, the same gradients, 100 steps. In the second run the rate is divided by ten after
# step 50. `keras_dawn.SGD` is PyTorch's form as a Keras optimizer.


# %%
def run(make, drop_at):
    """Weights after each step; `make` builds an optimizer for the rate 0.02 and momentum 0.9."""
    weight = keras.Variable([10.0, 1.0], dtype="float32")
    optimizer = make()
    path = []
    for step in range(100):
        optimizer.learning_rate = 0.02 if step < drop_at else 0.002
        optimizer.apply([torch.tensor(gradient(weight.numpy()))], [weight])
        path.append(weight.numpy().copy())
    return np.array(path)


def distance(drop_at):
    ours = run(lambda: keras_dawn.SGD(0.02, momentum=0.9), drop_at)
    theirs = run(lambda: keras.optimizers.SGD(0.02, momentum=0.9), drop_at)
    return np.abs(ours - theirs).max(1)


constant, dropped = distance(drop_at=100), distance(drop_at=50)
print(f"largest difference, constant rate: {constant.max():.1e}")
print(f"largest difference after the drop: {dropped[50:].max():.3f}")
classroom.state("largest difference after the drop", dropped[50:].max(), 0.33, 0.05)

# %%
figure, (axis,) = figure_of(1, "Difference between the two forms")
axis.semilogy(constant + 1e-9, color=GREEN, lw=2, label="constant rate")
axis.semilogy(dropped + 1e-9, color=BLUE, lw=2, label="divided by ten after step 50")
axis.set_xlabel("step")
axis.set_ylabel("largest difference of a weight")
axis.legend(frameon=False)
figure

# %% [markdown]
# At a constant rate the forms are one: $v_\text{Keras} = -\eta\,v_\text{PyTorch}$. When the rate
# falls, Keras's velocity still holds steps of the **old** rate and goes on with them; PyTorch's
# holds gradients, and the new rate applies to all of them at once. With a rate that changes in
# every step, as in one-cycle training, the two are never the same. Published recipes, fast.ai's
# among them, mean PyTorch's form.
#
# ### Exercise 2
# How long does the old rate linger? Give the number of whole steps after which a velocity has
# decayed to a fraction of itself or less, when no gradient is added.


# %%
def steps_that_linger(momentum, fraction):
    return ...


checks.check_steps_that_linger(steps_that_linger)

# %% [markdown]
# ## The clock so far
# The network of lesson 1, its rate divided by ten after two thirds of the training, in both forms.
# In a real training the old rate fades within a few dozen steps, so a drop costs little; with one
# cycle every step is a change.

# %%
images = classroom.load_images()
training, test = classroom.pixels(images)
drop = keras_dawn.ParameterSchedule(
    {"learning_rate": keras_dawn.schedules.steps([0.1, 0.01], [0.67])}
)
forms = {"PyTorch's form": keras_dawn.SGD, "Keras's form": keras.optimizers.SGD}
classroom.restate(images, *(
    classroom.train(name, classroom.network(form(0.1, momentum=0.9)), training, test, 4, drop)
    for name, form in forms.items()
))  # fmt: skip

# %% [markdown]
# ## Questions
# 1. With momentum 0.9 and a constant gradient, how long do the steps become, as a multiple of the
#    rate? So what is a fair rate for a comparison with plain descent?
# 2. One-cycle lowers momentum while the rate rises. What does that do to the product of the two?
# 3. You port a PyTorch recipe with a step schedule to Keras and get a little less accuracy. Which
#    two things would you check first?
#
# ## Further reading
# - Sutskever, Martens, Dahl, Hinton (2013): *On the importance of initialization and momentum in
#   deep learning*
# - Goh (2017): *Why momentum really works*, Distill
# - Smith (2018): *A disciplined approach to neural network hyper-parameters, part 1*,
#   arXiv:1803.09820
