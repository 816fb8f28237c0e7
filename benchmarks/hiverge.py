"""Hiverge's successor of airbench94 with Muon (2025; https://github.com/hiverge/cifar10-speedrun).

The published settings (2.015 s on an A100) as a plain torch loop, a peer of `record.py`. Against
`airbench_muon.py`: all filters in one batch of matrices, padded to one shape, their norms set every
few steps only; crops by one gather; brightness and contrast of each image; SiLU after the stem; the
stem's bias for a fifth of an epoch; six views of the quarter of the test images with the least
confident answers only. On a GPU normalisation is in float16 too. The publication compiles its step;
nothing is compiled here.
"""

import math
import time

import torch
import torch.nn.functional as F
from airbench import Loader, image_dtype, place
from airbench_muon import MuonNet, filters_of, set_rates, sgd_of_the_rest
from torch import nn

BATCH, EPOCHS = 1536, 7.59
FILTER_RATE, FILTER_MOMENTUM = 0.205, 0.655
BIAS_RATE, HEAD_RATE, MOMENTUM = 0.0573, 0.5415, 0.825
DECAY = 1.0418e-6 * BATCH  # of biases and the head in the first step; of filters times their rate
NEWTON_SCHULZ = (3.4576, -4.7391, 2.0843)
WHITENING_BIAS_EPOCHS, WHITENING_IMAGES = 0.19, 960
LABEL_SMOOTHING = 0.09
BRIGHTNESS, CONTRAST = 0.1399, 0.1308
UNCERTAIN = 0.25  # of the test images


class HiveNet(MuonNet):
    """`MuonNet` with SiLU in its groups and faster moving averages."""

    def __init__(self):
        super().__init__()
        for group in (self[2], self[3], self[4]):
            group[3], group[6] = nn.SiLU(), nn.SiLU()
            for normalization in (group[2], group[5]):
                normalization.momentum = 1 - 0.5566


class HiveLoader(Loader):
    """`Loader` with crops by one gather, and brightness and contrast of each image."""

    def crops(self):
        images = gathered_crops(self.padded, 32)
        shift, scale = torch.rand(
            (2, len(images), 1, 1, 1), dtype=images.dtype, device=images.device
        ).mul_(2).sub_(1)  # fmt: skip
        return (images + BRIGHTNESS * shift) * (1 + CONTRAST * scale)


def gathered_crops(padded, size):
    """A crop of each image `(n, c, h, w)` at a random place, all in one gather."""
    range_ = padded.shape[-1] - size + 1
    line = torch.arange(size, device=padded.device)
    top, left = torch.randint(range_, (2, len(padded), 1), device=padded.device) + line
    which = torch.arange(len(padded), device=padded.device)[:, None, None]
    # What is sliced comes last: (n, h, w, c), which is channels_last.
    return padded[which, :, top[:, :, None], left[:, None, :]].permute(0, 3, 1, 2)


