"""fastai's side of `versus_fastai.py`: its own best practice, by its own clock."""

import time

import torch
from fastai.vision.all import (
    Callback,
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    RandomResizedCrop,
    accuracy,
    aug_transforms,
    imagenet_stats,
    set_seed,
    xresnet50,
)
from torchvision.models import resnet18, resnet50

NETWORKS = {
    "resnet18": lambda classes: resnet18(num_classes=classes),
    "resnet50": lambda classes: resnet50(num_classes=classes),
    "xresnet50": lambda classes: xresnet50(n_out=classes),
}


class TrainingTime(Callback):
    """Training seconds and the accuracy of a judge after every epoch, which is in neither clock.

    Args:
        judge: callable from a torch module to the accuracy in percent.
    """

    def __init__(self, judge):
        super().__init__()
        self.judge, self.seconds, self.epochs = judge, 0.0, []

    def before_train(self):
        self.began = time.perf_counter()

    def after_train(self):
        self.seconds += time.perf_counter() - self.began

    def after_epoch(self):
        was = self.learn.model.training
        self.learn.model.eval()
        self.epochs.append((self.seconds, self.judge(self.learn.model)))
        self.learn.model.train(was)


def train(folder, network, settings, seed, judge):
    """One training by `fit_one_cycle` with fastai's default transforms, at its finder's rate.

    Args:
        folder: path with `train/` and `val/`.
        network: name in `NETWORKS`.
        settings: dict of `size` (pixels), `batch_size`, `epochs`, `workers`.
        seed: int.
        judge: as for `TrainingTime`.

    Returns:
        dict: `epochs` (training seconds and accuracy in percent), the highest `rate`, and what
        fastai's own validation gave last, `own_accuracy`, in percent. Looking for the rate is not
        in its clock.
    """
    set_seed(seed, reproducible=True)
    size = settings["size"]
    loaders = ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="val",
        item_tfms=RandomResizedCrop(size, min_scale=0.35),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)],
        bs=settings["batch_size"],
        num_workers=settings["workers"],
    )
    learner = Learner(
        loaders,
        NETWORKS[network](len(loaders.vocab)),
        loss_func=CrossEntropyLossFlat(),
        metrics=accuracy,
    )
    clock = TrainingTime(judge)
    with learner.no_bar(), learner.no_logging():
        rate = float(learner.lr_find(show_plot=False).valley)
        learner.fit_one_cycle(settings["epochs"], rate, cbs=clock)
    own = 100 * float(learner.recorder.values[-1][-1])
    return {"epochs": clock.epochs, "rate": rate, "own_accuracy": own}


@torch.no_grad()
def accuracy_of(module, batches):
    """The accuracy in percent of a torch module on `(images, labels)`, channels last."""
    right = seen = 0
    for images, labels in batches:
        scores = module(images.permute(0, 3, 1, 2).contiguous())
        right += int((scores.argmax(1) == labels).sum())
        seen += len(labels)
    return 100 * right / seen
