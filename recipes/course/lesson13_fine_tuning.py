# %% [markdown]
# # 13 · Fine-tuning: the head first, then all of it
#
# **You will** let a network learn five digits, give it ten images of each of five others, and see
# what of the old one is worth keeping, what may be frozen, and how fast each part may learn.
#
# *About 40 minutes; any laptop, about a minute of computing.*
#
# **Before you run anything:** a network has learnt 0 to 4 from 2,000 images. It now sees ten images
# each of 5 to 9. Which is best: beginning anew, a new last layer on frozen features, or training
# all of it? How far apart are they?

# %%
# %matplotlib inline
import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn import LayerGroups, OneCycle, data
from keras_dawn.plots.style import COLOURS, figure_of

import classroom
import keras
import numpy as np
from checks import fine_tuning as checks

# %% [markdown]
# ## Two tasks from one set of images

# %%
images = classroom.load_images()
FEW = 10  # images of each new class
EPOCHS = 2 if classroom.SHORT else 6


def task(classes, count=None):
    """Images of some classes, numbered from 0: `(training, test)` for `fit`."""
    parts = []
    for pixels, labels in ((images.train_images, images.train_labels),
                           (images.test_images, images.test_labels)):  # fmt: skip
        places = [np.flatnonzero(labels == label) for label in classes]
        if count and not parts:
            random = np.random.default_rng(classroom.SEED)
            places = [random.permutation(one)[:count] for one in places]
        places = np.concatenate(places)
        parts.append((pixels[places], labels[places] - classes.start))
    training = data.DeviceImages(
        *parts[0], 64 if count is None else 10, transforms=[data.PadCrop(2), images.normalize],
        sampler=data.Shuffled(classroom.SEED),
    )  # fmt: skip
    return training, data.DeviceImages(*parts[1], 500, transforms=[images.normalize])


