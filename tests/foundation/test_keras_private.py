"""What the engine expects of Keras's private attributes. A failure here names what moved."""

import keras_dawn  # noqa: F401
from keras_dawn.foundation import (
    keras_layers,
    keras_losses,
    keras_metrics,
    keras_models,
    keras_optimizers,
)

import keras
import numpy as np
import pytest
from keras import layers


def compiled():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    model.fit(np.ones((4, 4)), np.zeros(4), verbose=0)
    return model, loss


def test_graphs_of_sequential_functional_and_subclassed_models():
    model, _ = compiled()
    functional = keras_models.functional_graph(model)
    assert [n.operation.name for n in keras_models.nodes(functional)] == [model.layers[0].name]
    assert keras_models.functional_graph(functional) is functional
    assert keras_models.output_structure(functional) is functional.outputs[0]

    class Own(keras.Model):
        def call(self, x):
            return x + 1

    own = Own()
    assert keras_models.functional_graph(own) is None


def test_nodes_come_in_an_order_in_which_they_can_run():
    x = keras.Input((4,))
    first = layers.Dense(4)
    y = layers.Add()([first(x), x])
    model = keras.Model(x, layers.Dense(1)(y))
    seen = {id(x)}
    for node in keras_models.nodes(model):
        assert all(id(tensor) in seen for tensor in node.input_tensors)
        seen.update(id(tensor) for tensor in node.outputs)
    assert id(model.outputs[0]) in seen


def test_what_compile_keeps():
    model, loss = compiled()
    assert keras_losses.compiled_loss(model) == (loss, None)
    (((accuracy,), weighted),) = keras_metrics.compiled_metrics(model)
    assert type(accuracy) is keras.metrics.SparseCategoricalAccuracy and weighted == []
    tracker = keras_metrics.loss_tracker(model)
    assert tracker.name == "loss" and float(tracker.count.value) == 4
    assert keras_losses.compiled_loss(keras.Sequential()) == (None, None)
    assert keras_metrics.compiled_metrics(keras.Sequential()) == []


def test_the_thresholds_of_a_metric():
    auc, precision = keras.metrics.AUC(num_thresholds=5), keras.metrics.Precision([0.2, 0.7])
    assert "_thresholds" in vars(auc)  # else the list that an AUC makes for whoever asks
    assert list(keras_metrics.thresholds_of(auc)) == auc.thresholds
    assert keras_metrics.thresholds_of(precision) is precision.thresholds


def test_what_a_loss_and_a_metric_call_their_functions_with():
    model, loss = compiled()
    plan = keras_losses.loss_plan(model)
    assert (plan.losses, plan.keys, plan.means) == ([(loss, None)], [None], [])
    assert keras_losses.loss_plan(keras.Sequential()) is None
    assert keras_losses.dtype_of_total_loss(model) == "float32"
    assert keras_losses.settings_of_loss(loss)["from_logits"] is True
    function = keras.losses.sparse_categorical_crossentropy
    assert keras_losses.function_of_loss(loss) is function

    class Own(keras.losses.MeanSquaredError):
        def call(self, targets, outputs):
            return super().call(targets, outputs) * 2

    assert keras_losses.function_of_loss(Own()) is None
    metric = keras.metrics.SparseTopKCategoricalAccuracy(3)
    assert keras_metrics.settings_of_metric(metric)["k"] == 3


def test_what_keras_says_of_variables_and_gradients():
    model, _ = compiled()
    variables = model.trainable_variables
    with pytest.raises(ValueError, match="Unknown variable"):
        keras_optimizers.check_known(keras.optimizers.SGD(), variables)
    keras_optimizers.check_known(model.optimizer, variables)
    with pytest.warns(UserWarning, match=r"Gradients do not exist.*bias"):
        keras_optimizers.check_gradients(model.optimizer, [True, None], variables)
    with pytest.raises(ValueError, match="No gradients provided"):
        keras_optimizers.check_gradients(model.optimizer, [None, None], variables)


