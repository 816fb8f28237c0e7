"""airbench94 (Jordan 2024, arXiv:2404.00498) as a plain torch loop: the peer of `record.py`.

Architecture, initialisation, augmentation, optimizer, schedule and test-time augmentation are those
of the paper; the loop is what an engineer writes by hand for the machine: channels_last, data
resident on the device, float16 weights on a GPU, as published; on a processor autocast to bfloat16,
or float32 where it lacks the instructions. Nothing is compiled, as in the publication's plain
variant (its compiled one took 3.09 s for 3.83 s on an A100). `airbench_muon.py` is the variant with
Muon.
"""

import math
import time

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH, EPOCHS, WIDTHS = 1024, 9.9, (64, 256, 256)
LABEL_SMOOTHING, MOMENTUM, BIAS_SCALER = 0.2, 0.85, 64.0
RATE, DECAY = 11.5, 0.0153  # per 1,024 examples, decoupled
WHITENING_BIAS_EPOCHS = 3


class Group(nn.Sequential):
    """Two convolutions with normalisation, the first followed by a maximum."""

    def __init__(self, channels, width):
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width, eps=1e-12, momentum=0.4),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, eps=1e-12, momentum=0.4),
            nn.GELU(),
        )
        for layer in (self[0], self[4]):
            nn.init.dirac_(layer.weight.data[: layer.in_channels])
        for layer in (self[2], self[5]):
            layer.weight.requires_grad = False


class Net(nn.Sequential):
    """The network; `whiten` sets its first layer."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 24, 2, bias=True),
            nn.GELU(),
            Group(24, WIDTHS[0]),
            Group(WIDTHS[0], WIDTHS[1]),
            Group(WIDTHS[1], WIDTHS[2]),
            nn.MaxPool2d(3),
            nn.Flatten(),
            nn.Linear(WIDTHS[2], 10, bias=False),
        )
        self[0].weight.requires_grad = False
        nn.init.zeros_(self[0].bias)

    def forward(self, x):
        return super().forward(x) / 9

    def whiten(self, images, epsilon=5e-4):
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        patches = patches.float()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches), UPLO="U")
        filters = (vectors / torch.sqrt(values + epsilon)).T.reshape(-1, 3, 2, 2)
        self[0].weight.data[:] = torch.cat([filters, -filters])


class Loader:
    """Batches of normalised images on the device: alternating flips, shifts by two pixels.

    `first` are the first 5,000 images, not flipped, for `Net.whiten`.
    """

    def __init__(self, images, labels, train, batch_size=BATCH, dtype=torch.float32):
        images = images.permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        images = ((images - mean) / std).to(dtype)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels, self.train, self.epoch = labels, train, 0
        self.size = batch_size if train else 1000
        self.first = self.images[:5000].clone()
        if train:
            flips = torch.rand(len(images), device=images.device) < 0.5
            self.images = torch.where(flips.view(-1, 1, 1, 1), self.images.flip(-1), self.images)
            self.padded = F.pad(self.images, (2,) * 4, "reflect")

    def crops(self):
        """An epoch's crops of all images."""
        return crop(self.padded, 32)

    def __len__(self):
        return len(self.images) // self.size if self.train else -(-len(self.images) // self.size)

    def __iter__(self):
        images = self.images
        if self.train:
            images = self.crops()
            if self.epoch % 2:
                images = images.flip(-1)
            self.epoch += 1
        images = images.contiguous(memory_format=torch.channels_last)
        count = len(images)
        order = torch.randperm(count, device=images.device)
        for start in range(0, len(self) * self.size, self.size):
            stop = start + self.size
            indices = order[start:stop] if self.train else slice(start, stop)
            yield images[indices], self.labels[indices]


def crop(padded, size):
    """A crop of each image at a random place, all crops of one place together."""
    range_ = padded.shape[-1] - size + 1
    places = torch.randint(range_, (len(padded), 2), device=padded.device)
    cropped = torch.empty((len(padded), 3, size, size), device=padded.device, dtype=padded.dtype)
    for row in range(range_):
        for column in range(range_):
            chosen = (places[:, 0] == row) & (places[:, 1] == column)
            cropped[chosen] = padded[chosen, :, row : row + size, column : column + size]
    return cropped


