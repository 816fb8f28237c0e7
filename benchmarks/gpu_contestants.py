"""Who takes training steps on a GPU: ours under `fit`, plain Keras, and loops written by hand."""

import time

import keras_dawn
from keras_dawn.native import cuda_graph
from keras_dawn.native.lowering.rules import batch_normalization

import gpu_checks
import keras
import torch
import torch.nn.functional as F
from absl import flags
from step_contestants import Repeated

FLAGS = flags.FLAGS
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


def device():
    return "cuda" if torch.cuda.is_available() else "cpu"


class Timed(Repeated):
    """A batch as data for `fit`, which looks at the clock when some steps are done.

    A graph is made anew in each `fit`, after three ordinary steps.
    """

    def __init__(self, batch, untimed, steps):
        super().__init__(batch, untimed + steps)
        self.untimed, self.began = untimed, None

    def __iter__(self):
        for step in range(self.steps):
            if step == self.untimed:
                self.began = now()
            yield self.batch


def now():
    """Seconds, when the GPU is done with what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Ours:
    """A Keras model under `fit`: accelerated with or without CUDA graphs, or plain.

    `cudnn` says who computes batch normalisation in float16.
    """

    def __init__(self, build, policy, graphs=True, accelerated=True, cudnn=True):
        keras.config.set_dtype_policy(policy)
        self.model = build()
        keras.config.set_dtype_policy("float32")
        optimizer = keras_dawn.SGD(SGD["lr"], momentum=0.9, weight_decay=1e-4)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
        self.model.compile(optimizer, gpu_checks.LOSS, metrics=["accuracy"])
        if accelerated:
            keras_dawn.accelerate(self.model)
        self.graphs, self.cudnn = graphs, cudnn

    def train(self, batch, steps):
        self._fit(Repeated(batch, steps))

    def turn(self, batch, steps):
        """Seconds that so many steps take, those before the graph is made not counted."""
        data = Timed(batch, 1 if FLAGS.tiny else 8, steps)
        self._fit(data)
        return now() - data.began

    def _fit(self, data):
        before = cuda_graph.WARM_UP_STEPS, batch_normalization.CUDNN_IN_FLOAT16
        batch_normalization.CUDNN_IN_FLOAT16 = self.cudnn
        if not self.graphs:
            cuda_graph.WARM_UP_STEPS = 10**9
        try:
            self.model.fit(
                data, shuffle=False, verbose=0,
                callbacks=[keras_dawn.OneCycle(0.01)],
            )  # fmt: skip
        finally:
            cuda_graph.WARM_UP_STEPS, batch_normalization.CUDNN_IN_FLOAT16 = before


class Hand:
    """A hand-written loop: channels_last, autocast, fused SGD, loss and accuracy on the device."""

    def __init__(self, network, policy, batch, how=None):
        self.network = network.to(device(), memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), fused=True, **SGD)
        self.dtype = getattr(torch, policy.removeprefix("mixed_"))
        self.scaler = torch.amp.GradScaler(device(), enabled=self.dtype == torch.float16)
        self.loss, self.hits = (torch.zeros((), device=device()) for _ in range(2))
        self.forward = self.network
        if how == "compiled":
            self.forward = torch.compile(self.network)
        elif how == "graph" and device() == "cuda":
            sample = self._images(batch[0])
            with torch.autocast("cuda", self.dtype, cache_enabled=False):
                self.forward = torch.cuda.make_graphed_callables(self.network, (sample,))
        self.cache = how != "graph"  # autocast's copies of weights do not outlive a graph

    def turn(self, batch, steps):
        """Seconds that so many steps take."""
        began = now()
        self.train(batch, steps)
        return now() - began

    def _images(self, x):
        return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def train(self, batch, steps):
        x, y = batch
        for step in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = SGD["lr"] * (1 - step / steps)
            with torch.autocast(device(), self.dtype, cache_enabled=self.cache):
                outputs = self.forward(self._images(x))
            loss = F.cross_entropy(outputs.float(), y)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            with torch.no_grad():
                self.loss += loss.detach() * len(y)
                self.hits += (outputs.argmax(1) == y).sum()
