"""Images as the network sees them."""

import math

from keras_dawn.plots.style import empty_figure, save

import numpy as np


def show_batch(images, labels=None, class_names=None, *, mean=(0.0,), std=(1.0,), path=None):
    """A batch of images in a grid, augmented and cropped as the network gets them.

    Args:
        images: `DeviceImages`, `ResizingImages` or `ValidationImages`: its first batch is shown,
            with the names of its classes and without its normalisation; or a float array or tensor
            `(batch, height, width, channels)`, normalised or not; uint8 is shown as it is.
        labels: class numbers `(batch,)` or `(batch, 1)`, class probabilities `(batch, classes)`, or
            `None`.
        class_names: list of str, or `None` for numbers.
        mean, std: floats per channel on the scale [0, 1], which the images were normalised by.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: a source of photos, which is no batch.

    Example:
        >>> figure = show_batch(np.zeros((4, 8, 8, 3), "uint8"), [0, 1, 2, 3], list("abcd"))
        >>> [axis.get_title() for axis in figure.axes]
        ['a', 'b', 'c', 'd']
    """
    if hasattr(images, "subset") and hasattr(images, "class_names"):
        raise ValueError(
            f"{type(images).__name__} says where photos are; show the batches of "
            "`keras_dawn.data.photos.ResizingImages(source, batch_size, image_size=224)`."
        )
    if hasattr(images, "transforms"):
        source = getattr(images, "source", None)
        class_names = getattr(source, "class_names", None) if class_names is None else class_names
        mean, std = images.transforms.mean_and_std
        data, epoch = images, getattr(images, "epoch", None)
        images, labels, *_ = next(iter(data))
        if getattr(data, "epoch", None) != epoch:  # the first batch was the last one, too
            data.set_epoch(epoch)
    pixels = displayable(images, mean, std)
    titles = [""] * len(pixels)
    if labels is not None:
        labels = labels.cpu() if hasattr(labels, "cpu") else labels
        labels = np.asarray(labels)
        # One column is class numbers, as Keras's CIFAR-10 has them.
        labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
        titles = [label_text(label, class_names) for label in labels]
    return save(grid(pixels, titles), path)


def displayable(images, mean=(0.0,), std=(1.0,)):
    """Images as float32 in [0, 1], or uint8, `(batch, height, width, 1 or 3)`."""
    images = images.cpu().numpy() if hasattr(images, "cpu") else np.asarray(images)
    if images.dtype == np.uint8:
        return images
    return np.clip(images * np.asarray(std, "float32") + np.asarray(mean, "float32"), 0.0, 1.0)


def label_text(label, class_names):
    """A class's name, a line for each of several classes, or for the two likeliest of a mix."""
    names = range(1000000) if class_names is None else class_names
    if np.ndim(label) == 0:
        return str(names[int(label)])
    # Label smoothing gives every class a little, which nobody wants to read.
    parts = [(part, names[n]) for n, part in enumerate(label) if part > 0.01]
    if len(parts) == 1 or all(part == 1 for part, _ in parts):
        return "\n".join(str(name) for _, name in parts)
    return "\n".join(f"{name} {100 * part:.0f} %" for part, name in sorted(parts)[::-1][:2])


def grid(pixels, titles, colours=None, title_size=9):
    """A figure of images with a title above each."""
    columns = min(len(pixels), max(4, math.ceil(math.sqrt(len(pixels)))))
    rows = math.ceil(len(pixels) / columns)
    lines = 1 + max(title.count("\n") for title in titles)
    figure = empty_figure(1.4 * columns, (1.3 + 0.17 * lines) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for number, axis in enumerate(axes):
        if number >= len(pixels):
            axis.remove()
            continue
        image = pixels[number]
        grey = image.shape[-1] == 1
        axis.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None)
        axis.set_title(
            titles[number],
            fontsize=title_size,
            color=colours[number] if colours else "black",
        )
        axis.set_axis_off()
    return figure
