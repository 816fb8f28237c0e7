"""What `fit` is called with on one of several ranks: its share of the data, its callbacks."""

from keras_dawn.distributed import sharded_arrays
from keras_dawn.distributed.ranks import current

import keras

_WRITERS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.TensorBoard,
    keras.callbacks.RemoteMonitor,
    # Of Keras from 3.14 on.
    getattr(keras.callbacks, "OrbaxCheckpoint", keras.callbacks.CSVLogger),
)


def of_this_rank(arguments):
    """`fit`'s arguments as this rank passes them on, in a dict of its own.

    Args:
        arguments: dict, `callbacks` a flat list.

    Raises:
        ValueError: arguments or callbacks that do not work on several ranks.
    """
    _check(arguments)
    arguments = _with_shards(dict(arguments))
    arguments["callbacks"] = list(arguments.get("callbacks") or [])
    if not current().is_main:
        arguments["verbose"] = 0
        # They would write the same file on every rank.
        others = [each for each in arguments["callbacks"] if not isinstance(each, _WRITERS)]
        arguments["callbacks"] = others
    return arguments


def _check(arguments):
    if arguments.get("class_weight") is not None:
        raise ValueError(
            "class_weight works on several ranks with keras_dawn's data sets; for other data pass "
            "sample_weight."
        )
    for callback in arguments.get("callbacks") or []:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore writes one backup from every rank and does not restore the "
                "order of the data. Use ModelCheckpoint, which saves once."
            )


def _with_shards(arguments):
    x, y = arguments.get("x"), arguments.pop("y", None)
    sample_weight = arguments.pop("sample_weight", None)
    batch_size = arguments.pop("batch_size", None)
    split = arguments.pop("validation_split", 0.0)
    validation = arguments.get("validation_data")
    if split and validation is None:
        (x, y, sample_weight), validation = sharded_arrays.split_for_validation(
            (x, y, sample_weight), split
        )
    if isinstance(validation, (tuple, list)):
        validation = sharded_arrays.shard_arrays(
            *keras.utils.unpack_x_y_sample_weight(tuple(validation)),
            arguments.pop("validation_batch_size", None) or batch_size,
            shuffle=False,
            training=False,
        )
    shuffle = arguments.get("shuffle", True)
    arguments["x"] = sharded_arrays.shard_arrays(
        x, y, sample_weight, batch_size, shuffle, training=True
    )
    arguments["validation_data"] = validation
    arguments["shuffle"] = False  # the shares are shuffled together
    return arguments
