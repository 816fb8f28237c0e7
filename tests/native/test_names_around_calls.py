"""Names that Python of one's own finds around it: what they stand for may change."""

import keras_dawn
from keras_dawn.native.lowering import own_calls

import pytest
from keras import layers, ops

from tests.native.own_calls import Own, Setter, build, called, close, follows, train

pytestmark = [
    pytest.mark.usefixtures("true_float64"),
    # Of layers that a `call` leaves out; plain Keras warns as ours does.
    pytest.mark.filterwarnings("ignore:Gradients do not exist"),
]

SIZES, TEXT = (6, 7), "{}"


def scaled(x):
    return x * scaled.factor


class Settings:
    factor = 2.0


class Watched:
    """Looks its attributes up by itself."""

    def __getattr__(self, name):
        if name != "number":
            raise AttributeError(name)
        return 2.0


class ByFunction(Own):
    def call(self, x):
        return scaled(self.dense(x))


class ByClass(Own):
    def call(self, x):
        return self.dense(x) * Settings.factor


def change(model):
    scaled.factor += 1
    Settings.factor += 1


@pytest.mark.parametrize("subclassed", [False, True])
@pytest.mark.parametrize("layer", [ByFunction, ByClass])
def test_an_attribute_of_a_global_counts_from_its_change_on(layer, subclassed):
    def changed(accelerated):
        scaled.factor = Settings.factor = 2.0
        model = build(layer, subclassed)
        model = keras_dawn.accelerate(model) if accelerated else model
        return model, train(model, callbacks=[Setter(change)])

    model, found = changed(True)
    close(found, changed(False)[1])
    assert called(model) == []


class Counts(Own):
    def call(self, x):
        return self.dense(x) * (1.0 + SIZES.count(ops.shape(x)[1]))


class Writes(Own):
    def call(self, x):
        return self.dense(x) * len(TEXT.format(x.dtype))


class AsksObject(Own):
    def __init__(self):
        super().__init__()
        self.table = Watched()

    def call(self, x):
        return self.dense(x) * (1.0 + self.table.number)


@pytest.mark.parametrize("layer", [Counts, Writes, AsksObject])
def test_a_method_of_a_global_and_an_object_that_looks_up_by_itself_are_called(layer):
    assert called(follows(layer)) == [layer.__name__]


def counting():
    count = 0

    class Counting(Own):
        def call(self, x):
            nonlocal count
            count += 1
            return self.dense(x) * (1.0 + 0.0625 * count)

    return Counting()


def counting_function():
    count = 0

    def counted(x):
        nonlocal count
        count += 1
        return x * (1.0 + 0.0625 * count)

    class Counting(Own):
        def call(self, x):
            return counted(self.dense(x))

    return Counting()


def summing():
    class Summing(layers.Layer):
        def call(self, x):
            total = 0

            def add(y):
                nonlocal total
                total += 1
                return y * total

            return add(x) + add(x)

    return Summing()


@pytest.mark.parametrize("subclassed", [False, True])
@pytest.mark.parametrize("layer", [counting, counting_function])
def test_a_call_that_changes_a_name_of_the_function_around_it_is_called(layer, subclassed):
    assert "Counting" in called(follows(layer, subclassed))


def test_a_name_of_the_call_s_own_may_change():
    assert called(follows(summing)) == []


class Part(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense, self.norm = layers.Dense(8), layers.BatchNormalization()
        self.drop = layers.Dropout(0.5, seed=3)

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build(shape)

    def call(self, x):
        return self.drop(self.norm(self.dense(x)))


class Reaching(Own):
    def __init__(self):
        super().__init__()
        self.part, self.functions = Part(), {"first": logged, "last": ops.tanh}

    def build(self, shape):
        super().build(shape)
        self.part.build(shape)


class Drops(Reaching):
    def call(self, x):
        first, last = self.part.drop(x), self.part.drop(x * 2)
        return last - first


class Forgets(Reaching):
    def call(self, x):
        self.part.norm(x)
        self.part.drop(x)
        return self.part.drop(self.part.dense(x))


@pytest.mark.parametrize("subclassed", [False, True])
@pytest.mark.parametrize("layer", [Drops, Forgets])
def test_layers_further_inside_are_called_in_their_order_even_for_nothing(layer, subclassed):
    model = follows(layer, subclassed)
    assert layer is Forgets or called(model) == []


LOG = []


def logged(x):
    LOG.append(1)
    return x * len(LOG)


class ByKey(Reaching):
    def call(self, x):
        return self.functions.get("last")(self.functions.get("first")(self.dense(x)))


class ByItem(Reaching):
    def call(self, x):
        x = self.dense(x)
        for function in self.functions.values():
            x = function(x)
        return x


@pytest.mark.parametrize("layer", [ByKey, ByItem])
def test_functions_that_a_dict_gives_out_are_looked_at(layer):
    def found(accelerated):
        LOG.clear()
        model = build(layer)
        model = keras_dawn.accelerate(model) if accelerated else model
        return model, train(model)

    model, ours = found(True)
    close(ours, found(False)[1])
    assert called(model) == [layer.__name__]


class Counted(layers.Layer):
    def call(self, x):
        LOG.append(1)
        return x * (1.0 + 0.0625 * len(LOG))


class OfTheClass(Own):
    shared = Counted()

    def call(self, x):
        return self.shared(self.dense(x))


class OfTheClassByText(OfTheClass):
    def call(self, x):
        for name in ("dense", "shared"):
            x = getattr(self, name)(x)
        return x


@pytest.mark.parametrize("subclassed", [False, True])
@pytest.mark.parametrize("layer", [OfTheClass, OfTheClassByText])
def test_a_layer_that_the_class_has_is_called_as_it_is(layer, subclassed):
    def found(accelerated):
        LOG.clear()
        model = build(layer, subclassed)
        model = keras_dawn.accelerate(model) if accelerated else model
        return train(model)

    close(found(True), found(False))


class Tree(layers.Layer):
    """Layers of one class in each other, with attributes of other names."""

    def __init__(self, branches, inner=None):
        super().__init__()
        self.branches, self.inner = branches, inner
        for number in range(branches):
            setattr(self, f"branch_{number}", layers.Dense(8))

    def build(self, shape):
        for number in range(self.branches):
            getattr(self, f"branch_{number}").build(shape)
        if self.inner is not None:
            self.inner.build(shape)

    def call(self, x):
        for number in range(self.branches):
            x = ops.tanh(getattr(self, f"branch_{number}")(x))
        return x if self.inner is None else self.inner(x)


def test_an_attribute_that_only_a_layer_inside_has_is_no_change_in_every_step(monkeypatch):
    model = keras_dawn.accelerate(build(lambda: Tree(1, Tree(2))))
    lowered = []
    make = own_calls.OwnCalls.__init__

    def counted(self, *arguments):
        lowered.append(arguments)
        make(self, *arguments)

    monkeypatch.setattr(own_calls.OwnCalls, "__init__", counted)
    train(model)
    before = len(lowered)
    train(model)
    assert before and len(lowered) == before
