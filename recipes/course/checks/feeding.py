"""Checks of lesson 9."""

from checks.judge import Case, judge


def check_seconds_in_turn(seconds):
    """`seconds(batches, load, step)`: one after the other."""
    return judge(
        seconds,
        [
            Case((1, 0.03, 0.02), 0.05, "One batch is loaded, then trained on."),
            Case((100, 0.03, 0.02), 5.0, "And so is every other one."),
        ],
    )


def check_seconds_overlapped(seconds):
    """`seconds(batches, load, step)`: the next is loaded during the step."""
    return judge(
        seconds,
        [
            Case((1, 0.03, 0.02), 0.05, "With a single batch there is nothing to overlap."),
            Case((100, 0.03, 0.02), 3.02, "Loading sets the pace; the last step follows."),
            Case((100, 0.01, 0.02), 2.01, "And if the step is the slower one?"),
        ],
    )


def check_cores_needed(cores):
    """`cores(gpu_images_per_second, core_images_per_second)`: whole cores."""
    return judge(
        cores,
        [
            Case((1200, 400), 3, "How often does one go into the other?"),
            Case((1300, 400), 4, "There are no quarters of cores."),
            Case((300, 400), 1, "It needs at least one."),
        ],
    )


def check_shrink(shrink):
    """`shrink(crop, wanted)`: 1, 2, 4 or 8."""
    return judge(
        shrink,
        [
            Case((224, 224), 1, "Nothing to spare."),
            Case((500, 224), 2, "Half of the crop is still enough; a quarter is not."),
            Case((512, 128), 4, "Exactly enough is enough."),
            Case((447, 224), 1, "Never fewer pixels than wanted: then they would be made up."),
            Case((4000, 32), 8, "A JPEG decoder ends at an eighth."),
        ],
    )
