"""Spectrograms of a batch of signals."""

from keras_dawn.native.lowering.layouts import convolution
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.series import conv1d
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.padding import pad_same

import keras
import torch
from keras import layers

WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}


@rule(layers.STFTSpectrogram)
def stft_spectrogram(builder, layer, inputs, call):
    (value,) = inputs
    if value.dtype not in ("float16", "float32", "float64"):
        raise LoweringError(f"of {value.dtype}")
    real, imaginary = (
        None
        if layer.mode == other
        else builder.parameter(getattr(layer, name), convolution(1), value.dtype)
        for name, other in (("real_kernel", "imag"), ("imag_kernel", "real"))
    )
    stride = int(layer.frame_step or layer.frame_length // 2)
    node = builder.call(
        spectrum,
        builder.image(value, layer.data_format),
        real,
        imaginary,
        layer.mode,
        stride,
        layer.padding,
        keras.config.epsilon(),
    )
    last = layer.data_format == "channels_last"  # frequencies are channels, or an axis behind
    if not layer.expand_dims:
        node = builder.call(torch.flatten, node, 1, 2, name=call.name)
        return value.with_node(node, torch_order=last)
    order = (0, 3, 2, 1) if last else (0, 1, 3, 2)
    node = builder.graph.call_method("permute", (node, *order))
    return value.with_node(node, rank=4, torch_order=False)


def spectrum(signals, real, imaginary, mode, stride, padding, epsilon):
    """The spectra of signals over time.

    Args:
        signals: `(batch, channels, time)`, floats.
        real, imaginary: kernels `(frequencies, 1, time)`; one may be `None` where `mode` says so.
        mode: as `keras.layers.STFTSpectrogram` has it.
        stride: int, from one frame to the next.
        padding: `"valid"` or `"same"`.
        epsilon: float, the least magnitude.

    Returns:
        `(batch, channels, frequencies, time)`; twice the frequencies for `"stft"`.
    """
    # Each channel is a signal of its own.
    flat = signals.flatten(0, 1).unsqueeze(1)
    kernels = [kernel for kernel in (real, imaginary) if kernel is not None]
    if padding == "same":
        flat = pad_same(flat, kernels[0].shape[2:], (stride,))
    parts = [
        conv1d(flat, kernel, None, (stride,), (0,), (1,), 1).unflatten(0, signals.shape[:2])
        for kernel in kernels
    ]
    if mode in ("real", "imag"):
        return parts[0]
    if mode == "angle":
        return torch.arctan2(parts[1], parts[0])
    if mode == "stft":
        return torch.cat(parts, 2)
    power = parts[0].square() + parts[1].square()
    if mode == "psd":  # all but the first and the last frequency stand for two
        return power + torch.nn.functional.pad(power[:, :, 1:-1], (0, 0, 1, 1))
    magnitude = torch.sqrt(power.clamp(min=epsilon))
    return magnitude if mode == "magnitude" else torch.log(magnitude.clamp(min=epsilon))


@rule(layers.MelSpectrogram)
def mel_spectrogram(builder, layer, inputs, call):
    (value,) = inputs
    if value.rank != 2 or layer.window not in WINDOWS:
        raise LoweringError(f"of {value.rank} axes, window={layer.window!r}")
    dtype = "float64" if layer.compute_dtype == "float64" else "float32"
    matrix = layer.linear_to_mel_weight_matrix(
        num_mel_bins=layer.num_mel_bins,
        num_spectrogram_bins=layer.fft_length // 2 + 1,
        sampling_rate=layer.sampling_rate,
        lower_edge_hertz=layer.min_freq,
        upper_edge_hertz=layer.max_freq,
    )
    decibels = None
    if layer.power_to_db:
        decibels = float(layer.min_power), float(layer.ref_power), float(layer.top_db)
    node = builder.call(
        mel_spectrum,
        builder.keras_order(builder.to(value, dtype)),
        builder.constant(keras.ops.cast(matrix, dtype), call.name),
        int(layer.fft_length),
        (int(layer.sequence_length), int(layer.sequence_stride), layer.window),
        float(layer.mag_exp),
        decibels,
        name=call.name,
    )
    result = value.with_node(node, rank=3, dtype=dtype, torch_order=False)
    return builder.to(result, layer.compute_dtype)


def mel_spectrum(signals, matrix, length, frames, exponent, decibels):
    """The power of signals by pitch, over time.

    Args:
        signals: `(batch, time)`, float32 or float64.
        matrix: `(frequencies, pitches)`.
        length: int, of the Fourier transform.
        frames: `(length, stride, window)` of the frames.
        exponent: float, of the magnitudes.
        decibels: `(least power, power of reference, range)`, or `None`.

    Returns:
        `(batch, pitches, time)`.
    """
    size, stride, window = frames
    window = WINDOWS[window](size, periodic=True, dtype=signals.dtype, device=signals.device)
    waves = torch.stft(signals, length, stride, size, window, center=True, return_complex=True)
    magnitudes = torch.sqrt(waves.real.square() + waves.imag.square())
    power = magnitudes.pow(exponent).transpose(1, 2) @ matrix
    if decibels is not None:
        least, reference, most = decibels
        power = 10.0 * torch.log10(power.clamp(min=least))
        reference = torch.tensor(abs(reference), dtype=power.dtype, device=power.device)
        power = power - 10.0 * torch.log10(reference.clamp(min=least))
        power = torch.maximum(power, power.max() - most)
    return power.transpose(1, 2)
