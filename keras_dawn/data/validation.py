"""Whether what is validated on are the images themselves."""

import warnings

from keras_dawn.data.pipeline import Pipeline


def warn_of_random_images(data):
    """Warns where data to validate on shows its images in another way each time.

    Args:
        data: `validation_data`; this package's data sets are looked at, and other data is passed
            over.
    """
    transforms = getattr(data, "transforms", None)
    if not isinstance(transforms, Pipeline) or not (random := transforms.random_ones()):
        return
    names = [repr(each) if type(each).__name__ == "PerImage" else type(each).__name__
             for each in random]  # fmt: skip
    are_photos = any(transforms.crops.values())
    instead = (
        "Give keras_dawn.data.photos.ValidationImages, which takes the middle of every photo, as "
        "`validation_data`."
        if are_photos
        else "Leave them out of the `transforms` of what is validated on."
    )
    warnings.warn(
        f"The images that are validated on are changed at random ({', '.join(names)}), so loss and "
        f"metrics are not those of the images themselves. {instead}",
        stacklevel=2,
    )
