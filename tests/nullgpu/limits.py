"""What a training step may cost the host, by the name of its setting in `settings.py`.

`(launches outside graphs, launches of graphs, MiB reserved)`, as measured with 15 MiB to spare: a
change that needs more says so here. Waits and copies from pageable memory are 0 everywhere. The
graph makes the batches of this package's data sets; torch's loaders put theirs together in two.
"""

LIMITS = {
    "float32": (0, 1, 81),
    "bfloat16": (0, 1, 81),
    "float16": (0, 1, 81),
    "float16, Muon": (0, 1, 81),
    "float16, LARS": (0, 1, 81),
    "float16, Adam": (0, 1, 81),
    "float16, AdamW": (0, 1, 81),
    "float16, RMSprop": (0, 1, 81),
    "Adam": (0, 1, 81),
    "AdamW": (0, 1, 81),
    "RMSprop": (0, 1, 81),
    "Muon": (0, 1, 81),
    "LARS": (0, 1, 81),
    "Keras's SGD": (0, 1, 81),
    "ResNet-50": (2, 1, 317),
    "cifar10_wrn, dawnbench_1gpu": (0, 1, 187),
    "cifar10_wrn, dawnbench_8gpu": (0, 1, 187),
    "cifar10_resnet9, entry": (0, 1, 145),
    "cifar10_concat_pool, entry": (0, 1, 127),
    "cifar10_preact_resnet, notebook": (0, 1, 207),
    "imagenet_resnet50, fastai_8gpu": (0, 1, 297),
    "the record, gpu": (0, 1, 103),
    "the record, smoke": (365, 2, 83),
    "BatchNormalization without gamma": (0, 1, 83),
    "LSTM": (2, 1, 83),
    "LSTM, bfloat16, Adam": (2, 1, 83),
    "ColorJitter": (0, 1, 83),
    "PadCrop, RandomFlip, Cutout": (0, 1, 83),
    "RandomRotation": (0, 1, 83),
    "AlternatingFlip": (0, 1, 83),
    "Resize": (0, 1, 83),
    "MixUp": (0, 1, 83),
    "CutMix": (0, 1, 83),
    "Shuffled": (0, 1, 83),
    "photos": (0, 1, 83),
    "photos, ColorJitter": (0, 1, 83),
    "NumPy arrays": (0, 1, 83),
    "NumPy arrays, ResumeTraining": (0, 1, 83),
    "DataLoader, pinned": (0, 1, 83),
    "DataLoader": (0, 1, 83),
    "LossMemory": (37, 2, 83),
    "top-5": (0, 1, 83),
    "a loss of the user's": (34, 2, 83),
    "OneCycle": (2, 1, 83),
    "ExponentialMovingAverage": (1, 1, 83),
    "LayerStatistics": (0, 1, 83),
    "Lookahead": (1, 1, 83),
    "ResumeTraining": (0, 1, 83),
    "subclassed": (22, 0, 83),
    "TimeToAccuracy": (0, 1, 83),
}

# MiB reserved, with whatever optimizer, precision and data of `product.py`: a step is one graph and
# no launch beside it in all 96 combinations.
MIB_OF_ANY = {"WRN-22-6": 229, "ResNet-50": 397, "the record": 125, "LSTM": 81}
