"""airbench94's variant with Muon (Jordan 2024, https://github.com/KellerJordan/cifar10-airbench).

The published settings as a plain torch loop: the peer of `record.py` on a GPU. Network, loader and
evaluation are those of `airbench.py`; the head is scaled otherwise. The publication compiles the
network and Muon's iteration (2.59 s on an A100); nothing is compiled here.
"""

import time

import torch
from airbench import (
    WHITENING_BIAS_EPOCHS,
    Loader,
    Net,
    evaluate,
    image_dtype,
    place,
    smoothed_loss,
)
from torch import nn

BATCH, EPOCHS = 2000, 8
FILTER_RATE, FILTER_MOMENTUM = 0.24, 0.6
BIAS_RATE, HEAD_RATE, MOMENTUM = 0.053, 0.67, 0.85
DECAY = 2e-6 * BATCH  # of biases and the head, in the first step
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class MuonNet(Net):
    """`Net` with a head of unit deviation, over the number of features in place of 9.

    Its stem's bias begins as torch's does, not at 0.
    """

    def __init__(self):
        super().__init__()
        self[0].reset_parameters()
        head = self[7]
        head.weight.data /= head.weight.data.std()

    def forward(self, x):
        return nn.Sequential.forward(self, x) / self[7].in_features


def zeropower(gradient, dtype, steps=3):
    """The gradient `(outputs, inputs)` with singular values near 1."""
    a, b, c = NEWTON_SCHULZ
    x = gradient.to(dtype)
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum of filters of fixed norm."""

    def __init__(self, filters, lr, momentum, dtype):
        super().__init__(filters, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if "buffer" not in state:
                    state["buffer"] = torch.zeros_like(weight)
                buffer = state["buffer"]
                buffer.mul_(group["momentum"]).add_(weight.grad)
                direction = weight.grad.add(buffer, alpha=group["momentum"])
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                update = zeropower(direction.reshape(len(weight), -1), self.dtype)
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"])


def filters_of(net):
    """The filters that are trained."""
    return [p for p in net.parameters() if p.requires_grad and p.ndim == 4]


def sgd_of_the_rest(net, bias_rate, head_rate, decay, momentum):
    """SGD for the stem's bias, other biases and the head, decayed by `decay` in the first step."""
    trained = [p for p in net.parameters() if p.requires_grad]
    biases = [p for p in trained if p.ndim == 1 and p is not net[0].bias]
    rates = (([net[0].bias], bias_rate), (biases, bias_rate), ([net[7].weight], head_rate))
    return torch.optim.SGD(
        [{"params": params, "lr": rate, "weight_decay": decay / rate} for params, rate in rates],
        momentum=momentum,
        nesterov=True,
        fused=True,
    )


def optimizers(net, policy):
    """SGD for the stem's bias, other biases and the head; Muon for the filters."""
    sgd = sgd_of_the_rest(net, BIAS_RATE, HEAD_RATE, DECAY, MOMENTUM)
    iteration = torch.float32 if policy == "float32" else torch.bfloat16
    return [sgd, Muon(filters_of(net), FILTER_RATE, FILTER_MOMENTUM, iteration)]


def set_rates(both, step, steps, bias_steps):
    """Lines from the first rates to 0: of the stem's bias in its steps, of all others in all."""
    for optimizer in both:
        for group in optimizer.param_groups:
            group.setdefault("first_lr", group["lr"])
            group["lr"] = group["first_lr"] * (1 - step / steps)
    stem = both[0].param_groups[0]
    stem["lr"] = stem["first_lr"] * max(0.0, 1 - step / bias_steps)


def train(train_set, test_set, seed, policy="mixed_bfloat16", log=lambda text: None):
    """One run; arguments and result are those of `airbench.train`."""
    torch.manual_seed(seed)
    device, dtype = train_set[0].device, image_dtype(policy)
    train_data = Loader(*train_set, True, BATCH, dtype)
    test_data = Loader(*test_set, False, dtype=dtype)
    net, context = place(MuonNet(), device, policy)
    steps, bias_steps = (n * len(train_data) for n in (EPOCHS, WHITENING_BIAS_EPOCHS))
    begin = time.perf_counter()
    net.whiten(train_data.first)
    both, step = optimizers(net, policy), 0
    net.train()
    for epoch in range(EPOCHS):
        net[0].bias.requires_grad = epoch < WHITENING_BIAS_EPOCHS
        for images, labels in train_data:
            set_rates(both, step, steps, bias_steps)
            loss = smoothed_loss(net, context, images, labels)
            net.zero_grad(set_to_none=True)
            loss.backward()
            for optimizer in both:
                optimizer.step()
            step += 1
        log(f"epoch {train_data.epoch}: loss {loss.item() / BATCH:.3f}")
    seconds = time.perf_counter() - begin
    plain, augmented = evaluate(net, test_data, context)
    return {"seconds": seconds, "accuracy": plain, "accuracy_tta": augmented}
