"""What a trained network confuses and is most wrong about: drawn, and written, at a run's end."""

from keras_dawn import plots
from keras_dawn.distributed import current
from keras_dawn.evaluation.answers import collect_answers

import numpy as np

from recipe_parts import reporting

WORST, PAIRS = 16, 10  # images, and pairs of classes
_READABLE = 100  # classes of a picture of confusions


def of_arrays(model, images, data, folder):
    """The answers to an `ImageSet`'s test images, as a dict for `run.json`.

    Args:
        model: trained `keras.Model`.
        images: `ImageSet`.
        data: its test images as data for `evaluate`.
        folder: `RunFolder` for the pictures.
    """
    if not current().is_main:
        return None
    answers = collect_answers(model, data, keep_images=False)
    worst = answers.worst(WORST)
    names = [f"test image {place}" for place in worst]
    pixels = images.test_images[worst]
    return _written(answers, worst, names, pixels, images.class_names, folder)


def of_photos(model, photos, phase, folder):
    """The answers to the validation photos, likewise; those that cannot be read have none.

    Args:
        model: trained `keras.Model`.
        photos: `Photos`.
        phase: `Phase` that they are evaluated as.
        folder: `RunFolder` for the pictures.
    """
    if not current().is_main:
        return None
    data = photos.validation_in_order(phase)
    answers = collect_answers(model, data, keep_images=False)
    worst = answers.worst(WORST)
    # By their places in the source: a photo that cannot be read has no answer.
    names = [answers.names[place] for place in worst]
    shown = photos.validation_in_order(phase, data.source.subset(np.array(data.places)[worst]))
    pixels = np.concatenate([images.cpu().numpy() for images, _ in shown])
    mean, std = shown.transforms.mean_and_std
    pixels = np.clip(pixels * np.asarray(std) + np.asarray(mean), 0, 1)
    return _written(answers, worst, names, pixels, photos.class_names, folder)


def _written(answers, worst, names, pixels, classes, folder):
    try:
        if len(classes) <= _READABLE:
            plots.plot_confusion(answers, classes, folder.path / "confusion.png")
        chosen = type(answers)(answers.probabilities[worst], answers.labels[worst], pixels)
        path = folder.path / "worst_photos.png"
        plots.plot_worst_losses(chosen, classes, WORST, path=path)
    except (ImportError, OSError) as error:
        reporting.console.print(f"No pictures of what is confused: {error}")
    predicted, labels, losses = answers.predicted, answers.labels, answers.losses
    return {
        "images": len(labels),
        "most_confused": [
            {"true": classes[true], "predicted": classes[other], "count": count}
            for true, other, count in answers.most_confused()[:PAIRS]
        ],
        "worst": [
            {
                "name": name,
                "true": classes[labels[place]],
                "predicted": classes[predicted[place]],
                "loss": round(float(losses[place]), 4),
            }
            for name, place in zip(names, worst, strict=True)
        ],
    }
