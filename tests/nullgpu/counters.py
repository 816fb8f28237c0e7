"""On the null GPU: what was launched, waited for and copied, and stand-ins for cuDNN's graphs.

Import it before anything computes: convolutions and recurrent layers go through interfaces of
cuDNN that are not worth a stub in C, and give tensors of the right shape and layout here.
"""

import collections
import ctypes
import os
import warnings

import torch

_runtime = ctypes.CDLL(os.environ["NULLGPU_LIB"])
WAITS = ("sync_stream", "sync_device", "sync_event", "sync_memcpy")
COPIES = ("copy_h2d_pageable", "copy_h2d_pinned", "copy_d2h_pageable", "copy_d2h_pinned")
KEYS = ("launch", "captured", "graph_launch", *WAITS, *COPIES, "malloc", "malloc_bytes",
        "event_create", "event_record", "wait_event", "graph_instantiated")  # fmt: skip


def reset():
    """Counts from 0 again."""
    _runtime.nullgpu_reset()


def counts():
    """What happened since `reset`, by kind."""
    return collections.Counter({key: _runtime.nullgpu_count(key.encode()) for key in KEYS})


def kernels():
    """Launches outside graphs since `reset`, by the kernel's name."""
    text = ctypes.create_string_buffer(1 << 22)
    _runtime.nullgpu_names(text, 1 << 22)
    lines = [line.split("\t") for line in text.value.decode().splitlines()]
    return collections.Counter({name: int(count) for count, name in lines})


def _note(name):
    _runtime.nullgpu_external(name.encode())


def _layout(x, w):
    layout = torch.channels_last
    last = any(t.is_contiguous(memory_format=layout) and not t.is_contiguous() for t in (x, w))
    return layout if x.ndim == 4 and last else torch.contiguous_format


def _convolution(x, w, padding, stride, dilation, groups, benchmark, deterministic, allow_tf32):
    sizes = [
        (size + 2 * padding[i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i, size in enumerate(x.shape[2:])
    ]
    layout = _layout(x, w)
    x.contiguous(memory_format=layout)
    _note("cudnn_convolution")
    shape = (x.shape[0], w.shape[0], *sizes)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def _convolution_backward(g, x, w, biases, stride, padding, dilation, t, out, groups, mask):
    layout, wanted = _layout(x, w), [None, None]
    for place, tensor in enumerate((x, w)):
        if mask[place]:
            _note("cudnn_convolution_backward")
            wanted[place] = torch.empty_like(tensor, memory_format=layout)
    return *wanted, g.sum([0, *range(2, g.ndim)]) if mask[2] else None


def _recurrent(x, weights, stride, buffer, hx, cx, mode, hidden, projection, layers, batch_first,
               dropout, train, bidirectional, batch_sizes, state):  # fmt: skip
    _note("cudnn_rnn")
    width = hidden * (2 if bidirectional else 1)
    cell = x.new_empty(0) if cx is None else torch.empty_like(cx)  # what torch asserts of a GRU
    outputs = x.new_empty(*x.shape[:-1], width), torch.empty_like(hx), cell
    return *outputs, x.new_empty(0), x.new_empty(0)


def _recurrent_backward(x, weights, stride, buffer, hx, cx, output, *rest):
    if any(gradient is not None for gradient in rest[:3]):
        _note("cudnn_rnn_backward")
    cell = None if cx is None else torch.empty_like(cx)
    return torch.empty_like(x), torch.empty_like(hx), cell, [torch.empty_like(w) for w in weights]


class _DerivedOnce(torch.autograd.Function):
    """A gradient of cuDNN's, which is an error to derive."""

    @staticmethod
    def forward(ctx, gradient, *of):
        return gradient.clone()

    @staticmethod
    def backward(ctx, _):
        raise NotImplementedError("Double backwards is not supported for CuDNN RNNs")


def _derived_once(*given):
    with torch._C._AutoDispatchBelowAutograd():
        *found, weights = torch.ops.aten._cudnn_rnn_backward(*given)
    of = [tensor for tensor in given[7:10] if tensor is not None]
    if not of:  # torch returns nothing at all, which Python cannot say of a list
        return *found, weights

    def derived(gradient):
        return None if gradient is None else _DerivedOnce.apply(gradient, given[0], *of)

    return *map(derived, found), list(map(derived, weights))


_eigh = torch.linalg.eigh


def _eigenvalues(x, *arguments, **options):
    if not x.is_cuda:
        return _eigh(x, *arguments, **options)
    _note("cusolver_eigh")
    return torch.ones(x.shape[:-1], dtype=x.dtype, device=x.device), torch.empty_like(x)


def _qr(x, mode="reduced"):
    if not x.is_cuda:
        return _qr_there(x, mode=mode)
    _note("cusolver_qr")
    rank = min(x.shape[-2:])
    return x.new_empty(*x.shape[:-1], rank), x.new_empty(*x.shape[:-2], rank, x.shape[-1])


_qr_there = torch.linalg.qr
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that kernels are replaced is what is wanted
    _library = torch.library.Library("aten", "IMPL")
    _library.impl("cudnn_convolution", _convolution, "CUDA")
    _library.impl("convolution_backward", _convolution_backward, "CUDA")
    _library.impl("_cudnn_rnn", _recurrent, "CUDA")
    _library.impl("_cudnn_rnn_backward", _recurrent_backward, "CUDA")
    _library.impl("_cudnn_rnn_backward", _derived_once, "AutogradCUDA")
torch.linalg.eigh, torch.linalg.qr = _eigenvalues, _qr
