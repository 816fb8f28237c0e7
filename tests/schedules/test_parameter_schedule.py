from keras_dawn import SGD, OneCycle, ParameterSchedule, schedules
from keras_dawn.foundation.hyperparameters import read
from keras_dawn.schedules import linear

import keras
import numpy as np
import pytest


class Spy(keras.callbacks.Callback):
    """Notes hyper-parameters as the step will see them. Comes after the schedule."""

    def __init__(self, *names):
        super().__init__()
        self.names = names
        self.seen = {name: [] for name in names}

    def on_train_batch_begin(self, batch, logs=None):
        for name in self.names:
            self.seen[name].append(read(self.model.optimizer, name))


def test_every_batch_gets_the_value_of_its_progress(dense_model, points):
    model = dense_model(SGD(0.1, momentum=0.9))
    schedule = ParameterSchedule(
        {
            "learning_rate": schedules.linear(1.0, 0.0),
            "momentum": schedules.linear(0.5, 0.9),
            "weight_decay": lambda progress: progress / 10,
        }
    )
    spy = Spy("learning_rate", "momentum", "weight_decay")
    model.fit(*points, epochs=3, batch_size=10, callbacks=[schedule, spy], verbose=0)
    planned = schedule.values(epochs=3, steps_per_epoch=4)
    for name, seen in spy.seen.items():
        assert seen == pytest.approx(planned[name], abs=1e-7)
    assert len(spy.seen["learning_rate"]) == 12


def test_values_go_into_the_history_and_are_restored(dense_model, points):
    model = dense_model(keras.optimizers.SGD(0.25, momentum=0.75))
    schedule = ParameterSchedule(
        {"learning_rate": schedules.constant(0.5), "momentum": schedules.constant(0.5)}
    )
    history = model.fit(*points, epochs=2, callbacks=[schedule], verbose=0).history
    assert history["learning_rate"] == [0.5, 0.5]
    assert history["momentum"] == [0.5, 0.5]
    assert float(model.optimizer.learning_rate) == 0.25
    assert model.optimizer.momentum == 0.75


def test_initial_epoch_enters_the_curve_where_an_unbroken_run_would_be(dense_model, points):
    model = dense_model(SGD(0.1))
    schedule, spy = (
        ParameterSchedule({"learning_rate": schedules.linear(1, 0)}),
        Spy("learning_rate"),
    )
    model.fit(
        *points, initial_epoch=2, epochs=4, batch_size=20, callbacks=[schedule, spy], verbose=0
    )
    assert spy.seen["learning_rate"] == pytest.approx([0.5, 0.375, 0.25, 0.125])


def test_length_may_change_between_fits(dense_model, points):
    model = dense_model(SGD(0.1))
    schedule = ParameterSchedule({"learning_rate": schedules.linear(1, 0)})
    for count, batches in ((40, 4), (20, 2)):
        spy = Spy("learning_rate")
        x, y = points[0][:count], points[1][:count]
        model.fit(x, y, batch_size=10, callbacks=[schedule, spy], verbose=0)
        assert spy.seen["learning_rate"] == pytest.approx([1 - i / batches for i in range(batches)])


def test_interrupted_training_is_restored_by_the_next(dense_model, points):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    model = dense_model(keras.optimizers.SGD(0.25))
    schedule = ParameterSchedule({"learning_rate": schedules.constant(0.5)})
    with pytest.raises(KeyboardInterrupt):
        model.fit(*points, callbacks=[schedule, Interrupt()], verbose=0)
    model.fit(*points, callbacks=[schedule], verbose=0)
    assert float(model.optimizer.learning_rate) == 0.25


def test_beta_1_is_adams_momentum_also_under_loss_scaling(dense_model, points):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1))
    model = dense_model(optimizer)
    schedule, spy = ParameterSchedule({"momentum": schedules.constant(0.5)}), Spy("momentum")
    model.fit(*points, callbacks=[schedule, spy], verbose=0)
    assert set(spy.seen["momentum"]) == {0.5}
    assert optimizer.inner_optimizer.beta_1 == 0.9  # restored