class BatchedMuon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum of filters, all of them in one batch of matrices.

    Args:
        filters: list of parameters `(outputs, ...)`.
        lr, momentum, decay: floats; a step multiplies filters by `1 - lr * decay`.
        steps: int, of the training: norms are set every 2nd step at first, every 16th at last.
        dtype: of the iteration.
    """

    def __init__(self, filters, lr, momentum, decay, steps, dtype):
        super().__init__(filters, {"lr": lr, "momentum": momentum, "decay": decay})
        self.steps, self.dtype, self.step_count, self.normalized_at = steps, dtype, 0, 0
        self.filters = self.param_groups[0]["params"]
        self.buffers = [torch.zeros_like(weight) for weight in self.filters]

    @torch.no_grad()
    def step(self):
        group, weights = self.param_groups[0], self.filters
        gradients = [weight.grad for weight in weights]
        self.step_count += 1
        torch._foreach_mul_(self.buffers, group["momentum"])
        torch._foreach_add_(self.buffers, gradients)
        directions = torch._foreach_add(gradients, self.buffers, alpha=group["momentum"])
        if self.step_count - self.normalized_at >= 2 + int(15 * self.step_count / self.steps):
            self.normalized_at = self.step_count
            norms = torch._foreach_norm(weights)
            factors = [len(w) ** 0.5 / norm for w, norm in zip(weights, norms, strict=True)]
            torch._foreach_mul_(weights, factors)
        torch._foreach_add_(weights, self._orthogonal(directions), alpha=-group["lr"])
        torch._foreach_mul_(weights, 1 - group["lr"] * group["decay"])

    def _orthogonal(self, directions):
        """The directions with singular values near 1, of their own shapes."""
        matrices = [direction.reshape(len(direction), -1) for direction in directions]
        height = max(len(matrix) for matrix in matrices)
        width = max(matrix.shape[1] for matrix in matrices)
        x = torch.stack(
            [
                F.pad(matrix, (0, width - matrix.shape[1], 0, height - len(matrix)))
                for matrix in matrices
            ]
        ).to(self.dtype)
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        a, b, c = NEWTON_SCHULZ
        for _ in range(3):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return [
            one[: len(matrix), : matrix.shape[1]].reshape(direction.shape).to(direction.dtype)
            for one, matrix, direction in zip(x, matrices, directions, strict=True)
        ]


def optimizers(net, policy, steps):
    """SGD for the stem's bias, other biases and the head; Muon for the filters."""
    sgd = sgd_of_the_rest(net, BIAS_RATE, HEAD_RATE, DECAY, MOMENTUM)
    iteration = {"float32": torch.float32, "mixed_float16": torch.float16}
    dtype = iteration.get(policy, torch.bfloat16)
    return [sgd, BatchedMuon(filters_of(net), FILTER_RATE, FILTER_MOMENTUM, DECAY, steps, dtype)]


def train(train_set, test_set, seed, policy="mixed_bfloat16", log=lambda text: None):
    """One run; arguments and result are those of `airbench.train`."""
    torch.manual_seed(seed)
    device, dtype = train_set[0].device, image_dtype(policy)
    train_data = HiveLoader(*train_set, True, BATCH, dtype)
    test_data = Loader(*test_set, False, dtype=dtype)
    net, context = place(HiveNet(), device, policy)
    if policy == "mixed_float16":
        net.half()
    steps, bias_steps = (
        math.ceil(epochs * len(train_data)) for epochs in (EPOCHS, WHITENING_BIAS_EPOCHS)
    )
    begin = time.perf_counter()
    net.whiten(train_data.first[:WHITENING_IMAGES])
    both, step = optimizers(net, policy, steps), 0
    net.train()
    while step < steps:
        for images, labels in train_data:
            net[0].bias.requires_grad = step < bias_steps
            set_rates(both, step, steps, bias_steps)
            with context:
                logits = net(images)
            loss = F.cross_entropy(
                logits.float(), labels, label_smoothing=LABEL_SMOOTHING, reduction="sum"
            )
            net.zero_grad(set_to_none=True)
            loss.backward()
            for optimizer in both:
                optimizer.step()
            step += 1
            if step == steps:
                break
        log(f"epoch {train_data.epoch}: loss {loss.item() / BATCH:.3f}")
    seconds = time.perf_counter() - begin
    plain, augmented = evaluate(net, test_data, context)
    return {"seconds": seconds, "accuracy": plain, "accuracy_tta": augmented}


@torch.no_grad()
def evaluate(net, data, context):
    """`(accuracy, accuracy with six views of the uncertain images)` in percent."""
    net.eval()
    with context:
        logits = torch.cat([net(images) for images, _ in data]).float()
    confidence = logits.softmax(1).amax(1)
    uncertain = confidence.topk(int(UNCERTAIN * len(logits)), largest=False).indices
    answers = logits.argmax(1)
    plain = int((answers == data.labels).sum())
    for indices in uncertain.split(1000):
        images = data.images[indices]
        padded = F.pad(images, (1,) * 4, "reflect")
        views = torch.cat([images, padded[:, :, :32, :32], padded[:, :, 2:34, 2:34]])
        with context:
            six = net(torch.cat([views, views.flip(-1)]))
        answers[indices] = six.float().view(6, len(images), -1).mean(0).argmax(1)
    count = len(data.labels)
    return 100 * plain / count, 100 * int((answers == data.labels).sum()) / count
