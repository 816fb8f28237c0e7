"""What a trained classifier gets right and wrong."""

from keras_dawn.plots.images import displayable, grid
from keras_dawn.plots.style import GREEN, ORANGE, empty_figure, save

import numpy as np


def plot_confusion(answers, class_names=None, path=None):
    """How often each class was taken for each other one.

    Args:
        answers: `keras_dawn.evaluation.answers.Answers`.
        class_names: list of str; by default the data's, or numbers where it has none.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`. The shade is the fraction of the row's class.
    """
    counts = answers.confusion()
    classes = len(counts)
    class_names = answers.class_names if class_names is None else class_names
    names = [str(n) for n in range(classes)] if class_names is None else class_names
    size = max(4.5, 0.55 * classes)
    figure = empty_figure(size + 0.8, size)
    axis = figure.subplots()
    # A class without images has a row of zeros.
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    # Numbers in more cells than that cannot be read.
    if classes <= 20:
        for row, column in np.ndindex(classes, classes):
            if counts[row, column]:
                colour = "white" if fractions[row, column] > 0.5 else "black"
                text = str(counts[row, column])
                axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(classes), names, rotation=45, ha="right")
    axis.set_yticks(range(classes), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    right = 100 * np.trace(counts) / counts.sum()
    axis.set_title(f"Confusion: {right:.2f} % right", loc="left", fontweight="bold")
    return save(figure, path)


def plot_worst_losses(answers, class_names=None, count=16, *, mean=None, std=None, path=None):
    """The images that the network was most wrong about.

    Args:
        answers: `keras_dawn.evaluation.answers.Answers` that kept its images.
        class_names: list of str; by default the data's, or numbers where it has none.
        count: int, how many.
        mean, std: floats per channel on the scale [0, 1], which the images were normalised by; by
            default the data's.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`; above each image what was predicted, what is true, and the
        loss.

    Raises:
        ValueError: the answers have no images.
    """
    if answers.images is None:
        raise ValueError("The answers have no images: collect them with keep_images=True.")
    worst = answers.worst(count)
    mean, std = answers.mean if mean is None else mean, answers.std if std is None else std
    class_names = answers.class_names if class_names is None else class_names
    names = range(1000000) if class_names is None else class_names
    titles, colours = [], []
    for number in worst:
        predicted, true = answers.predicted[number], answers.labels[number]
        titles.append(f"{names[predicted]}\nis {names[true]}\n{answers.losses[number]:.1f}")
        colours.append(GREEN if predicted == true else ORANGE)
    figure = grid(displayable(answers.images[worst], mean, std), titles, colours, title_size=8)
    figure.suptitle("Predicted, true, loss", x=0.01, ha="left", fontweight="bold")
    return save(figure, path)
