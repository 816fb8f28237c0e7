"""Half-precision batch normalisation on a GPU: cuDNN's two calls and torch's own five kernels.

The forward and the backward pass of the shapes that ResNet-50 (128 images of 224 px) and WRN-22-6
(512 of 32 px) have, channels_last, float16 with float32 scales. The ratio decides what
`keras_dawn` takes for float16 (`CUDNN_IN_FLOAT16` in
`native/lowering/rules/batch_normalization.py`).
"""

import statistics

import torch
from absl import flags
from gpu_parts import skipped

FLAGS = flags.FLAGS
SHAPES = (
    (128, 64, 112, 112),
    (128, 256, 56, 56),
    (128, 512, 28, 28),
    (128, 1024, 14, 14),
    (128, 2048, 7, 7),
    (512, 96, 32, 32),
    (512, 192, 16, 16),
    (512, 384, 8, 8),
)


def run(cases):
    on_gpu = torch.cuda.is_available()
    for shape in [(4, 8, 6, 6)] if FLAGS.tiny else SHAPES:
        name = " × ".join(map(str, shape))
        if cases.is_missing(name):
            cases.keep(name, compared(shape) if on_gpu else skipped("only a GPU has cuDNN"))


def by_torch(x, gamma, beta):
    return torch.native_batch_norm(x, gamma, beta, None, None, True, 0.0, 1e-5)[:3]


def by_cudnn(x, gamma, beta):
    return torch.cudnn_batch_norm(x, gamma, beta, None, None, True, 0.0, 1e-5)[:3]


def compared(shape):
    """Milliseconds of either, their ratio, and how far they differ.

    The differences are those of the output, the mean, the inverse deviation, and the gradients of
    x, gamma and beta, each over the largest value.
    """
    layout = torch.channels_last
    x = torch.randn(shape, device="cuda", dtype=torch.float16).contiguous(memory_format=layout)
    gradient = torch.randn_like(x)
    gamma, beta = torch.rand(shape[1], device="cuda"), torch.rand(shape[1], device="cuda")
    for tensor in (x, gamma, beta):
        tensor.requires_grad_()
    found, milliseconds = {}, {by_torch: [], by_cudnn: []}
    for function in milliseconds:
        output, *saved = function(x, gamma, beta)
        gradients = torch.autograd.grad(output, (x, gamma, beta), gradient)
        found[function] = output, *saved, *gradients
    for _ in range(7):
        for function, values in milliseconds.items():
            values.append(_milliseconds(function, (x, gamma, beta), gradient))
    differences = [
        float((a - b).detach().abs().max() / a.detach().abs().max())
        for a, b in zip(found[by_torch], found[by_cudnn], strict=True)
    ]
    torchs, cudnns = (statistics.median(values) for values in milliseconds.values())
    return {
        "torch_ms": torchs,
        "cudnn_ms": cudnns,
        "cudnn_over_torch": cudnns / torchs,
        "largest_differences": differences,
    }


def _milliseconds(function, tensors, gradient, calls=20):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        torch.autograd.grad(function(*tensors)[0], tensors, gradient)
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls
