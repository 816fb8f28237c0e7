"""What stands for a process of its own in tests: how it begins, and a callback that hurts it."""

from keras_dawn.resume import one_training, plain_attributes

import keras


def as_another_process(seed):
    """Begins as a process does: with a seed, and without a memory of earlier trainings."""
    one_training._LAST.clear()
    plain_attributes._BEGAN.clear()
    keras.utils.set_random_seed(seed)


class ThisProcess(keras.callbacks.Callback):
    """What it counts is of this process alone, and so in no checkpoint."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
