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
            return {}
        self._then()
        self._model.train_function = self._function
        return self._function(batches)


def passing_over(model):
    """Whether the batch that has just ended was passed over."""
    return isinstance(model.train_function, PassOver)
