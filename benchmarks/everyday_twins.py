"""What everyday models and their twins by hand share: the loop, its metrics, copies of weights."""

import dataclasses
from collections.abc import Callable

import keras
import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class Case:
    """One model twice.

    Args:
        name: str.
        keras_model: function that makes the Keras model, compiled.
        twin: class of the network by hand; made from a Keras model, whose weights it copies.
        loss: function `(outputs, targets) -> loss` of the loop by hand.
        counters: classes of what the loop counts, in the order of the Keras model's metrics.
        batch: function that makes `(inputs, targets)`; several inputs are a tuple.
        optimizer: function `parameters -> (optimizer, schedule or None)` of the loop.
    """

    name: str
    keras_model: Callable
    twin: type
    loss: Callable
    counters: tuple
    batch: Callable
    optimizer: Callable


class Loop:
    """An ordinary training loop around a network; loss and metrics stay on the device."""

    def __init__(self, case, model):
        self.network, self.loss = case.twin(model), case.loss
        self.optimizer, self.schedule = case.optimizer(self.network.parameters())
        self.counters = [counter() for counter in case.counters]
        self.total = torch.zeros(())

    def train(self, batch, steps):
        x, y = batch
        inputs = x if isinstance(x, tuple) else (x,)
        self.network.train()
        for _ in range(steps):
            outputs = self.network(*inputs)
            loss = self.loss(outputs, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            with torch.no_grad():
                self.total += loss.detach() * len(y)
                for counter in self.counters:
                    counter.add(outputs.detach(), y)


class Accuracy:
    def __init__(self):
        self.hits, self.count = torch.zeros(()), 0

    def add(self, outputs, y):
        self.hits += (outputs.argmax(1) == y).sum()
        self.count += len(y)

    def result(self):
        return self.hits / self.count


class BinaryAccuracy(Accuracy):
    def add(self, outputs, y):
        self.hits += ((outputs > 0.5) == y).sum()
        self.count += len(y)


class TopFive(Accuracy):
    def add(self, outputs, y):
        self.hits += (outputs.topk(5).indices == y[:, None]).sum()
        self.count += len(y)


class AbsoluteError(Accuracy):
    def add(self, outputs, y):
        self.hits += (outputs - y).abs().sum()
        self.count += len(y)


class AUC:
    """Area under the curve by 200 thresholds, as Keras has it."""

    def __init__(self):
        self.buckets = torch.zeros(2, 200)  # predictions of false and true labels

    def add(self, outputs, y):
        bucket = (torch.ceil(outputs.flatten() * 199) - 1).clamp(0, 198).long()
        place = bucket + 200 * y.flatten().long()
        self.buckets.view(-1).index_add_(0, place, torch.ones_like(outputs.flatten()))

    def result(self):
        fp, tp = self.buckets.flip(1).cumsum(1).flip(1)
        x, y = fp / self.buckets[0].sum(), tp / self.buckets[1].sum()
        return ((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum()


@torch.no_grad()
def linear_of(layer):
    """The module of a `Dense`, or of a `Conv1D` that looks at one step."""
    kernel = layer.kernel.value
    kernel = kernel.squeeze(0) if kernel.ndim == 3 else kernel
    module = nn.Linear(*kernel.shape)
    module.weight.copy_(kernel.T)
    module.bias.copy_(layer.bias.value)
    return module


@torch.no_grad()
def norm_of(layer):
    module = nn.LayerNorm(layer.gamma.shape[0], layer.epsilon)
    module.weight.copy_(layer.gamma.value)
    module.bias.copy_(layer.beta.value)
    return module


def embedding_of(layer):
    return nn.Embedding.from_pretrained(layer.embeddings.value.detach().clone(), freeze=False)


def adam(rate):
    """Adam as Keras has it, fused, without a schedule."""
    return lambda parameters: (torch.optim.Adam(parameters, rate, eps=1e-7, fused=True), None)


def difference(case):
    """How far the two are apart, relatively: outputs, loss and metrics of one batch."""
    keras.utils.set_random_seed(0)
    model, (x, y) = case.keras_model(), case.batch()
    loss, *found = model.evaluate(x, y, batch_size=len(y), verbose=0)
    network = case.twin(model).eval()
    with torch.no_grad():
        theirs, ours = model(x, training=False), network(x)
        gives_logits = (ours.ndim > 1 and ours.shape[1] > 1) and bool((theirs >= 0).all())
        outputs = torch.softmax(ours, 1) if gives_logits else ours
        pairs = [(outputs, theirs), (case.loss(ours, y), torch.tensor(loss))]
        for counter, value in zip(case.counters, found, strict=True):
            counter = counter()
            counter.add(ours, y)
            pairs.append((counter.result(), torch.tensor(value)))
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in pairs)
