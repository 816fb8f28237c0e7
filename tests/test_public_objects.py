"""What is public and can be built is also read: `repr` and `print` of it fit a screen."""

import datetime
import importlib
import inspect

import keras_dawn
from keras_dawn import Phase
from keras_dawn.data import DeviceImages, LossMemory, PadCrop, RandomFlip
from keras_dawn.data.digits import load_digits
from keras_dawn.data.photos import CenterCrop, ImageFolder, split
from keras_dawn.dawnbench.records import RunFolder
from keras_dawn.evaluation import Answers

import keras
import numpy as np
import pytest
from PIL import Image

ROOMS = (
    *("", ".callbacks", ".convolutions", ".data", ".data.photos", ".dawnbench", ".distributed"),
    *(".evaluation", ".models", ".optimizers", ".plans", ".plots", ".resume", ".schedules"),
)
LINES, COLUMNS = 40, 100
TODAY = datetime.date(2026, 1, 1)
MANY = 5000

# What classes are called with that need arguments; sizes are as large as people have.
ARGUMENTS = {
    "Answers": lambda: (np.full((MANY, 9), 1 / 9), np.zeros(MANY, int), np.zeros((MANY, 8, 8, 3))),
    "Augmented": lambda: (device_images(),),
    "Balanced": lambda: (np.arange(MANY) % 9,),
    "Benchmark": lambda: ("mine", "accuracy", 94.0, ("epoch", "hours", "accuracy")),
    "Curve": lambda: (lambda progress: progress, "a line"),
    "CutMix": tuple,
    "Cutout": lambda: (8,),
    "DeviceImages": lambda: (np.zeros((MANY, 8, 8, 3), "uint8"), np.zeros(MANY, int), 64),
    "Entry": lambda: (
        "me",
        "me@example.org",
        "torch",
        "net",
        "1 x V100",
        ("a", "b", "c", "d"),
        TODAY,
    ),
    "EvictionNotice": lambda: ("aws",),
    "Hardest": lambda: (LossMemory(MANY), 0.5),
    "ImageFolder": lambda: (photos(),),
    "LayerStatistics": lambda: (np.zeros((MANY, 3)), np.zeros(MANY)),
    "LossMemory": lambda: (MANY,),
    "OneCycleSchedule": lambda: (0.1, 1000),
    "OneHot": lambda: (1000,),
    "PadCrop": lambda: (4,),
    "ParameterSchedule": lambda: ({"learning_rate": keras_dawn.schedules.cosine(1, 0)},),
    "PerImage": lambda: (lambda image: image,),
    "Phase": lambda: (3, 128, 64, (0.1, 1.0)),
    "PhaseCost": lambda: (1000, 1e9, 1e15, 20.0),
    "PhotoTable": lambda: ({"path": ["a/0.png"] * 500, "label": ["a"] * 500}, photos()),
    "Price": lambda: (3.06, "on-demand", "a page", TODAY),
    "RandomRotation": lambda: (10,),
    "RangeTest": lambda: ("learning_rate", [0.123456789] * MANY, [2.3] * MANY, [2.3] * MANY),
    "Resize": lambda: ({0: 24, 2: 32},),
    "ResizingImages": lambda: (ImageFolder(photos()), 2),
    "ResumeTraining": lambda: ("checkpoints",),
    "WayRule": lambda: ("forward", "float32", "winograd", {"batch": (1, 64)}),
    "Scale": lambda: (0.5,),
    "Snapshots": lambda: ([0.5, 1.0],),
    "SpotCost": lambda: (3.0, 25.0, 0.5),
    "StepTimeModel": lambda: (0.1, 1e8, 1e9),
    "StochasticWeightAveraging": lambda: (device_images(),),
    "Table": lambda: ("amx", keras_dawn.convolutions.table_named("amx").rules),
    "TimeToAccuracy": lambda: (94.0,),
    "TrainingPlan": lambda: ([Phase(1, 128, 64, (0.1, 1.0))] * 4,),
    "ValidationImages": lambda: (ImageFolder(photos()), 2),
    "WinogradConv2D": lambda: (8, 3),
}
SETTINGS = {
    "ResizingImages": {"image_size": 64, "transforms": [PadCrop(4), RandomFlip()]},
    "ValidationImages": {"image_size": 64, "transforms": [CenterCrop(1.0)]},
}
# Built from files or packages that are large or absent.
ELSEWHERE = {"ImageNetTar", "PreparedImages", "TfdsImages"}
FOLDER = {}


@pytest.fixture(autouse=True)
def folder(tmp_path):
    FOLDER["photos"] = tmp_path
    yield
    FOLDER.clear()


def photos():
    for name in ("a", "b"):
        (FOLDER["photos"] / name).mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(FOLDER["photos"] / name / "0.png")
    return FOLDER["photos"]


def device_images():
    return DeviceImages(np.zeros((MANY, 8, 8, 3), "uint8"), np.zeros(MANY, int), 64)


def public():
    """`(name, object)` of what every room names as public, but for functions and modules."""
    parameters = []
    for room in ROOMS:
        module = importlib.import_module(f"keras_dawn{room}")
        for name in module.__all__:
            found = getattr(module, name)
            if not (inspect.isroutine(found) or inspect.ismodule(found)):
                place = f"{room[1:] or 'keras_dawn'}.{name}"
                parameters.append(pytest.param(name, found, id=place))
    return parameters


def fits_a_screen(built):
    for text in (repr(built), str(built)):
        lines = text.splitlines()
        wrapped = sum(1 + len(line) // COLUMNS for line in lines)
        assert text and wrapped <= LINES, f"{wrapped} lines: {text[:300]} …"


@pytest.mark.parametrize("name, found", public())
def test_what_is_public_fits_a_screen(name, found):
    if not inspect.isclass(found):
        fits_a_screen(found)
        return
    if name in ELSEWHERE or issubclass(found, BaseException):
        return
    arguments = ARGUMENTS[name]() if name in ARGUMENTS else ()
    fits_a_screen(found(*arguments, **SETTINGS.get(name, {})))


def test_photos_are_there_without_an_import_of_their_own(monkeypatch):
    monkeypatch.delattr(keras_dawn.data, "photos")  # as before this file has imported them
    assert keras_dawn.data.photos.ImageFolder is ImageFolder
    with pytest.raises(AttributeError, match="no attribute 'videos'"):
        keras_dawn.data.videos  # noqa: B018


def test_what_functions_give_fits_a_screen():
    model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8) for _ in range(60))])
    model.compile("sgd", "mse")
    fits_a_screen(load_digits())
    fits_a_screen(keras_dawn.explain(model))
    fits_a_screen(keras_dawn.distributed.current())


def test_what_says_nothing_of_itself_is_said():
    assert "5,000 images, batches of 64" in repr(device_images())
    answers = Answers(*ARGUMENTS["Answers"]())
    assert repr(answers) == "Answers(5,000 images, 9 classes, 100.00 % right)"
    images = keras_dawn.data.photos.ResizingImages(
        ImageFolder(photos()), 2, **SETTINGS["ResizingImages"]
    )
    assert "2 photos, batches of 2, 64 px" in repr(images)
    part, _ = split(ImageFolder(photos()), 0.5, stratified=False)
    whole = f"<ImageFolder {FOLDER['photos']}: 2 photos, 2 classes>"
    assert repr(part) == f"<Subset of {whole}: 1 photo, 2 classes>"
    assert repr(RunFolder(FOLDER["photos"] / "run")) == f"<RunFolder {FOLDER['photos'] / 'run'}>"
