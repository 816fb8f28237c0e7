"""Scripts that end badly, or well, on one of several ranks: `torchrun … endings.py HOW`."""

import os
import signal
import sys
import time

import keras_dawn

import keras
import numpy as np
import torch
from absl import app


class Act(keras.callbacks.Callback):
    def __init__(self, how, rank):
        super().__init__()
        self.how, self.rank = how, rank

    def on_train_batch_begin(self, batch, logs=None):
        if self.rank != 1 or batch != 5:
            return
        if self.how == "kill":
            print("killed at", time.monotonic(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise":
            raise RuntimeError("the coffee machine of rank one is empty")
        if self.how == "exit":
            sys.exit("rank one has had enough")
        if self.how == "usage":
            raise app.UsageError("rank one has a flag of its own")


def main(how):
    torch.set_num_threads(1)
    ranks = keras_dawn.distribute()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    if how == "forgotten":
        return
    keras_dawn.accelerate(model)
    epochs = 2 if how == "well" else 10_000
    x = np.ones((64, 4), "float32")
    model.fit(x, x[:, :1], 8, epochs=epochs, verbose=0, callbacks=[Act(how, ranks.rank)])


if __name__ == "__main__":
    app.run(lambda arguments: main(arguments[1]))