@pytest.mark.parametrize(
    ("optimizer", "curves", "message"),
    [
        (lambda: keras.optimizers.SGD(0.1), {"momentum": 0.9}, "momentum=0"),
        (lambda: keras.optimizers.Adam(0.1), {"beta_7": 0.9}, "It has: .*beta_1.*learning_rate"),
        (
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)),
            {"learning_rate": 0.1},
            "schedule object",
        ),
        (keras.optimizers.ScheduleFreeAdamW, {"momentum": 0.9}, "no hyper-parameter 'momentum'"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_before_training(
    dense_model, points, optimizer, curves, message
):
    model = dense_model(optimizer())
    before = [np.array(w) for w in model.get_weights()]
    schedule = ParameterSchedule({name: schedules.constant(v) for name, v in curves.items()})
    with pytest.raises(ValueError, match=message):
        model.fit(*points, callbacks=[schedule], verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "dict"),
        ([("learning_rate", schedules.constant(1))], "dict"),
        ({"learning_rate": 0.1}, "constant"),
        ({"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 10)}, "progress"),
    ],
)
def test_what_is_no_curve_is_refused_at_construction(curves, message):
    with pytest.raises(ValueError, match=message):
        ParameterSchedule(curves)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.1 of it"])
def test_a_curve_without_a_number_is_named_before_it_is_trained_with(value, dense_model, points):
    x, y = points
    model = dense_model(SGD(0.1))
    before = model.get_weights()
    schedule = ParameterSchedule({"learning_rate": lambda progress: value})
    with pytest.raises(ValueError, match="curve of 'learning_rate' must give a finite number"):
        model.fit(x, y, callbacks=[schedule], verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))
    with pytest.raises(ValueError, match="at 0 of the training"):
        schedule.values(1, 2)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_a_rate_below_0_is_named_and_what_rounding_leaves_below_0_is_not(name, dense_model, points):
    model = dense_model(SGD(0.1))
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"curve of '{name}' must give a number from 0 up"):
        model.fit(*points, callbacks=[ParameterSchedule({name: lambda p: -0.01})], verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert ParameterSchedule({name: lambda progress: -1e-17}).values(1, 1)[name] == [0.0]


def test_unknown_number_of_steps_is_refused(dense_model, points):
    def endless():
        while True:
            yield points

    model = dense_model(SGD(0.1))
    schedule = ParameterSchedule({"learning_rate": schedules.constant(0.1)})
    with pytest.raises(ValueError, match="steps_per_epoch"):
        model.fit(endless(), shuffle=False, callbacks=[schedule], verbose=0)
    model.fit(endless(), shuffle=False, steps_per_epoch=2, callbacks=[schedule], verbose=0)


def test_no_epochs_are_refused(dense_model, points):
    schedule = ParameterSchedule({"learning_rate": schedules.constant(0.1)})
    with pytest.raises(ValueError, match="at least one epoch"):
        dense_model(SGD(0.1)).fit(*points, epochs=0, callbacks=[schedule], verbose=0)


def test_a_schedule_goes_over_its_own_epochs_and_leaves_the_others_alone(dense_model, points):
    model = dense_model(SGD(0.3, momentum=0.9))
    schedule = ParameterSchedule({"learning_rate": schedules.linear(1.0, 0.0)}, epochs=range(1, 3))
    spy = Spy("learning_rate")
    history = model.fit(*points, epochs=4, batch_size=20, callbacks=[schedule, spy], verbose=0)
    # By hand: 4 steps from 1 to 0, before them the compiled rate, after them the last one.
    assert spy.seen["learning_rate"] == pytest.approx([0.3, 0.3, 1.0, 0.75, 0.5, 0.25, 0.25, 0.25])
    assert history.history["learning_rate"] == pytest.approx([0.75, 0.25])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.3)
    assert schedule.values(4, 2) == {"learning_rate": [1.0, 0.75, 0.5, 0.25]}
    assert schedule.values(4, 2, initial_epoch=2) == {"learning_rate": [0.5, 0.25]}


