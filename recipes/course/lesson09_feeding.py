# %% [markdown]
# # 9 · Feeding the machine
#
# **You will** find out whether a training waits for its data, overlap the two, decode photos at the
# size that is needed instead of the size they have, and work out how many cores a GPU needs.
#
# *About 40 minutes; any laptop, half a minute of computing.*
#
# **Before you run anything:** a GPU trains on 1,200 images a second, and one core prepares 400. How
# many cores keep it busy? Loading takes 30 ms a batch and the step 20 ms; how long is a batch if
# they take turns, and how long if one loads while the other trains?

# %%
# %matplotlib inline
import io

import keras_dawn  # before Keras: picks Keras's torch backend
from keras_dawn import data
from keras_dawn.data.photos.jpeg import decode_crop
from keras_dawn.data.photos.photo import read_header
from keras_dawn.plots.style import BLUE, GREEN, ORANGE, figure_of

import classroom
import numpy as np
import torch
import torch.nn.functional as F
from checks import feeding as checks
from PIL import Image

# %% [markdown]
# ## Who waits for whom?
#
# A training can be as slow as its data, and nothing says so: the loss falls, only slowly. Three
# ways to feed the same augmented images: one at a time in Python, as most first loaders do; a whole
# batch at once; and a batch at once from pixels that live on the device (`DeviceImages`).

# %%
images = classroom.load_images()
BATCH = 128
mean, std = np.array(images.normalize.mean, "float32"), np.array(images.normalize.std, "float32")


def one_by_one(start):
    batch = []
    for number in range(start, start + BATCH):
        image = np.pad(images.train_images[number], ((4, 4), (4, 4), (0, 0)), mode="reflect")
        row, column = np.random.randint(0, 9, 2)
        image = image[row : row + 32, column : column + 32].astype("float32") / 255
        batch.append((image - mean) / std)
    return torch.from_numpy(np.stack(batch))


def all_at_once(start):
    batch = torch.from_numpy(images.train_images[start : start + BATCH]).permute(0, 3, 1, 2)
    batch = F.pad(batch.float() / 255, (4, 4, 4, 4), "reflect")
    row, column = np.random.randint(0, 9, 2)  # the same crop for all: see the questions
    batch = batch[:, :, row : row + 32, column : column + 32].permute(0, 2, 3, 1)
    return (batch - torch.from_numpy(mean)) / torch.from_numpy(std)


on_device = data.DeviceImages(images.train_images, images.train_labels, BATCH,
                              transforms=[data.PadCrop(4), images.normalize])  # fmt: skip
model = classroom.network()
labels = torch.from_numpy(images.train_labels[:BATCH])
batch = all_at_once(0)
times = {
    "one training step": classroom.seconds_each(lambda: model.train_on_batch(batch, labels)),
    "one image at a time": classroom.seconds_each(lambda: one_by_one(0)),
    "a batch, one crop for all": classroom.seconds_each(lambda: all_at_once(0)),
    "DeviceImages, a crop each": classroom.seconds_each(
        lambda: on_device.batch(torch.arange(BATCH), 0)
    ),
}

# %%
figure, (axis,) = figure_of(1, f"A batch of {BATCH}: a step, and making it")
axis.barh(list(times), [1000 * value for value in times.values()],
          color=[BLUE, ORANGE, GREEN, GREEN])  # fmt: skip
axis.invert_yaxis()
axis.set_xlabel("milliseconds")
figure

# %%
classroom.state("one at a time over DeviceImages", times["one image at a time"]
                / times["DeviceImages, a crop each"], 5, 4)  # fmt: skip

# %% [markdown]
# On a CPU the step is long, and any loader will do. A GPU does this step many times faster, and
# then the first loader is all there is to see.
#
# ## Overlap
#
# A loader in threads of its own makes the next batch while this one is trained on.
#
# ### Exercise 1
# Give the seconds that `batches` batches take, when loading one takes `load` seconds and a step
# takes `step`: taking turns, and overlapped (the first batch has to be waited for; after that the
# slower of the two sets the pace; the last step follows its batch).


# %%
def seconds_in_turn(batches, load, step):
    return ...


def seconds_overlapped(batches, load, step):
    return ...


