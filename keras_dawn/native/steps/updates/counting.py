"""How many steps an optimizer has taken."""

from keras_dawn.foundation import keras_optimizers, keras_variables


class CountedSteps:
    """The number in an optimizer's own counter, which the host knows while nobody else counts.

    The counter is on the device. torch counts the times that a tensor was written to, so that an
    assignment of somebody else's is noticed without a look at the number.
    """

    def __init__(self, optimizer):
        self._optimizer = optimizer
        self._counter = None
        self._seen = self._number = 0

    def on_device(self):
        """The counter, a 0-d tensor."""
        return keras_variables.memory_of(keras_optimizers.iterations(self._optimizer))

    def taken(self):
        """The number, an int; the device is waited for only if it is not known."""
        counter = self.on_device()
        if counter is not self._counter or counter._version != self._seen:
            self._counter, self._seen = counter, counter._version
            self._number = int(counter)
        return self._number

    def counted(self, found_inf):
        """Takes note that the counter has counted one more, if the device has not skipped it."""
        if self._counter is None:
            return
        if found_inf is not None or self._counter._version != self._seen + 1:
            self._counter = None
        else:
            self._seen += 1
            self._number += 1
