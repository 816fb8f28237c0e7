"""Whether a list of transforms can work, and what it lacks."""

import inspect

from keras_dawn.data.foreign import check_cropped_once, is_torchvisions
from keras_dawn.data.labels import OneHot
from keras_dawn.data.transforms import BatchTransform, Normalize

import keras
import torch


def check_list(value):
    """Raises `ValueError` unless it is a list of what may be a transform."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            "`transforms` must be a list such as [PadCrop(4), RandomFlip()], or a dict from epochs "
            f"to lists, got {value!r}."
        )
    for transform in value:
        if isinstance(transform, type) or not (callable(transform) or _is_crop(transform)):
            raise ValueError(f"A transform must be callable, got {transform!r}.")
        if isinstance(transform, (torch.nn.Sequential, keras.layers.Layer)):
            raise ValueError(
                f"{type(transform).__name__} is no transform, which is called with the images of a "
                "batch and their random numbers (`keras_dawn.data.Transform`). Write the parts of "
                "a Sequential into the list; Keras's layers go into the model."
            )
        if not is_torchvisions(transform) and not _is_crop(transform):
            _check_arguments(transform)


def _check_arguments(transform):
    """Raises for one that cannot be called with what a list calls it with."""
    of_batch = isinstance(transform, BatchTransform)
    given = ("images", "labels", "entropy") if of_batch else ("images", "random")
    called = transform.forward if isinstance(transform, torch.nn.Module) else transform
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # of a function of C
        return
    try:
        signature.bind(*given)
    except TypeError:
        name = getattr(transform, "__name__", None) or type(transform).__name__
        raise ValueError(
            f"A transform is called with ({', '.join(given)}), and {name} takes {signature}. "
            "`images` are those of a batch, (batch, height, width, channels), `random` draws a "
            "number for each (random.uniform(0, 1)). What takes one image, (channels, height, "
            "width), goes into the list as keras_dawn.data.PerImage(function)."
        ) from None


def _is_crop(transform):
    return hasattr(transform, "box")


def split_crop(transforms, default):
    """The crop that decides what is decoded, and the rest.

    Raises:
        ValueError: a crop that is not first, or one for arrays, which have no `default`.
    """
    places = [place for place, transform in enumerate(transforms) if _is_crop(transform)]
    if not places:
        if default is not None:
            check_cropped_once(transforms)
        return default, transforms
    name = type(transforms[places[0]]).__name__
    if default is None:
        raise ValueError(
            f"{name} decides what is decoded of a photo: arrays take PadCrop, or Resize."
        )
    if places != [0]:
        raise ValueError(
            f"{name} decides what is decoded of a photo: it must come first, and only one of them."
        )
    return transforms[0], transforms[1:]


def completed(transforms, normalize):
    """The list with `normalize` where it has none: last, but before what mixes images.

    Raises:
        ValueError: several, or none where images become of one channel.
    """
    given = [isinstance(transform, Normalize) for transform in transforms]
    if sum(given) > 1:
        raise ValueError(f"`transforms` has {sum(given)} Normalize; expected one, or none.")
    if any(given):
        return transforms
    mixing = [isinstance(t, BatchTransform) and t.mixes_images for t in transforms]
    place = mixing.index(True) if any(mixing) else len(transforms)
    if len(normalize.mean) > 1 and any(getattr(t, "one_channel", False) for t in transforms):
        raise ValueError(
            "Images of one channel need a Normalize of their own, such as Normalize(0.45, 0.23)."
        )
    return [*transforms[:place], normalize, *transforms[place:]]


def check_order(transforms, several_labels):
    """Raises `ValueError` for a transform that stands where it cannot work."""
    normalised, probabilities = False, several_labels
    for transform in transforms:
        if normalised and getattr(transform, "before_normalize", False):
            raise ValueError(
                f"{type(transform).__name__} works on colours in [0, 1]: put it before Normalize, "
                "and before what mixes images."
            )
        if getattr(transform, "needs_probabilities", False) and not probabilities:
            raise ValueError(
                f"{type(transform).__name__} mixes labels too: put OneHot(classes) before it."
            )
        if probabilities and isinstance(transform, OneHot):
            raise ValueError("OneHot takes class numbers; these labels have a column a class.")
        normalised = normalised or isinstance(transform, Normalize)
        probabilities = probabilities or isinstance(transform, OneHot)