def test_parts_in_one_fit_and_in_several_are_the_same_training(dense_model, points):
    parts = [
        ParameterSchedule({"learning_rate": schedules.linear(0.1, 1.0)}, epochs=range(2)),
        OneCycle(0.7, epochs=range(2, 5)),
    ]
    one, several = Spy("learning_rate"), Spy("learning_rate")
    settings = {"batch_size": 10, "verbose": 0}
    dense_model(SGD(0.3, momentum=0.9)).fit(*points, epochs=5, callbacks=[*parts, one], **settings)
    model = dense_model(SGD(0.3, momentum=0.9))
    for first, last, part in ((0, 2, parts[0]), (2, 5, parts[1])):
        model.fit(*points, initial_epoch=first, epochs=last, callbacks=[part, several], **settings)
    assert one.seen == several.seen
    cycle = OneCycle(0.7).values(3, 4)["learning_rate"]  # a whole cycle in three epochs
    assert one.seen["learning_rate"][8:] == pytest.approx(cycle)


@pytest.mark.parametrize("epochs", [(2, 5), range(3, 3), range(0, 6, 2), range(-1, 4), 5])
def test_epochs_that_are_no_range_are_refused(epochs):
    with pytest.raises(ValueError, match="range of epochs that count from 0"):
        ParameterSchedule({"learning_rate": schedules.constant(0.1)}, epochs=epochs)


def adam():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


RATE = {"learning_rate": linear(1.0, 0.0)}


@pytest.mark.parametrize(
    "callbacks, words",
    [
        ([ParameterSchedule({"momentum": linear(0.5, 0.9), "beta_1": linear(0.2, 0.3)})],
         "two curves for beta_1, which 'beta_1' names too for Adam"),
        ([OneCycle(0.5), ParameterSchedule(RATE)], "would both set learning_rate"),
        ([OneCycle(0.5), OneCycle(0.1)], "would both set"),
        ([ParameterSchedule(RATE, epochs=range(2)), ParameterSchedule(RATE, epochs=range(1, 3))],
         "do not overlap"),
    ],
)  # fmt: skip
def test_two_curves_for_one_hyperparameter_are_refused(callbacks, words):
    model, x = adam(), np.ones((16, 4), "float32")
    with pytest.raises(ValueError, match=words):
        model.fit(x, x[:, :1], 8, epochs=3, verbose=0, callbacks=callbacks)
    model.fit(x, x[:, :1], 8, epochs=3, verbose=0, callbacks=[OneCycle(0.5)])  # nothing is left
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_curves_one_after_the_other_are_not():
    model, x = adam(), np.ones((16, 4), "float32")
    parts = [ParameterSchedule(RATE, epochs=range(n, n + 1)) for n in range(2)]
    beta = ParameterSchedule({"beta_1": linear(0.9, 0.8)})
    logs = model.fit(x, x[:, :1], 8, epochs=2, verbose=0, callbacks=[*parts, beta]).history
    assert logs["learning_rate"] == [0.5, 0.5]


@pytest.mark.parametrize("curve", [lambda epoch, rate: rate, lambda: 0.1])
def test_a_function_of_other_than_one_argument_is_refused(curve):
    with pytest.raises(ValueError, match="must take one argument.*LearningRateScheduler"):
        ParameterSchedule({"learning_rate": curve})


@pytest.mark.parametrize("epochs", [7, 10, 29, 100])
def test_a_function_of_the_epoch_is_translated_as_the_migration_page_says(epochs):
    def f(epoch):
        assert epoch == int(epoch)
        return 0.1 * 0.9**epoch

    curve = {"learning_rate": lambda progress: f(int(progress * epochs + 1e-6))}
    rates = ParameterSchedule(curve).values(epochs, steps_per_epoch=3)["learning_rate"]
    assert rates == [f(epoch) for epoch in range(epochs) for _ in range(3)]
