"""What runs between two steps of an accelerated model finds, and may change, what it would."""

import types

import keras_dawn
from keras_dawn.native.engine import engine_of

import keras
import pytest
import torch

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


def of_a_generator(model, change):
    def batches():
        for number in range(99):
            change(model, number)
            yield X[:5], Y[:5]

    history = model.fit(batches(), steps_per_epoch=3, epochs=2, shuffle=False, verbose=0).history
    return history["loss"], model.predict(batches(), steps=4, verbose=0)


def of_a_dataset(model, change):
    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, number):
            change(model, number)
            return X[:5], Y[:5]

    data = Data()
    return losses_on(model, data), model.evaluate(data, verbose=0), model.predict(data, verbose=0)


def of_a_loader(model, change):
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, number):
            change(model, number // 5)
            return X[number], Y[number]

    data = torch.utils.data.DataLoader(Data(), batch_size=5)
    return losses_on(model, data), model.evaluate(data, verbose=0), model.predict(data, verbose=0)


def of_a_loss(model, change):
    numbers = iter(range(99))

    def loss(y, outputs):
        change(model, next(numbers))
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    model.compile("sgd", loss)
    return losses(model)


def of_a_metric(model, change):
    numbers = iter(range(99))

    def metric(y, outputs):
        change(model, next(numbers))
        return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)

    model.compile("sgd", "mse", metrics=[metric])
    return losses(model), model.evaluate(X, Y, batch_size=5, verbose=0)


def losses_on(model, data):
    return model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]


@pytest.mark.parametrize("use", [of_a_generator, of_a_dataset, of_a_loader, of_a_loss, of_a_metric])
def test_a_setting_that_python_between_two_steps_changes(use, true_float64):
    def change(model, number):
        model.get_layer("relu").negative_slope = 0.1 * (number % 3)

    follows(lambda model: use(model, change))


def doubled(model, data):
    return keras.Model.train_step(model, (data[0], 2 * data[1]))


def of_distances(x=None, y=None, y_pred=None, sample_weight=None, training=True):
    return 3 * keras.ops.mean(keras.ops.abs(y - y_pred))


def with_a_number(model, x, y, y_pred, sample_weight=None):
    return keras.Model.compute_metrics(model, x, y, y_pred, sample_weight) | {"number": 3.0}


@pytest.mark.parametrize(
    "name, method, on_class",
    [
        ("train_step", lambda model: types.MethodType(doubled, model), False),
        ("train_step", lambda model: doubled, True),
        ("compute_loss", lambda model: of_distances, False),
        (
            "compute_loss",
            lambda model: lambda _, *args, **kwargs: of_distances(*args, **kwargs),
            True,
        ),
        ("compute_metrics", lambda model: with_a_number, True),
    ],
)
@pytest.mark.parametrize("within", [True, False])
def test_a_method_replaced_and_put_back(name, method, on_class, within, true_float64):
    class Own(keras.Sequential):
        pass

    def make():
        model = Own([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    def use(model):
        owner = Own if on_class else model

        def change(_, number):
            if number == 1:
                setattr(owner, name, method(model))
            elif name in vars(owner):
                delattr(owner, name)

        if within:
            return losses(model, callbacks=[at("on_epoch_begin", change)])
        found = []
        for number in range(3):
            change(model, number)
            found.append(model.fit(X, Y, **FIT).history)
        return found

    follows(use, make)


@pytest.mark.parametrize("by_graph", [True, False])
def test_a_model_that_says_by_itself_what_is_trained(by_graph, true_float64):
    class Phases(keras.Model):
        phase = 0

        @property
        def trainable_weights(self):
            return super().trainable_weights[2 * (self.phase % 2) :]

    class Called(Phases):
        def call(self, inputs):
            return super().call(inputs)

    def make():
        inputs = keras.Input((4,))
        outputs = keras.layers.Dense(3)(keras.layers.Dense(4, activation="tanh")(inputs))
        model = (Phases if by_graph else Called)(inputs, outputs)
        model.compile("sgd", "mse")
        return model

    def use(model):
        found = []
        for model.phase in range(3):
            found.append(losses(model))
        return found, losses(model, callbacks=[at("on_epoch_begin", begin)])

    def begin(model, number):
        model.phase = number

    follows(use, make)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("called", [True, False])
def test_functions_made_before_the_first_batch(built, called, true_float64):
    def make():
        inputs = [keras.Input((4,))] if built else []
        model = keras.Sequential([*inputs, keras.layers.Dense(4), keras.layers.Dense(3)])
        model.compile("adam", "mse", metrics=["mae"])
        return model

    def use(model):
        found = []
        model.make_train_function()
        model.make_test_function()
        if called:
            batch = torch.from_numpy(X[:5]), torch.from_numpy(Y[:5])
            model.train_function([batch])
            model.test_function([batch])
            found.append(model.get_metrics_result())
        return [*found, model.fit(X, Y, **FIT).history, model.evaluate(X, Y, verbose=0)]

    follows(use, make)


def test_steps_made_before_the_first_batch_are_those_of_the_fit():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model).make_train_function()
    steps, seen = engine_of(model).steps, []
    step = steps.train_step
    steps.train_step = lambda batches: seen.append(len(batches[0][0])) or step(batches)
    model.fit(X, Y, **FIT)
    assert engine_of(model).steps is steps and sum(seen) == len(X) * FIT["epochs"]
    assert steps.loss.reason is None  # read when it was built


def test_a_function_put_in_the_place_of_the_train_function(true_float64):
    def use(model):
        found = [losses(model)]
        seen, own = [], model.train_function

        def function(batches):
            seen.append(float(batches[0][1].sum()))
            return own(batches)

        model.train_function = function
        found += [losses(model), list(seen)]
        model.compile("sgd", "mse")  # which takes it away
        return [*found, losses(model), seen]

    follows(use)
