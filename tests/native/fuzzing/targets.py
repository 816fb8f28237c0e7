"""What a model is to learn: the last layers, the loss, metrics and targets that fit."""

from dataclasses import dataclass

from tests.native.fuzzing.draw import Source, call


@dataclass(frozen=True)
class Target:
    """One output and what it is compared with.

    Args:
        name: str, of the output's tensor.
        task: str, `"sparse"`, `"onehot"`, `"binary"` or `"regression"`.
        loss: str, source of the loss.
        metrics: list of str, sources.
        y: function from a number of examples to the source of targets.
        classes: int or `None`.
    """

    name: str
    task: str
    loss: str
    metrics: list
    y: object
    classes: int | None = None


def target(d, graph, source):
    """Adds last layers to a graph and says what the output learns; `None` if they cannot be."""
    shape = graph.shape(source)
    task = d.weighted({"sparse": 4, "onehot": 2, "binary": 2, "regression": 3})
    if task == "regression":
        if len(shape) > 2 and d.chance(0.6):
            source = _as_vector(d, graph, source)
        if source and d.chance(0.7):
            source = graph.add_layer(call("layers.Dense", d.pick(1, 2)), [source])
        return source and _regression(d, source, graph.shape(source))
    in_time = task == "sparse" and len(shape) == 3 and d.chance(0.3)
    source = source if in_time else _as_vector(d, graph, source)
    classes = 1 if task == "binary" and d.chance(0.7) else d.pick(3, 4)
    logits = d.chance(0.6)
    squash = None if logits else ("sigmoid" if task == "binary" else "softmax")
    if source and squash and d.chance(0.4):  # by a layer of its own
        source = graph.add_layer(call("layers.Dense", classes), [source])
        source = source and graph.add_layer(call("layers.Activation", squash), [source])
    elif source:
        source = graph.add_layer(call("layers.Dense", classes, activation=squash), [source])
    if not source:
        return None
    length = graph.shape(source)[1] if in_time else None
    make = {"sparse": _sparse, "onehot": _one_hot, "binary": _binary}[task]
    return make(d, source, classes, logits, length)


def _as_vector(d, graph, source):
    rank = len(graph.shape(source))
    if rank == 2:
        return source
    pools = {3: "layers.GlobalAveragePooling1D", 4: "layers.GlobalAveragePooling2D"}
    if rank in pools and d.chance(0.5):
        return graph.add_layer(call(pools[rank]), [source])
    return graph.add_layer(call("layers.Flatten"), [source])


def reduction(d):
    return d.maybe(0.12, "sum", "mean", "mean_with_sample_weight", "sum_over_batch_size")


def _loss(d, kind, logits, **settings):
    if not logits and not any(settings.values()) and d.chance(0.5):
        snake = "".join("_" + c.lower() if c.isupper() else c for c in kind).lstrip("_")
        return d.pick(repr(snake), f"keras.losses.{snake}")
    return call(
        f"keras.losses.{kind}", from_logits=logits or None, reduction=reduction(d), **settings
    )


def _some(d, *metrics):
    return d.shuffled([m for m in metrics if m])[: d.pick(0, 1, 1, 2, 3)]


def _sparse(d, name, classes, logits, length):
    shape = (length,) if length else d.pick((), (), (1,))
    dtype = d.maybe(0.4, "int32", "uint8", "float32", "int16")
    seed = d.data_seed()
    metrics = _some(
        d,
        "'accuracy'",
        "'accuracy'",
        "'sparse_categorical_accuracy'",
        "keras.metrics.SparseTopKCategoricalAccuracy(k=2)",
        "keras.metrics.SparseCategoricalAccuracy(name='hits')",
        f"keras.metrics.SparseCategoricalCrossentropy(from_logits={logits})",
        "keras.metrics.MeanIoU(3, sparse_y_pred=False)" if d.chance(0.1) else None,
    )
    loss = _loss(d, "SparseCategoricalCrossentropy", logits, ignore_class=d.maybe(0.05, 0, -1))
    return Target(
        name, "sparse", loss, metrics,
        lambda n: call("whole", seed, classes, n, *shape, dtype=dtype), classes,
    )  # fmt: skip


def _one_hot(d, name, classes, logits, length):
    seed = d.data_seed()
    dtype = d.maybe(0.2, ".astype('int32')", ".astype('float32')") or ""
    loss = _loss(d, "CategoricalCrossentropy", logits, label_smoothing=d.maybe(0.3, 0.1))
    if d.chance(0.1):
        loss = call("keras.losses.CategoricalFocalCrossentropy", from_logits=logits)
    metrics = _some(
        d,
        "'accuracy'",
        "'categorical_accuracy'",
        "keras.metrics.TopKCategoricalAccuracy(k=2)",
        f"keras.metrics.AUC(num_thresholds=20, from_logits={logits})",
        f"keras.metrics.CategoricalCrossentropy(from_logits={logits})",
        None if logits else "keras.metrics.Precision()",
        None if logits else "keras.metrics.F1Score()",
    )
    return Target(
        name, "onehot", loss, metrics,
        lambda n: Source(f"one_hot(whole({seed}, {classes}, {n}), {classes}){dtype}"), classes,
    )  # fmt: skip


def _binary(d, name, classes, logits, length):
    seed = d.data_seed()
    shape = (classes,) if classes > 1 else d.pick((), (1,))
    dtype = d.maybe(0.6, "int32", "float32", "bool", "uint8")
    loss = _loss(d, "BinaryCrossentropy", logits, label_smoothing=d.maybe(0.2, 0.1))
    if d.chance(0.1):
        loss = call("keras.losses.Hinge")
    metrics = _some(
        d,
        "'accuracy'",
        "'binary_accuracy'",
        f"keras.metrics.BinaryAccuracy(threshold={0.0 if logits else 0.4})",
        f"keras.metrics.AUC(num_thresholds=20, from_logits={logits})",
        None if logits else "keras.metrics.Recall()",
    )
    return Target(
        name, "binary", loss, metrics, lambda n: call("whole", seed, 2, n, *shape, dtype=dtype)
    )


def _regression(d, name, shape):
    seed = d.data_seed()
    sizes = tuple(shape[1:])
    if sizes == (1,) and d.chance(0.5):
        sizes = ()
    dtype = d.maybe(0.15, "float32", "float64")
    loss = d.pick(
        "'mse'", "'mse'", "'mae'", "'log_cosh'", "keras.losses.Huber()", "squared", "Fourth()",
        "keras.losses.mean_squared_error", "keras.losses.CosineSimilarity()",
        call("keras.losses.MeanSquaredError", reduction=reduction(d)),
        call("keras.losses.MeanSquaredError", reduction=reduction(d)),
        call("keras.losses.MeanAbsoluteError", reduction=reduction(d)),
    )  # fmt: skip
    metrics = _some(
        d, "'mae'", "'mse'", "closeness", "keras.metrics.RootMeanSquaredError()",
        "'accuracy'" if d.chance(0.1) else None, "keras.metrics.MeanAbsoluteError(name='off')",
        "keras.metrics.R2Score()" if len(sizes) == 1 else None,
    )  # fmt: skip
    return Target(
        name, "regression", loss, metrics, lambda n: call("numbers", seed, n, *sizes, dtype=dtype)
    )
