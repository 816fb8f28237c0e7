"""The ordinary training loop around a twin by hand, what it counts, and whether it is a twin."""

import keras
import numpy as np
import torch
from everyday_half import HalfCopy
from everyday_twins import DEVICE
from everyday_variants import variants_of
from step_contestants import Repeated

AUTOCAST, COPY = "autocast", "bfloat16 copy"


def on_device(batch):
    return keras.tree.map_structure(lambda tensor: tensor.to(DEVICE), batch)


class Loop:
    """An ordinary training loop around a network; loss and metrics stay on the device.

    Args:
        case: `Case`.
        model: the Keras model whose weights the network begins with.
        half: how it computes in bfloat16, by `AUTOCAST` or a `COPY`, or `None`.
        arguments: dict, which form of the twin it is (`everyday_variants.variants_of`).
    """

    def __init__(self, case, model, half=None, arguments=None):
        self.network, self.case = case.twin(model, **(arguments or {})).to(DEVICE), case
        optimized = getattr(self.network, "optimized", self.network.parameters)
        self.optimizer, self.schedule = case.optimizer(optimized())
        self.penalty = getattr(self.network, "penalty", None)
        self.autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=half == AUTOCAST)
        self.half = half
        self.copy = HalfCopy(self.network) if half == COPY else None
        self.compute = self.copy or self.network  # the function
        self.computes = self.copy.network if self.copy else self.network  # the module
        self.counters = {name: counter() for name, counter in case.counters.items()}
        self.total, self.samples = torch.zeros((), device=DEVICE), 0

    def outputs(self, x):
        if isinstance(x, dict):
            outputs = self.compute(**x)
        else:
            outputs = self.compute(*x) if isinstance(x, tuple) else self.compute(x)
        return keras.tree.map_structure(_float, outputs) if self.half else outputs

    def count(self, outputs, y):
        """Adds loss and metrics of a batch; returns the loss."""
        loss = self.case.loss(outputs, y)
        if self.penalty is not None:
            loss = loss + self.penalty()
        with torch.no_grad():
            self.total.add_(loss.detach(), alpha=len(y))
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
        self.computes.train()
        for _ in range(steps):
            if self.copy:
                self.copy.refresh()
            if self.half == AUTOCAST:
                with self.autocast:
                    outputs = self.outputs(x)
            else:
                outputs = self.outputs(x)
            loss = self.count(outputs, y)
            self.optimizer.zero_grad()
            loss.backward()
            if self.copy:
                self.copy.hand_gradients_back()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()

    @torch.inference_mode()
    def predict(self, batch, steps):
        x, _ = batch
        self.computes.eval()
        if self.copy:
            self.copy.refresh()
        with self.autocast:  # once, so that each weight is cast once
            found = [self.case.prediction(self.outputs(x)) for _ in range(steps)]
        return torch.cat(found).cpu().numpy()


def _float(tensor):
    return None if tensor is None else tensor.float()


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


class LogitAccuracy(Accuracy):
    def add(self, outputs, y):
        self.hits += ((outputs > 0) == y).sum()
        self.count += y.numel()


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
    steps, where no random numbers are drawn; each of the form that is furthest. In training torch's
    Adam, which adds epsilon at another place than Keras's, moves weights with hardly any gradient
    otherwise: up to 1e-3.
    """
    keras.utils.set_random_seed(0)
    model, batch = case.keras_model(), on_device(case.batch())
    forms = variants_of(case).values()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        predicted = model.predict(Repeated(batch, 1), verbose=0)
        expected = model.evaluate(Repeated(batch, 1), verbose=0, return_dict=True)
        pairs = []
        for arguments in forms:
            loop = Loop(case, model, arguments=arguments)
            pairs.append((loop.predict(batch, 1), predicted))
            pairs += _by_name(_evaluated(loop, batch), expected)
        if case.by_chance:
            return _furthest(pairs), None
        found = []
        for arguments in forms:
            loop = Loop(case, model, arguments=arguments)
            loop.train(batch, steps)
            found.append(loop.logs())
        history = model.fit(Repeated(batch, steps), shuffle=False, verbose=0).history
        expected = {name: values[0] for name, values in history.items()}
        return _furthest(pairs), _furthest(p for logs in found for p in _by_name(logs, expected))


def _furthest(pairs):
    each = [np.abs(np.subtract(a, b)).max() / np.abs(b).max().clip(1e-6) for a, b in pairs]
    return float(np.max(each))  # not a number, if one of them is not


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
