"""The ordinary training loop around a twin by hand, what it counts, and whether it is a twin."""

import keras
import numpy as np
import torch
from everyday_twins import DEVICE
from step_contestants import Repeated


def on_device(batch):
    return keras.tree.map_structure(lambda tensor: tensor.to(DEVICE), batch)


class Loop:
    """An ordinary training loop around a network; loss and metrics stay on the device.

    Args:
        case: `Case`.
        model: the Keras model whose weights the network begins with.
        half: bool; bfloat16 by autocast.
        memory_format: that of the network's weights, and so of images inside.
    """

    def __init__(self, case, model, half=False, memory_format=None):
        self.network, self.case = case.twin(model).to(DEVICE), case
        if memory_format is not None:
            self.network = self.network.to(memory_format=memory_format)
        self.half = half
        self.optimizer, self.schedule = case.optimizer(self.network.parameters())
        self.counters = {name: counter() for name, counter in case.counters.items()}
        self.penalty = getattr(self.network, "penalty", None)
        self.total, self.samples = torch.zeros((), device=DEVICE), 0

    def outputs(self, x):
        inputs = x if isinstance(x, tuple) else (x,)
        named = {}
        if isinstance(x, dict):
            inputs, named = (), x
        if not self.half:
            return self.network(*inputs, **named)
        with torch.autocast(DEVICE, torch.bfloat16):
            outputs = self.network(*inputs, **named)
        return keras.tree.map_structure(torch.Tensor.float, outputs)

    def count(self, outputs, y):
        """Adds loss and metrics of a batch; returns the loss."""
        loss = self.case.loss(outputs, y)
        if self.penalty is not None:
            loss = loss + self.penalty()
        with torch.no_grad():
            self.total += loss.detach() * len(y)
            self.samples += len(y)
            for counter in self.counters.values():
                counter.add(outputs, y)
        return loss

    def logs(self):
        """Loss and metrics of all that was counted, as floats."""
        found = {name: float(counter.result()) for name, counter in self.counters.items()}
        return {"loss": float(self.total / self.samples), **found}

    def train(self, batch, steps):
        x, y = batch
        self.network.train()
        for _ in range(steps):
            loss = self.count(self.outputs(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()

    @torch.inference_mode()
    def predict(self, batch, steps):
        x, _ = batch
        self.network.eval()
        found = [self.case.prediction(self.outputs(x)) for _ in range(steps)]
        return torch.cat(found).cpu().numpy()


class Accuracy:
    def __init__(self):
        self.hits, self.count = torch.zeros((), device=DEVICE), 0

    def add(self, outputs, y):
        self.hits += (outputs.argmax(-1) == y).sum()
        self.count += y.numel()

    def result(self):
        return self.hits / self.count


class BinaryAccuracy(Accuracy):
    def add(self, outputs, y):
        self.hits += ((outputs > 0.5) == y).sum()
        self.count += y.numel()


class LogitAccuracy(BinaryAccuracy):
    def add(self, outputs, y):
        super().add(torch.sigmoid(outputs), y)


class TopFive(Accuracy):
    def add(self, outputs, y):
        self.hits += (outputs.topk(5).indices == y[:, None]).sum()
        self.count += len(y)


class AbsoluteError(Accuracy):
    def add(self, outputs, y):
        self.hits += (outputs - y).abs().sum()
        self.count += y.numel()


class AUC:
    """Area under the curve by 200 thresholds, as Keras has it."""

    def __init__(self):
        self.buckets = torch.zeros(2, 200, device=DEVICE)  # predictions of false and true labels

    def add(self, outputs, y):
        bucket = (torch.ceil(outputs.flatten() * 199) - 1).clamp(0, 198).long()
        place = bucket + 200 * y.flatten().long()
        self.buckets.view(-1).index_add_(0, place, torch.ones_like(outputs.flatten()))

    def result(self):
        fp, tp = self.buckets.flip(1).cumsum(1).flip(1)
        x, y = fp / self.buckets[0].sum(), tp / self.buckets[1].sum()
        return ((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum()


def difference(case, steps=3):
    """How far the two are apart, relatively: `(in evaluation, in training or None)`.

    In evaluation outputs, loss and metrics of one batch; in training loss and metrics over a few
    steps, where no random numbers are drawn. There torch's Adam, which adds epsilon at another
    place than Keras's, moves weights with hardly any gradient otherwise: up to 1e-3.
    """
    keras.utils.set_random_seed(0)
    model, batch = case.keras_model(), on_device(case.batch())
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        loop = Loop(case, model)
        pairs = [(loop.predict(batch, 1), model.predict(Repeated(batch, 1), verbose=0))]
        expected = model.evaluate(Repeated(batch, 1), verbose=0, return_dict=True)
        evaluation = _furthest(pairs + _by_name(_evaluated(loop, batch), expected))
        if case.by_chance:
            return evaluation, None
        loop = Loop(case, model)
        loop.train(batch, steps)
        history = model.fit(Repeated(batch, steps), shuffle=False, verbose=0).history
        expected = {name: values[0] for name, values in history.items()}
        return evaluation, _furthest(_by_name(loop.logs(), expected))


def _furthest(pairs):
    return max(
        float(np.abs(np.subtract(a, b)).max() / np.abs(b).max().clip(1e-6)) for a, b in pairs
    )


def _by_name(found, expected):
    if found.keys() != expected.keys():
        raise ValueError(f"The loop counts {sorted(found)}, the model {sorted(expected)}.")
    return [(found[name], expected[name]) for name in found]


@torch.no_grad()
def _evaluated(loop, batch):
    """The logs of one batch in evaluation, of a loop that has not counted yet."""
    x, y = batch
    loop.network.eval()
    loop.count(loop.outputs(x), y)
    return loop.logs()
