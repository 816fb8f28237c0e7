"""Who trains and evaluates in `step.py`: Keras's `fit`, a loop by hand, fastai's Learner."""

import keras_dawn

import keras
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class Repeated(DataLoader):
    """The same batch `steps` times, as data for `fit`; it may have a tuple of inputs."""

    def __init__(self, batch, steps):
        tensors = keras.tree.flatten(batch)
        super().__init__(TensorDataset(*tensors), batch_size=len(tensors[0]))
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        return iter([self.batch] * self.steps)


class Keras:
    """A Keras model under `fit` and `evaluate`, accelerated or plain."""

    def __init__(self, build, policy, accelerated, compile=False):
        keras.config.set_dtype_policy(policy)
        self.model = build()
        keras.config.set_dtype_policy("float32")
        self.model.compile(
            keras_dawn.SGD(0.01, momentum=0.9),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        if accelerated:
            keras_dawn.accelerate(self.model, compile=compile)

    def train(self, batch, steps):
        self.model.fit(
            Repeated(batch, steps), shuffle=False, verbose=0, callbacks=[keras_dawn.OneCycle(0.01)]
        )

    def evaluate(self, batch, steps):
        self.model.evaluate(Repeated(batch, steps), verbose=0)


class Hand:
    """A hand-written PyTorch loop."""

    def __init__(self, network, policy, channels_last, fused, compiled=False):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = network.to(memory_format=layout)
        self.network = torch.compile(network) if compiled else network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=fused)
        self.layout, self.half = layout, policy == "mixed_bfloat16"
        self.loss, self.hits = torch.zeros(()), torch.zeros(())

    def _forward(self, x):
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=self.layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.network(x).float()

    def _count(self, loss, outputs, y):
        with torch.no_grad():
            self.loss += loss.detach() * len(y)
            self.hits += (outputs.argmax(1) == y).sum()

    def train(self, batch, steps):
        self.network.train()
        x, y = batch
        for step in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.01 * (1 - step / steps)
            outputs = self._forward(x)
            loss = F.cross_entropy(outputs, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self._count(loss, outputs, y)

    @torch.no_grad()
    def evaluate(self, batch, steps):
        self.network.eval()
        x, y = batch
        for _ in range(steps):
            outputs = self._forward(x)
            self._count(F.cross_entropy(outputs, y), outputs, y)


class Fastai:
    """fastai's Learner with its one-cycle schedule."""

    def __init__(self, network):
        from fastai.vision.all import DataLoaders, Learner, accuracy

        self._loaders = DataLoaders
        self.learner = Learner(
            DataLoaders([], []), network, loss_func=F.cross_entropy, metrics=accuracy, cbs=[]
        )

    def train(self, batch, steps):
        x, y = batch
        repeated = Repeated((x.permute(0, 3, 1, 2).contiguous(), y), steps)
        self.learner.dls = self._loaders(repeated, Repeated(repeated.batch, 0), device="cpu")
        with self.learner.no_bar(), self.learner.no_logging():
            self.learner.fit_one_cycle(1, 0.01)