class Lookahead:
    """Slow weights that follow."""

    def __init__(self, net):
        self.slow = {name: value.clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net, decay):
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                self.slow[name].lerp_(value, 1 - decay)
                value.copy_(self.slow[name])


def optimizer_and_schedule(net, steps):
    """SGD with the decoupled parameterisation, and its triangle."""
    kilostep = 1024 * (1 + 1 / (1 - MOMENTUM))
    rate, decay = RATE / kilostep, DECAY * BATCH / kilostep
    trained = [p for p in net.parameters() if p.requires_grad]
    biases = [p for p in trained if p.ndim == 1 and p is not net[0].bias]  # of normalisation
    others = [p for p in trained if p.ndim > 1 or p is net[0].bias]
    groups = [
        {"params": biases, "lr": rate * BIAS_SCALER, "weight_decay": decay / (rate * BIAS_SCALER)},
        {"params": others, "lr": rate, "weight_decay": decay / rate},
    ]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, fused=True)
    peak = int(0.23 * steps)

    def factor(step):
        if step < peak:
            return 0.2 + 0.8 * step / peak
        return 1.0 - 0.93 * min(1.0, (step - peak) / (steps - peak))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def place(net, device, policy):
    """The network on the device, and the context that its forward pass runs in.

    Args:
        policy: `"mixed_float16"` (weights too, but normalisation's), `"mixed_bfloat16"` (autocast)
            or `"float32"`.
    """
    net.to(device).to(memory_format=torch.channels_last)
    if policy == "mixed_float16":
        net.half()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()
    bfloat16 = policy == "mixed_bfloat16"
    return net, torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)


def image_dtype(policy):
    """What the images of a policy are kept in."""
    return torch.float16 if policy == "mixed_float16" else torch.float32


def smoothed_loss(net, context, images, labels):
    """The cross-entropy of a batch with smoothed labels, summed."""
    with context:
        logits = net(images)
    return F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING, reduction="sum")


def train(train_set, test_set, seed, policy="mixed_bfloat16", log=lambda text: None):
    """One run.

    Args:
        train_set, test_set: `(uint8 images NHWC, int64 labels)` on the device.
        seed: int.
        policy: as for `place`.
        log: callable for a line an epoch.

    Returns:
        dict: `seconds` (whitening and training), `accuracy`, `accuracy_tta` in percent.
    """
    torch.manual_seed(seed)
    device, dtype = train_set[0].device, image_dtype(policy)
    train_data = Loader(*train_set, True, BATCH, dtype)
    test_data = Loader(*test_set, False, dtype=dtype)
    net, context = place(Net(), device, policy)
    steps = math.ceil(EPOCHS * len(train_data))
    begin = time.perf_counter()
    net.whiten(train_data.first)
    optimizer, scheduler = optimizer_and_schedule(net, steps)
    lookahead, step = Lookahead(net), 0
    net.train()
    while step < steps:
        net[0].bias.requires_grad = train_data.epoch < WHITENING_BIAS_EPOCHS
        for images, labels in train_data:
            loss = smoothed_loss(net, context, images, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 5 == 0:
                lookahead.update(net, decay=0.95**5 * (step / steps) ** 3)
            if step == steps:
                lookahead.update(net, decay=1.0)
                break
        log(f"epoch {train_data.epoch}: loss {loss.item() / BATCH:.3f}")
    seconds = time.perf_counter() - begin
    plain, augmented = evaluate(net, test_data, context)
    return {"seconds": seconds, "accuracy": plain, "accuracy_tta": augmented}


@torch.no_grad()
def evaluate(net, data, context):
    """`(accuracy, accuracy with six views)` in percent."""
    net.eval()
    right = right_augmented = 0
    for images, labels in data:
        with context:
            plain = net(images)
            shifted = F.pad(images, (1,) * 4, "reflect")
            corners = shifted[:, :, :32, :32], shifted[:, :, 2:34, 2:34]
            mirrored = [net(x) + net(x.flip(-1)) for x in (images, *corners)]
        views = 0.5 * mirrored[0] + 0.25 * (mirrored[1] + mirrored[2])
        right += int((plain.argmax(1) == labels).sum())
        right_augmented += int((views.argmax(1) == labels).sum())
    count = len(data.labels)
    return 100 * right / count, 100 * right_augmented / count
