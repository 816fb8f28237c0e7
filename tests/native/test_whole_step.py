"""A training step as one CUDA graph, on an emulator: the same numbers, bit for bit, as without."""

import functools

import keras_dawn
from keras_dawn import OneCycle, ParameterSchedule, callbacks, data, optimizers, schedules
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.native.cuda_emulator import cuda_graphs_on_a_cpu
from tests.native.graphed import IMAGES, LABELS, Case, everything, how, images, network
from tests.on_device import on_processor

pytestmark = on_processor  # a GPU has its own: test_whole_step_on_gpu.py

adam, adamw = keras.optimizers.Adam, keras.optimizers.AdamW
rmsprop = keras.optimizers.RMSprop


def one_cycle(model):
    return [OneCycle(0.05)]


def scheduled(**curves):
    return lambda model: [ParameterSchedule(curves)]


def compared(case, graphs=1, replays=1):
    """Both trainings give the same; at least as many graphs and replays were used."""
    with cuda_graphs_on_a_cpu() as made:
        eager, history = case.train(graphs=False)
        assert made.made == 0
        graphed, again = case.train(graphs=True)
        assert made.made >= graphs and made.replayed >= replays, how(graphed)
        graphed.how = how(graphed)
    for one, other in zip(everything(eager), everything(graphed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert history == again
    return graphed


def assert_as_with_python_numbers(case, graphed):
    """On a processor no hyper-parameter is a tensor: the same, but for the order of rounding."""
    plain, _ = case.train(graphs=False)
    for one, other in zip(plain.trainable_variables, graphed.trainable_variables, strict=True):
        one, other = np.array(one), np.array(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(one).max())


OPTIMIZERS = {
    "SGD": functools.partial(keras_dawn.SGD, 0.05, weight_decay=1e-3),
    "SGD, Nesterov": functools.partial(keras_dawn.SGD, 0.05, nesterov=True, weight_decay=1e-3),
    "SGD, decoupled": functools.partial(keras_dawn.SGD, 0.05, decoupled=True, weight_decay=1e-3),
    "Muon": functools.partial(optimizers.Muon, 0.02, weight_decay=1e-3),
    "LARS": functools.partial(optimizers.LARS, 0.5),
    "Keras SGD": functools.partial(keras.optimizers.SGD, 0.05, momentum=0.9),
    "Keras SGD, Nesterov": functools.partial(
        keras.optimizers.SGD, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-3
    ),
    "Adam": functools.partial(adam, 1e-3),
    "AMSGrad": functools.partial(adam, 1e-3, amsgrad=True),
    "AdamW": functools.partial(adamw, 1e-3, weight_decay=0.01),
    "Lion": functools.partial(keras.optimizers.Lion, 1e-3),
    "Keras Muon": functools.partial(keras.optimizers.Muon, 1e-3),
    "Adamax": functools.partial(keras.optimizers.Adamax, 1e-3),
    "Nadam": functools.partial(keras.optimizers.Nadam, 1e-3),
    "Lamb": functools.partial(keras.optimizers.Lamb, 1e-3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_whose_rate_and_momentum_move(optimizer):
    case = Case(optimizer, callbacks=one_cycle)
    graphed = compared(case, replays=11)
    assert graphed.how == "the whole step"
    assert_as_with_python_numbers(case, graphed)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Lion", "Muon", "Keras Muon"])
def test_half_precision_with_and_without_loss_scaling(name):
    policies = (
        ["mixed_float16"] if name in ("Adam", "Lion") else ["mixed_bfloat16", "mixed_float16"]
    )
    for policy in policies:
        make = functools.partial(network, policy)
        compared(Case(OPTIMIZERS[name], make, callbacks=one_cycle), replays=11)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_constant_hyper_parameters_and_rmsprop(policy):
    make = functools.partial(network, policy)
    compared(Case(functools.partial(rmsprop, 1e-3, momentum=0.9), make), replays=12)
    moving = scheduled(rho=schedules.linear(0.9, 0.95), momentum=schedules.linear(0.8, 0.9))
    case = Case(functools.partial(rmsprop, 1e-3, momentum=0.9), make, callbacks=moving)
    assert_as_with_python_numbers(case, compared(case))


def test_steps_that_loss_scaling_skips_and_scales_that_grow():
    def optimizer():
        inner = keras_dawn.SGD(0.05)
        return keras.optimizers.LossScaleOptimizer(
            inner, initial_scale=2.0**30, dynamic_growth_steps=4
        )

    def grow_faster(model, batch):
        model.optimizer.dynamic_growth_steps = 2 if batch > 4 else 4

    make = functools.partial(network, "mixed_float16")
    graphed = compared(Case(optimizer, make, callbacks=assigning(grow_faster), epochs=6), graphs=2)
    scale = float(graphed.optimizer.dynamic_scale.value)
    steps = int(graphed.optimizer.inner_optimizer.iterations.value)
    assert scale < 2.0**30 and 0 < steps < 54  # it was halved, and steps were skipped


def test_weight_decay_that_is_scheduled_up_from_zero_and_back():
    hill = scheduled(weight_decay=lambda progress: 0.0 if abs(progress - 0.5) > 0.3 else 0.1)
    for kind in (keras_dawn.SGD, optimizers.Muon):
        case = Case(functools.partial(kind, 0.02), callbacks=hill, epochs=4)
        compared(case, graphs=2)


def test_betas_epsilon_and_decay_of_adam_that_move():
    moving = scheduled(
        beta_1=schedules.linear(0.9, 0.8), beta_2=schedules.linear(0.99, 0.999),
        weight_decay=schedules.linear(0.1, 0.0),
    )  # fmt: skip
    case = Case(OPTIMIZERS["AdamW"], callbacks=moving)
    assert_as_with_python_numbers(case, compared(case, replays=11))


def test_sizes_that_change_and_batches_that_are_rare():
    resize = [data.Resize({0: 12, 2: 16})]
    case = Case(
        make=functools.partial(network, size=None),
        source=functools.partial(images, transforms=resize), epochs=5,
    )  # fmt: skip
    compared(case, graphs=2, replays=30)


def test_dropout_draws_anew_at_each_replay():
    compared(Case(make=functools.partial(network, dropout=0.5)), replays=11)


def test_validation_between_and_averages_of_weights():
    def averaged(model):
        return [OneCycle(0.05), callbacks.ExponentialMovingAverage(0.9)]

    compared(Case(callbacks=averaged, validation_data=functools.partial(images, 32)), replays=11)


def test_layers_that_are_looked_at_between_steps_are_those_of_each_step():
    looks = []

    def looking(model):
        looks.append(callbacks.LayerStatistics(IMAGES[:8] / 255, LABELS[:8], every_steps=3))
        return looks[-1:]

    assert compared(Case(callbacks=looking), replays=11).how == "the whole step"
    seen = [[(row["mean"], row["gradient_norm"]) for row in look.rows] for look in looks]
    assert seen[0] == seen[1] and len(set(seen[0])) == len(seen[0]) == 3 * 7


def test_keras_s_average_of_weights_and_accumulated_gradients():
    averaged = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 4}
    for policy, more in (
        ("float32", averaged),
        ("mixed_float16", {"gradient_accumulation_steps": 3}),
        ("float32", {"gradient_accumulation_steps": 2, **averaged}),
    ):
        make = functools.partial(network, policy)
        compared(Case(functools.partial(adam, 1e-3, **more), make), replays=11)


@pytest.mark.parametrize("name", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping(name):
    compared(Case(functools.partial(keras_dawn.SGD, 0.05, **{name: 0.01})), replays=11)


def test_mixed_images_with_soft_labels():
    case = Case(
        source=functools.partial(images, transforms=[data.OneHot(10), data.MixUp(0.2)]),
        loss=functools.partial(keras.losses.CategoricalCrossentropy, from_logits=True),
        metrics=["categorical_accuracy"],
    )  # fmt: skip
    compared(case, replays=11)


def test_freezing_between_epochs_and_between_batches():
    def freezing(model):
        def freeze(step):
            model.get_layer("stem").trainable = step % 3 != 1

        epochs = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: freeze(epoch))
        return [epochs]

    def at_once(model):
        def freeze(batch, logs):
            model.get_layer("stem").trainable = batch > 4 or model.optimizer.iterations.value < 9

        return [keras.callbacks.LambdaCallback(on_train_batch_begin=freeze)]

    compared(Case(callbacks=freezing, epochs=4), graphs=3)
    compared(Case(callbacks=at_once), replays=3)


def test_weights_in_a_structure_and_several_outputs():
    inputs = {"a": np.float32(IMAGES[:64, :4, 0] / 255), "b": np.float32(IMAGES[:64, 0, :4] / 255)}
    targets = {"one": LABELS[:64], "two": np.float32(IMAGES[:64, 0, 0])}
    weights = {"one": np.linspace(0, 1, 64).astype("float32"), "two": np.ones(64, "float32")}

    def make():
        a, b = keras.Input((4, 3), name="a"), keras.Input((4, 3), name="b")
        joined = layers.Flatten()(layers.Concatenate()([a, b]))
        outputs = {"one": layers.Dense(10)(joined), "two": layers.Dense(3)(joined)}
        return keras.Model({"a": a, "b": b}, outputs)

    def loss():
        return {"one": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "two": "mse"}

    class Structured(Case):
        def train(self, graphs):
            self.fit |= {"y": targets, "sample_weight": weights, "batch_size": 8}
            return super().train(graphs)

    compared(Structured(make=make, source=lambda: inputs, loss=loss, metrics=[]), replays=11)


def assigning(assign):
    """A callback of the user's that does something to the model before each batch."""
    return lambda model: [
        keras.callbacks.LambdaCallback(on_train_batch_begin=lambda n, logs: assign(model, n))
    ]  # fmt: skip


@pytest.mark.parametrize("scalar", [lambda v: keras.Variable(v, trainable=False), torch.tensor])
def test_a_hyper_parameter_kept_in_a_tensor_is_read_in_every_step(scalar):
    def writing(model):
        norm = scalar(0.5)
        memory = norm.value if isinstance(norm, keras.Variable) else norm

        def write(batch, logs):
            model.optimizer.clipnorm = norm
            memory.fill_(0.5 if batch % 2 else 0.01)  # which tells nobody

        return [keras.callbacks.LambdaCallback(on_train_batch_begin=write)]

    graphed = compared(Case(callbacks=writing), graphs=0, replays=0)
    assert "clipnorm of the optimizer is kept in a tensor" in graphed.how


def test_what_a_callback_assigns_between_steps_is_seen_by_the_next_replay():
    def optimizer_s(model, batch):
        model.optimizer.learning_rate = 0.01 * (batch + 1)
        model.optimizer.momentum = 0.5 + 0.01 * batch
        model.optimizer.clipnorm = None if batch < 6 else 0.01

    def loss_s(model, batch):
        model.loss.label_smoothing = 0.1 if batch > 5 else 0.0
        model.layers[-1].kernel_regularizer.l2 = 0.01 if batch > 4 else 0.1

    compared(Case(callbacks=assigning(optimizer_s), epochs=4), graphs=2)
    case = Case(
        make=functools.partial(network, regularizer=keras.regularizers.L2(0.1)),
        callbacks=assigning(loss_s), epochs=4,
    )  # fmt: skip
    compared(case, graphs=2)


def test_settings_of_the_loss_are_compared_before_each_replay():
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    def smooth(model, batch):
        loss.label_smoothing = loss._fn_kwargs["label_smoothing"] = 0.3 if batch == 7 else 0.0

    def make(loss=loss):
        return keras.Sequential([keras.Input((4,)), layers.Dense(1)])

    x, y = np.float32(IMAGES[:, :4, 0, 0] / 255), np.float32(LABELS > 4)[:, None]

    class Binary(Case):
        def train(self, graphs):
            self.fit |= {"y": y, "batch_size": 8}
            return super().train(graphs)

    case = Binary(
        make=make, source=lambda: x, loss=lambda: loss, metrics=[], callbacks=assigning(smooth)
    )
    compared(case)


def test_gradients_that_a_callback_looks_at_are_those_of_each_step():
    seen = {}

    def looking(model):
        found = seen.setdefault(len(seen), [])

        def look(batch, logs):
            found.extend(v.value.grad for v in model.trainable_variables)  # they stay what they are

        return [keras.callbacks.LambdaCallback(on_train_batch_end=look)]

    compared(Case(callbacks=looking), replays=11)
    assert len(seen[0]) == len(seen[1]) == 18 * 7
    for one, other in zip(seen[0], seen[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_settings_that_change_in_every_step_are_no_graph_of_the_whole():
    def assign(model, batch):
        model.optimizer.epsilon = 1e-7 * (1 + batch + 9 * int(model.optimizer.iterations.value))

    case = Case(functools.partial(adam, 1e-3), callbacks=assigning(assign), epochs=3)
    graphed = compared(case, graphs=2)
    assert "not the whole step: settings that" in graphed.how


class Cosine(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.01 * torch.cos(step / 100)

    def get_config(self):
        return {}


class Keeps(keras.metrics.SparseCategoricalAccuracy):
    """A metric of the user's, which may keep what it is given."""


class Twice(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return 2 * keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


def test_the_learning_rate_as_an_object():
    keras_s = functools.partial(keras.optimizers.schedules.CosineDecay, 0.05, 20)
    graphed = compared(Case(lambda: adam(keras_s())), replays=11)
    assert graphed.how == "the whole step"
    graphed = compared(Case(lambda: adam(Cosine())), graphs=2)
    assert "a learning rate that is called" in graphed.how


def test_settings_of_a_schedule_that_change():
    cosine = keras.optimizers.schedules.CosineDecay(0.05, 100)

    def shorten(model, batch):
        cosine.decay_steps = 10 if batch == 7 else 100

    compared(Case(lambda: adam(cosine), callbacks=assigning(shorten), epochs=3), replays=11)


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_a_frozen_model_is_no_graph():
    def frozen():
        model = network()
        model.trainable = False
        return model

    assert compared(Case(make=frozen), 0, 0).how == "none: no weight to train"


def test_what_runs_python_is_a_graph_in_part_or_not_at_all():
    graphed = compared(Case(loss=Twice), graphs=2)
    assert graphed.how == "forward and backward pass; not the whole step: the loss: Twice itself"
    graphed = compared(Case(metrics=[Keeps()]), 0, 0)
    assert "none: code of the user's" in graphed.how

    def eager():
        model = network()
        model.compile = functools.partial(model.compile, run_eagerly=True)
        return model

    assert compared(Case(make=eager), 0, 0).how == "none: run_eagerly is set"


def test_a_loss_whose_targets_keras_broadcasts_is_no_part_of_a_graph():
    def make():
        x = keras.Input((4,))
        return keras.Model(x, [layers.Dense(2, name="one")(x), layers.Dense(3, name="two")(x)])

    class TwoTargets(Case):
        def train(self, graphs):
            self.fit |= {"y": [np.ones((70, 2)), np.ones((70, 1))], "batch_size": 8}
            return super().train(graphs)

    x = np.float32(IMAGES[:, :4, 0, 0] / 255)
    case = TwoTargets(
        make=make, source=lambda: x, loss=lambda: ["mse", "mse"], metrics=[], epochs=3
    )
    assert "a batch that Keras has to look at" in compared(case, graphs=2).how


class Remembers(Twice):
    """A loss of the user's that keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, y_true, y_pred):
        if y_pred.device.type != "meta":  # Keras looks at the shapes first
            self.seen.append(y_pred.detach())
        return super().call(y_true, y_pred)


def test_outputs_that_a_loss_keeps_stay_those_of_their_step():
    losses = []

    def loss():
        losses.append(Remembers())
        return losses[-1]

    compared(Case(loss=loss), graphs=2)
    for one, other in zip(losses[0].seen, losses[1].seen, strict=True):
        np.testing.assert_array_equal(one, other)


def test_sample_weights_that_a_mask_is_multiplied_into_as_keras_does():
    class Batches(keras.utils.PyDataset):
        """The same tensors in every epoch: Keras's masked loss writes into the weights."""

        def __init__(self):
            super().__init__()
            images = torch.from_numpy(np.float32(IMAGES[:64, :4, 0] / 255))
            labels = torch.arange(256).view(64, 4) % 4
            weights = torch.full((64, 4), 0.5)
            parts = (part.split(8) for part in (images, labels, weights))
            self.batches = list(zip(*parts, strict=True))

        def __len__(self):
            return len(self.batches)

        def __getitem__(self, number):
            return self.batches[number]

    def make():
        return keras.Sequential([keras.Input((4, 3)), layers.Dense(4)])

    loss = functools.partial(
        keras.losses.SparseCategoricalCrossentropy, from_logits=True, ignore_class=0
    )
    graphed = compared(Case(make=make, source=Batches, loss=loss, metrics=[]), graphs=2)
    assert "sample weights that a mask" in graphed.how


def test_a_first_batch_that_keras_has_to_look_at_is_no_hindrance():
    case = Case(
        source=functools.partial(images, transforms=[data.OneHot(10)]),
        loss=functools.partial(keras.losses.CategoricalCrossentropy, from_logits=True),
        metrics=[keras.metrics.F1Score()],
    )  # fmt: skip
    with cuda_graphs_on_a_cpu() as graphs:
        graphed, _ = case.train(graphs=True)
        assert graphs.made == 1 and graphs.replayed > 10
        assert how(graphed) == "the whole step"


def test_a_failed_capture_leaves_nothing_and_says_why(monkeypatch):
    def reads(self, gradients):
        assert float(gradients[0].sum()) is not None
        return gradients

    monkeypatch.setattr("keras_dawn.native.steps.updates.base.Update.clipped", reads)
    case = Case(functools.partial(adam, 1e-3), callbacks=one_cycle)
    with cuda_graphs_on_a_cpu() as graphs:
        eager, history = case.train(graphs=False)
        with pytest.warns(UserWarning, match="not permitted.*same results"):
            failed, again = case.train(graphs=True)
        assert graphs.made == 2 and "not permitted" in how(failed)  # those of the two passes
    assert history == again
    for one, other in zip(everything(eager), everything(failed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_as_with_python_numbers(case, failed)  # the rate and momentum go on moving


def test_sizes_of_earlier_epochs_make_room_for_later_ones(monkeypatch):
    monkeypatch.setattr("keras_dawn.native.cuda_graph.MOST_GRAPHS", 2)
    monkeypatch.setattr("keras_dawn.native.steps.whole_step.UNUSED_STEPS", 8)
    resize = [data.Resize({0: 12, 1: 14, 2: 10, 3: 16})]
    case = Case(
        make=functools.partial(network, size=None),
        source=functools.partial(images, transforms=resize), epochs=4,
    )  # fmt: skip
    assert compared(case, graphs=4, replays=4 * 4).how == "the whole step"
    monkeypatch.setattr("keras_dawn.native.steps.whole_step.UNUSED_STEPS", 99)
    assert "there are more, which run eagerly" in compared(case, graphs=2, replays=8).how


def test_graphs_go_with_their_fit_and_share_a_pool(monkeypatch):
    pools, handed = [], []

    class OnEnd(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            pools.append(len(engine_of(self.model).steps.graphs.whole._graphs))

    with cuda_graphs_on_a_cpu() as graphs:
        monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: handed.append(1) or (0, 1))
        case = Case(
            source=functools.partial(images, 32), callbacks=lambda model: [OnEnd()], epochs=5
        )
        model, _ = case.train(graphs=True)
        assert pools == [2] and len(handed) == 1  # batches of 32 and of 6
        assert not engine_of(model).steps.graphs.whole._graphs
        model.fit(images(32), shuffle=False, verbose=0)  # known kinds need no more warming up
        assert graphs.made == 4 and len(handed) == 2


def test_a_weight_that_lies_elsewhere_is_the_one_that_is_trained():
    def moving(model):
        def move(epoch, logs):
            for variable in (model.layers[-1].bias, model.optimizer.variables[-1]):
                variable.value.data = variable.value.data.clone()

        return [keras.callbacks.LambdaCallback(on_epoch_begin=move)]

    compared(Case(callbacks=moving, epochs=4), graphs=2)


def test_graphs_of_steps_that_are_made_anew_are_gone_at_once():
    alive = []

    class Freezes(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                alive.append(engine_of(self.model).steps.graphs)
                self.model.layers[0].trainable = False

        def on_train_batch_begin(self, batch, logs=None):
            if len(alive) == 1 and engine_of(self.model).steps.graphs is not alive[0]:
                alive.append(len(alive[0].whole._graphs))

    with cuda_graphs_on_a_cpu() as graphs:
        Case(callbacks=lambda model: [Freezes()]).train(graphs=True)
        assert alive[1:] == [0] and graphs.made == 2