def test_optimizer_state_in_the_order_of_the_variables():
    model, _ = compiled()
    optimizer = model.optimizer
    variables = keras_optimizers.trainable_variables(optimizer)
    assert [v.path for v in variables] == [v.path for v in model.trainable_variables]
    state = keras_optimizers.state_variables(optimizer, "momentums")
    assert [v.shape for v in state] == [v.shape for v in variables]
    assert int(keras_optimizers.iterations(optimizer).value) == 1
    adam = keras.optimizers.Adam()
    adam.build(variables)
    for name in ("_momentums", "_velocities"):
        assert len(keras_optimizers.state_variables(adam, name)) == len(variables)
    assert keras_optimizers.uses_weight_decay(optimizer, variables[0])
    assert keras_optimizers.has_state(adam, "_velocities")
    assert not keras_optimizers.has_state(adam, "_accumulated_gradients")


def test_what_single_optimizers_keep_for_themselves():
    variables = compiled()[0].trainable_variables
    nadam, muon = keras.optimizers.Nadam(), keras.optimizers.Muon()
    nadam.build(variables)
    assert float(keras_optimizers.product_of_momenta(nadam)) == 1.0
    assert [keras_optimizers.muon_steps_as_adam(muon, v) for v in variables] == [False, True]
    decay = keras.optimizers.schedules.CosineDecay(0.1, 3)
    rates = [keras.optimizers.SGD(rate) for rate in (0.1, decay, lambda: 0.1)]
    assert [keras_optimizers.rate_is_called(each) for each in rates] == [False, True, True]
    assert keras_optimizers.schedule_of(rates[1]) is decay
    of_bias, others = keras.optimizers.SGD(), keras.optimizers.Adam()
    several = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(others, {".*bias": of_bias})
    )
    several.build(variables)
    found = [keras_optimizers.optimizer_of(several, variable) for variable in variables]
    assert found == [others, of_bias]


def test_the_loss_with_and_without_what_is_added():
    model, loss = compiled()
    assert keras_losses.has_compiled_loss(model)
    assert not keras_losses.has_compiled_loss(keras.Sequential())
    kernel, bias = model.trainable_variables
    kernel.regularizer, bias.regularizer = keras.regularizers.L2(2.0), keras.regularizers.L1(3.0)
    bias.assign(np.ones(bias.shape))
    x, y = np.ones((4, *model.input_shape[1:])), np.zeros(4)
    outputs = model(x)
    plain = keras_losses.compiled_loss_of(model, y, outputs, None)
    assert float(plain.detach()) == pytest.approx(float(loss(y, outputs).detach()))
    added = keras_losses.with_added_losses_but_of(model, plain, [kernel]) - plain
    assert float(added.detach()) == pytest.approx(3.0 * bias.shape[0], rel=1e-5)


def test_a_frozen_layer_still_says_what_it_was_made_to_train():
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    layer.trainable = False
    named = [variable.name for variable in keras_layers.weights_to_train(layer)]
    assert named == ["gamma", "beta"]


def test_flags_are_those_that_the_layers_and_variables_say():
    class Switched(layers.Dense):
        on = True

        @property
        def trainable(self):
            return self.on

        @trainable.setter
        def trainable(self, value):
            self._trainable = value

    dense, own = layers.Dense(2), Switched(2)
    dense.build((None, 3))
    flags = keras_layers.flags_of([dense, own, dense.kernel])
    assert flags() == [True, True, True]
    dense.kernel.trainable = False
    assert flags() == [True, False, True]  # those that answer for themselves come last
    own.on = False
    assert flags() == [True, False, False]
    dense.trainable = False
    dense.kernel.trainable = True
    assert flags() == [False, True, False]


def test_overridden_methods_are_told_from_keras_own():
    class Own(keras.Model):
        def train_step(self, data):
            return {}

    assert keras_models.is_overridden(Own(), "train_step")
    assert not keras_models.is_overridden(Own(), "test_step")
    assert not keras_models.is_overridden(compiled()[0], "compute_loss")
