"""What runs between two steps of an accelerated model finds, and may change, what it would."""

import keras
import pytest

from tests.native.test_followed import FIT, X, Y, at, follows, head, losses


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_train_batch_begin"])
def test_callbacks_in_a_callback_list_of_the_users(event, true_float64):
    def change(model, number):
        model.get_layer("norm").momentum = 0.2 * number

    def use(model):
        callbacks = keras.callbacks.CallbackList(
            [at(event, change)], add_history=True, model=model, epochs=3, steps=4
        )
        return [losses(model, callbacks=callbacks) for _ in range(2)]

    follows(use)


@pytest.mark.parametrize("method", ["evaluate", "predict", "fit"])
def test_gradients_are_there_after_another_method_was_called_in_a_callback(method, true_float64):
    def use(model):
        found = []

        def look(model, number):
            if number == 2 and len(found) < 4:
                if method == "fit":
                    model.fit(X[:4], Y[:4], verbose=0)
                elif method == "evaluate":
                    model.evaluate(X, Y, verbose=0)
                else:
                    model.predict(X, verbose=0)
            else:
                found.append(head(model).kernel.value.grad.cpu().numpy().copy())

        model.fit(X, Y, **FIT, callbacks=[at("on_train_batch_end", look)])
        return found

    follows(use)
