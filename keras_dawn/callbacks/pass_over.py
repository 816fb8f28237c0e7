"""Batches that a resumed training was trained on before it was cut off."""


class PassOver:
    """Stands for a model's train function while such batches go by.

    Args:
        model: `keras.Model` in a `fit`.
        count: int, how many batches to pass over.
        then: callable, called before the first batch that is trained on.
    """

    def __init__(self, model, count, then):
        self._model, self._count, self._then = model, count, then
        self._function = model.train_function

    def __call__(self, batches):
        if self._count:
            self._count -= 1
            # What the last one returns, Keras takes for the epoch's results if none follows.
            return {} if self._count else dict(self._model.get_metrics_result())
        self.finish()
        return self._function(batches)

    def finish(self):
        """Puts the train function back; called by itself if a batch follows those passed over."""
        self._then()
        self._model.train_function = self._function


def passing_over(model):
    """Whether the batch that has just ended was passed over."""
    return isinstance(model.train_function, PassOver)
