"""One label means one class, in training and in validation."""

from types import SimpleNamespace

import keras_dawn
from keras_dawn.data.labels import check_same_classes
from keras_dawn.data.photos import ImageFolder, ResizingImages, ValidationImages

import keras
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three classes to train on, of which the validation folder lacks the first."""
    root = tmp_path_factory.mktemp("photos")
    for part, names in (("train", "abc"), ("val", "bc")):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (16, 16)).save(root / part / name / f"{number}.png")
    return ImageFolder(root / "train"), root / "val"


@pytest.mark.parametrize("way", ["fit", "plan"])
def test_a_validation_folder_with_other_classes_is_refused_and_then_right(folders, way):
    train, val = folders
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    if way == "fit":
        keras_dawn.accelerate(model)

    def fit(source):
        training = ResizingImages(train, 2, image_size=16)
        validation = ValidationImages(source, 2, image_size=16)
        if way == "fit":
            return model.fit(training, validation_data=validation, shuffle=False, verbose=0)
        plan = [keras_dawn.Phase(1, 16, 2, (0.1, 0.0))]
        return keras_dawn.fit_plan(
            model, plan, lambda _: training, validation_data=lambda _: validation, verbose=0
        )

    with pytest.raises(ValueError, match="Label 0 is 'a' in the training data and 'b'"):
        fit(ImageFolder(val))
    assert fit(ImageFolder(val, train.class_names)).history["val_loss"]


def test_photos_that_are_not_served_as_batches_are_refused(folders):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"ImageFolder says where photos are.*ResizingImages\("):
        keras_dawn.accelerate(model).fit(folders[0])


def test_only_labels_that_mean_something_else_are_refused():
    def of(*names):
        return SimpleNamespace(class_names=names)

    for validation in (of("a", "b"), of("a"), None, ([1], [0]), SimpleNamespace(class_names=None)):
        check_same_classes(of("a", "b"), validation)
    check_same_classes(None, of("a"))
    for names in (("b",), ("a", "c"), ("a", "b", "c")):
        with pytest.raises(ValueError, match="class_names="):
            check_same_classes(of("a", "b"), of(*names))
