"""Whether a run on photos is one on ImageNet, as DAWNBench's board asks for."""

IMAGES, CLASSES, VALIDATED = 1_281_167, 1000, 50_000


def is_imagenet(photos):
    """Whether `Photos` have ImageNet's number of classes and of training photos.

    The board is for all of ImageNet, whatever a folder is called.
    """
    return len(photos.class_names) == CLASSES and len(photos.train("originals")) == IMAGES


def why_none(photos, counted):
    """Why a run on ImageNet's training photos makes no entry: a sentence, or `None` if it does.

    The board's accuracy is of all 50,000 validation photos, or of those that the devkit's list
    leaves: any other number of them would be another, perhaps an easier, examination.

    Args:
        photos: `Photos`, with what all ranks have found wrong with files.
        counted: int, how many validation photos all ranks together have counted at the end, or
            `None` where the run was interrupted before.
    """
    expected = {"train": IMAGES, "val": VALIDATED - len(photos.blacklist)}
    for part, count in expected.items():
        for kind, found in photos.counts(part).items():
            if found != count:
                folder = part if kind == "originals" else f"{part}-{kind}"
                return f"{folder} has {found:,} photos, not {count:,}."
    odd = [name for name in photos.problems() if name.startswith("val/")]
    if odd:
        return f"{len(odd)} validation photos could not be read, such as {odd[0]}."
    if counted is None:
        return "It was interrupted before all validation photos were counted on all ranks."
    if counted != expected["val"]:
        return f"{counted:,} validation photos were counted, not {expected['val']:,}."
    return None
