"""Optimizers with settings of all kinds."""

from tests.native.fuzzing.draw import Source, call

SCHEDULES = (
    "keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)",
    "keras.optimizers.schedules.CosineDecay(0.05, 6)",
    "keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.05, 0.02, 0.01])",
    "keras.optimizers.schedules.PolynomialDecay(0.05, 5, 0.001, power=2.0)",
    "keras.optimizers.schedules.InverseTimeDecay(0.05, 3, 0.5, staircase=True)",
    "keras.optimizers.schedules.CosineDecayRestarts(0.05, 2)",
)


LOSS_SCALE = 64.0  # at first; Keras's own, 32768, overflows in the first steps


def scaled_optimizer(d):
    """The source of an optimizer with loss scaling, as `mixed_float16` needs it."""
    made = optimizer(d)
    if made.startswith("'"):
        made = call("keras.optimizers.get", Source(made))
    elif "LossScaleOptimizer" in made:
        return made
    return call("keras.optimizers.LossScaleOptimizer", Source(made), initial_scale=LOSS_SCALE)


def optimizer(d):
    """The source of an optimizer."""
    if d.chance(0.12):
        return repr(d.pick("sgd", "adam", "rmsprop"))
    kind = d.weighted(
        {
            _sgd: 6, _adam: 4, _ours: 2.5, _rmsprop: 1.5, _lion: 0.7, _lars: 0.7, _muon: 0.7,
            _others: 0.7, _own: 0.3,
        }
    )  # fmt: skip
    made = kind(d, d.pick(0.1, 0.05, 0.01))
    if d.chance(0.02):
        made = call("keras.optimizers.LossScaleOptimizer", Source(made))
    return made


def _rate(d, rate):
    return Source(d.pick(*SCHEDULES)) if d.chance(0.12) else rate


def _common(d):
    settings = {}
    if d.chance(0.3):
        name = d.pick("clipnorm", "clipvalue", "global_clipnorm")
        settings[name] = d.pick(0.01, 0.5)
    settings["weight_decay"] = d.maybe(0.25, 0.01, 0.1)
    if d.chance(0.08):
        settings["use_ema"] = True
        settings["ema_momentum"] = 0.8
        settings["ema_overwrite_frequency"] = d.maybe(0.5, 2)
    elif d.chance(0.04):
        settings["gradient_accumulation_steps"] = 2
    return settings


def _sgd(d, rate):
    momentum = d.maybe(0.7, 0.9, 0.5)
    nesterov = d.maybe(0.4, True) if momentum else None
    return call(
        "keras.optimizers.SGD", _rate(d, rate), momentum=momentum, nesterov=nesterov, **_common(d)
    )


def _adam(d, rate):
    return call(
        d.pick("keras.optimizers.Adam", "keras.optimizers.Adam", "keras.optimizers.AdamW"),
        _rate(d, rate),
        beta_1=d.maybe(0.3, 0.5, 0.0),
        beta_2=d.maybe(0.3, 0.9),
        epsilon=d.maybe(0.4, 1e-3, 1e-5),
        amsgrad=d.maybe(0.15, True),
        **_common(d),
    )


def _rmsprop(d, rate):
    settings = {"momentum": d.maybe(0.3, 0.5), "centered": d.maybe(0.3, True)}
    return call("keras.optimizers.RMSprop", _rate(d, rate), **settings, **_common(d))


def _lion(d, rate):
    return call("keras.optimizers.Lion", rate / 10)


def _others(d, rate):
    kinds = ("Adagrad", "Adadelta", "Nadam", "Adamax", "Ftrl", "Lamb")
    return call(f"keras.optimizers.{d.pick(*kinds)}", rate)


def _own(d, rate):
    return call("OwnUpdate", rate, momentum=d.maybe(0.5, 0.5))


def _ours(d, rate):
    return call(
        "keras_dawn.SGD",
        _rate(d, rate),
        momentum=d.maybe(0.7, 0.9, 0.0),
        nesterov=d.maybe(0.3, True),
        weight_decay=d.maybe(0.4, 0.01),
        decoupled=d.maybe(0.2, True),
        clipnorm=d.maybe(0.1, 0.5),
        global_clipnorm=None,
        rate_multipliers=d.maybe(0.15, {"bias": 2.0}),
    )


def _lars(d, rate):
    return call("keras_dawn.optimizers.LARS", rate * 10, weight_decay=d.maybe(0.5, 0.01))


def _muon(d, rate):
    return call("keras_dawn.optimizers.Muon", rate, compute_dtype=d.pick("float64", "float32"))