checks.check_seconds_in_turn(seconds_in_turn)
checks.check_seconds_overlapped(seconds_overlapped)

# %% [markdown]
# ### Exercise 2
# How many whole cores keep a GPU busy?


# %%
def cores_needed(gpu_images_per_second, core_images_per_second):
    return ...


checks.check_cores_needed(cores_needed)

# %% [markdown]
# ## Decode at the size you need
#
# Photos are the other case: an ImageNet JPEG of 500 × 375 pixels takes about a millisecond of a
# core to decode. JPEG stores blocks of 8 × 8 pixels as frequencies; a decoder can leave the high
# ones out and make blocks of 4 × 4, 2 × 2 or 1 × 1: a half, a quarter or an eighth of the size, for
# much less work.
#
# ### Exercise 3
# By how much may the decoder shrink (1, 2, 4 or 8) so that a crop of `crop` pixels still has at
# least `wanted` pixels?


# %%
def shrink(crop, wanted):
    return ...


checks.check_shrink(shrink)

# %%
random = np.random.default_rng(0)
photos = []
for number in range(4 if classroom.SHORT else 24):  # "photos": images enlarged, with some grain
    picture = Image.fromarray(images.train_images[number]).resize((1000, 750), Image.BICUBIC)
    grain = random.normal(0, 6, (750, 1000, 3))
    pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    photos.append(file.getvalue())


def whole_then_resize(size):
    for photo in photos:
        picture = Image.open(io.BytesIO(photo)).convert("RGB")
        picture.crop((125, 0, 875, 750)).resize((size, size), Image.BILINEAR)


def at_size(size):
    for photo in photos:
        decode_crop(read_header(photo), (125, 0, 750, 750), (size, size))


sizes = (64, 128, 224)
whole = [classroom.seconds_each(lambda s=s: whole_then_resize(s)) / len(photos) for s in sizes]
scaled = [classroom.seconds_each(lambda s=s: at_size(s)) / len(photos) for s in sizes]

# %%
figure, (axis,) = figure_of(1, "A crop of 750 pixels from a JPEG of 1000 × 750, on one core")
places = np.arange(len(sizes))
axis.bar(places - 0.2, 1000 * np.array(whole), 0.4, color=ORANGE, label="decode all, then resize")
axis.bar(places + 0.2, 1000 * np.array(scaled), 0.4, color=GREEN, label="decode at the size")
axis.set_xticks(places, [f"to {size} px" for size in sizes])
axis.set_ylabel("milliseconds a photo")
axis.legend(frameon=False)
figure

# %%
classroom.state("whole decode over decode at size, to 128 px", whole[1] / scaled[1], 5.2, 2.5)

# %% [markdown]
# What is left is undoing the Huffman code, which every pixel needs whatever its size. Smaller
# copies of the photos, made once, save that too: fast.ai trained its first 18 epochs from copies of
# 160 pixels (`python -m keras_dawn.data.photos.prepare`).
#
# ## The clock so far
# The lesson's training is fed from the device, and so it does not wait:

# %%
training, test = classroom.pixels(images)
run = classroom.train("fed from the device", classroom.network(), training, test, 4,
                      keras_dawn.OneCycle(0.3))  # fmt: skip
classroom.restate(images, run)
fed = len(training) * times["DeviceImages, a crop each"] / 2  # batches of 64
print(f"making the batches: about {100 * fed * len(run.epochs) / run.epochs[-1].training_seconds:.1f} % "
      "of the training")  # fmt: skip

# %% [markdown]
# ## Questions
# 1. `all_at_once` gives all images of a batch the same crop. What does that do to the gradient's
#    noise? (Keras's `RandomCrop` layer does the same.)
# 2. A training in an eight-GPU machine with 64 cores is fed 10,000 images a second. Which of the
#    measures of this lesson would you take first for twice as much?
# 3. A loader with two workers returns its batches out of order, or in order. Which do you want if a
#    run must be repeatable, and what does it cost?
#
# ## Further reading
# - Mohan et al. (2021): *Analyzing and mitigating data stalls in DNN training*, arXiv:2007.06775
# - Leclerc et al. (2023): *FFCV: accelerating training by removing data bottlenecks*,
#   arXiv:2306.12517
# - Wallace (1991): *The JPEG still picture compression standard*
