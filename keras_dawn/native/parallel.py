"""The lowered training graph under torch's DistributedDataParallel."""

import contextlib
import inspect
import warnings

from keras_dawn.distributed.ranks import current, note_parallel_model
from keras_dawn.foundation import keras_losses, keras_version
from keras_dawn.foundation.model_state import kept, metric_variables, optimizers_of, state_tensors
from keras_dawn.foundation.random_state import random_state, set_random_state

import keras
import torch
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

_HOOKS = {
    "float16": default_hooks.fp16_compress_hook,
    "bfloat16": default_hooks.bf16_compress_hook,
}
# The only buffers are constants; torch has renamed the argument.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
PASSES_BEFORE_THE_LAYOUT_STAYS = 2
NO_CUDA_GRAPH = "its gradients would only start to travel after the last one"


def data_parallel(module):
    """Wraps a lowered training module so that its gradients are averaged over the ranks.

    The buckets start to travel while the backward pass goes on. No CUDA graph is made of
    its backward pass alone: that is one node for autograd, so every gradient would wait for
    the last (`NO_CUDA_GRAPH`). A step that is a graph as a whole averages by
    `steps/buckets.py`.

    Args:
        module: `torch.nn.Module` whose parameters are the trained ones, the same on all ranks.

    Returns:
        `DistributedDataParallel`.
    """
    ranks = current()
    # It would give all ranks rank 0's. Each draws from generators of its own, and within an epoch
    # has moving averages of its own, where a layer is frozen then or a training is gone on with.
    states = [name for name, each in module.named_parameters() if not each.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, states)
    # A depthwise kernel's gradient has other strides on its axis of size 1: a copy more, no fault.
    # The filter stays: torch warns in the backward pass, in a thread of its own.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    parallel = DistributedDataParallel(
        module,
        gradient_as_bucket_view=True,  # no copy of each gradient out of its bucket
        static_graph=True,  # all steps use the same weights: `fit` by layer averages otherwise
        **{_SYNC_BUFFERS: False},
    )
    if ranks.gradient_compression:
        parallel.register_comm_hook(None, _HOOKS[ranks.gradient_compression])
    note_parallel_model()
    return parallel


def why_no_graph():
    """Why sums over the ranks cannot be part of a CUDA graph, or `None`."""
    if current().backend == "nccl":
        return None
    return f"{current().backend} sums up on the host, over whose work no graph extends"


def needs_rehearsal():
    """Whether the first backward passes of a `data_parallel` module round unlike later ones.

    The first tells torch which gradients there are, and after the second it lays them out in the
    order in which they came. Where a gradient lies decides in which order the ranks' numbers are
    added, which from three ranks on is another sum in its last bits: a process that goes on with
    a training would differ from one that has trained all along.
    """
    return current().world_size > 2


@contextlib.contextmanager
def rehearsal(model):
    """What is computed inside leaves layers' state, metrics and all random numbers alone."""
    # Losses of several outputs count each one's mean where they are computed.
    counts = [variable.value for variable in metric_variables(model)]
    random = random_state()
    try:
        with kept([*state_tensors(model), *counts]):
            yield
    finally:
        set_random_state(random)


def why_not(model):
    """Why a compiled model's training cannot be shared out over ranks, or `None`."""
    if keras_version.wraps_models_itself():
        return (
            f"Keras {keras.__version__} puts models under DistributedDataParallel itself, and "
            "gradients would be averaged twice. Install keras<3.16."
        )
    loss, _ = keras_losses.compiled_loss(model)
    for part in keras.tree.flatten(loss):
        reduction = getattr(part, "reduction", "sum_over_batch_size")
        if reduction not in ("sum_over_batch_size", "mean"):
            return (
                f"the loss {getattr(part, 'name', part)} has reduction={reduction!r}; the mean "
                "over ranks is right for 'sum_over_batch_size' only."
            )
    if any(getattr(one, "gradient_accumulation_steps", None) for one in optimizers_of(model)):
        return "gradient_accumulation_steps is set; use a larger batch_size or more ranks."
    if not torch.distributed.is_initialized():
        return "the process group is gone."
    return None