def network(weights=None):
    """The small network with five outputs; with other weights but for the last layer's."""
    keras.utils.set_random_seed(classroom.SEED)
    model = keras_dawn.models.WideResNet(10, 1, classes=5)
    if weights is not None:
        model.set_weights([*weights[:-2], *model.get_weights()[-2:]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(0.01), loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model)


# %%
old_training, old_test = task(range(5))
pretrained = classroom.train("0 to 4", network(), old_training, old_test, 3, OneCycle(0.01))
weights = pretrained.model.get_weights()
training, test = task(range(5, 10), FEW)

# %% [markdown]
# ## Three ways
#
# The new network begins with the old one's weights, but for its last layer, the *head*. A random
# head sends random gradients into good features: so the rest is frozen first, the head trained
# alone, and then all of it, the early layers at lower rates. `fine_tune` does that.


# %%
class Accuracies(keras.callbacks.Callback):
    """The test accuracy after every epoch, in percent, of one fit after the other."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_epoch_end(self, epoch, logs=None):
        self.values.append(100 * logs["val_accuracy"])


def tuned(**settings):
    accuracies = Accuracies()
    settings = {"epochs": EPOCHS - 1, "head_epochs": 1, "max_lr": 0.03, **settings}
    keras_dawn.fine_tune(
        network(weights), training, validation_data=test, callbacks=[accuracies], verbose=0,
        shuffle=False, **settings,
    )  # fmt: skip
    return accuracies.values


def fitted(model, rate=0.01):
    accuracies = Accuracies()
    model.fit(
        training, validation_data=test, epochs=EPOCHS, callbacks=[OneCycle(rate), accuracies],
        verbose=0, shuffle=False,
    )  # fmt: skip
    return accuracies.values


frozen = network(weights)
for layer in frozen.layers[:-1]:
    layer.trainable = False
frozen.compile(keras.optimizers.AdamW(0.03), frozen.loss, metrics=["accuracy"])
keras_dawn.accelerate(frozen)

ways = {
    "anew": fitted(network()),
    "frozen features": fitted(frozen, 0.03),
    "fine_tune": tuned(groups=LayerGroups(spread=10)),
}
for name, values in ways.items():
    print(f"{name:16} {values[-1]:5.1f} %")

# %%
figure, (axis,) = figure_of(1, f"Five new digits, {FEW} images of each")
for colour, (name, values) in zip(COLOURS, ways.items(), strict=False):
    axis.plot(range(1, len(values) + 1), values, color=colour, lw=2, label=name)
axis.set_xlabel("epoch")
axis.set_ylabel("test accuracy in %")
axis.legend(frameon=False)
figure

# %%
classroom.state("points that fine-tuning gains over beginning anew",
                ways["fine_tune"][-1] - ways["anew"][-1], 35, 25, images)  # fmt: skip
classroom.state("points that fine-tuning gains over frozen features",
                ways["fine_tune"][-1] - ways["frozen features"][-1], 14, 12, images)  # fmt: skip

# %% [markdown]
# Features of 0 to 4 are not features of 5 to 9: frozen, they end too low, however long the head is
# trained. And digits are easy: in 20 epochs the new weights catch up. What fine-tuning buys is time,
# the more of it the harder the task and the fewer the images
# (`benchmarks/fine_tuning.py` has the same on CIFAR-10, where they do not catch up).
#
# ## A rate for each group of layers
#
# Early layers see edges, which every task needs; late ones see the task. So the layers are parted
# into groups, and the first group's rate is the head's divided by a *spread*, those between evenly
# by their logarithms.
#
# ### Exercise 1
# Write the rates of the groups, the first group's first.


# %%
def group_rates(head_rate, spread, groups):
    """List of `groups` floats."""
    return ...


checks.check_group_rates(group_rates)

# %%
print(LayerGroups(spread=100).rates(3))
for number, group in enumerate(LayerGroups().of(network())):
    print(number, [layer.name for layer in group])

# %% [markdown]
# ### Exercise 2
# ULMFiT unfreezes *gradually*: the head alone for `head_epochs`, then one group more in each epoch,
# until all are trained. How many groups are trained in an epoch (counted from 0)?


# %%
def trained_groups(epoch, head_epochs, groups):
    return ...


checks.check_trained_groups(trained_groups)

# %% [markdown]
# ## What became of the old task?
#
# The old head on the tuned features: what do they still say about 0 to 4?

# %%
both = network(weights)
both.set_weights(weights)
before = 100 * both.evaluate(old_test, verbose=0, return_dict=True)["accuracy"]
keras_dawn.fine_tune(both, training, epochs=1 if classroom.SHORT else 10, verbose=0, shuffle=False)
both.set_weights([*both.get_weights()[:-2], *weights[-2:]])
after = 100 * both.evaluate(old_test, verbose=0, return_dict=True)["accuracy"]
print(f"0 to 4: {before:.1f} % before, {after:.1f} % after ten epochs of 5 to 9")

# %% [markdown]
# Nothing in the new images asks for the old answers. A network that is to know both tasks has to
# see both.
#
# ## The clock so far
# All ten digits, from new weights, as in lesson 4.

# %%
everything, test_of_all = classroom.pixels(images)
run = classroom.train("one cycle", classroom.network(), everything, test_of_all, 4, OneCycle(0.3))
classroom.restate(images, run)

# %% [markdown]
# ## Questions
# 1. Batch normalisation before the head keeps the old images' statistics, or learns the new ones'
#    (`LayerGroups(batch_norm=…)`). Ten images a batch: which would you choose, and why?
# 2. `EPOCHS = 20`, or 400 images of each new class: what do the three curves look like? Try it.
# 3. A photo network pretrained on ImageNet is to tell X-ray images apart. Which groups would you
#    give which rates?
#
# ## Further reading
# - Yosinski et al. (2014): *How transferable are features in deep neural networks?*,
#   arXiv:1411.1792
# - Howard and Ruder (2018): *Universal language model fine-tuning for text classification*,
#   arXiv:1801.06146
