"""Attention of several heads: what Keras's two layers compute with, by one set of names."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """What `MultiHeadAttention` and `GroupedQueryAttention` compute with, by one set of names.

    Args:
        query, key, value, output, gate: `EinsumDense` inside the layer; `gate` may be `None`.
        softmax, dropout: `Softmax` and `Dropout` inside the layer.
        rate: float, the layer's own dropout rate, which says which way it goes.
        scale: float, what queries are multiplied by.
        window: int or `None`, how far a position looks.
        flash: whether the flash kernel is demanded.
        repeats: int, how many heads of the query share one of key and value.
        equations: `(scores, outputs)`, for inputs with more axes than one of positions.
        axes: tuple, the axes of positions.
    """

    query: object
    key: object
    value: object
    output: object
    gate: object
    softmax: object
    dropout: object
    rate: float
    scale: float
    window: int | None
    flash: object
    repeats: int
    equations: tuple
    axes: tuple


def head_settings(layer):
    """The `HeadSettings` of a built layer."""
    # The two layers keep the same things under other names.
    grouped = isinstance(layer, keras.layers.GroupQueryAttention)
    use_gate = layer.use_gate if grouped else layer._use_gate
    return HeadSettings(
        query=layer._query_dense,
        key=layer._key_dense,
        value=layer._value_dense,
        output=layer._output_dense,
        gate=layer._gate_dense if use_gate else None,
        softmax=layer._softmax,
        dropout=layer._dropout_layer,
        rate=layer.dropout if grouped else layer._dropout,
        scale=layer._inverse_sqrt_head_dim if grouped else layer._inverse_sqrt_key_dim,
        window=layer.sliding_window if grouped else layer._sliding_window,
        flash=layer._flash_attention,
        repeats=layer.num_repeats if grouped else 1,
        equations=(layer._dot_product_equation, layer._combine_equation),
        axes=(1,) if grouped else tuple(layer._attention_axes),
    )
