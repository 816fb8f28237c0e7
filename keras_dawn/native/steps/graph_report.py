"""What a lowered graph says of itself, for `explain`."""

from keras_dawn.native.convolution_ways import convolution_ways


def native(lowered, layers):
    """The layers that compute natively.

    Args:
        lowered: `Lowered`.
        layers: `NativeLayers` inside those that are called as they are, or `None`.
    """
    return [*lowered.native, *([] if layers is None else layers.native())]


def fallbacks(lowered, layers):
    """`(layer, reason)` of those that are called as they are; arguments as of `native`."""
    inside = [] if layers is None else layers.native()
    known_native = {id(layer) for layer in inside}  # lowered when they are called
    # What was found when they were called says more than what was not known before.
    known = {} if layers is None else layers.reasons()
    return [
        (layer, known.get(id(layer), reason))
        for layer, reason in lowered.fallbacks
        if id(layer) not in known_native
    ]


def convolutions(lowered, shapes, dtypes, device):
    """Which way each convolution went with inputs of these shapes and dtypes, as a dict.

    It is empty before the first batch (`shapes` is `None`) and off the CPU. Nothing of the user's
    is run, and no generator counts, to find it out.
    """
    if shapes is None or device.type != "cpu":
        return {}
    return convolution_ways(lowered.module, None if lowered.changes_state else shapes, dtypes)
