"""Labels that a loss does not take are named before an epoch; answers know their photos."""

import keras_dawn
from keras_dawn import plots
from keras_dawn.data import CutMix, MixUp, OneHot
from keras_dawn.data.photos import ImageFolder, ResizingImages, ValidationImages
from keras_dawn.data.transforms import BatchTransform
from keras_dawn.evaluation import collect_answers

import keras
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ONE_HOT = keras.losses.CategoricalCrossentropy(from_logits=True)


def model(loss=SPARSE, outputs=3):
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])
    made.add(keras.layers.Dense(outputs))
    made.compile(keras.optimizers.SGD(0.1), loss)
    return keras_dawn.accelerate(made)


def training(source, *transforms):
    return ResizingImages(source, 8, image_size=16, transforms=list(transforms))


def validation(source, *transforms):
    return ValidationImages(source, 4, image_size=16, transforms=list(transforms))


@pytest.mark.parametrize(
    "loss, outputs, trained, validated, words",
    [
        (SPARSE, 2, (), (), "has 3 classes, and .* has 2 outputs.*classes=3"),
        ("sparse_categorical_crossentropy", 2, (), (), "has 2 outputs"),
        (SPARSE, 3, (OneHot(3),), (), "takes class numbers, and ResizingImages"),
        (ONE_HOT, 3, (), (), r"class numbers: put OneHot\(3\) into its transforms"),
        (ONE_HOT, 3, (OneHot(3), MixUp(0.2)), (), "ValidationImages has class numbers"),
        ("categorical_crossentropy", 3, (OneHot(3),), (), "ValidationImages has class numbers"),
    ],
)
def test_labels_that_the_loss_does_not_take_are_named(
    train, val, loss, outputs, trained, validated, words
):
    with pytest.raises(ValueError, match=words):
        model(loss, outputs).fit(
            training(train, *trained),
            validation_data=validation(val, *validated),
            verbose=0,
            shuffle=False,
        )


def test_labels_that_the_loss_takes_are_trained_on(train, val):
    for loss, transforms in ((SPARSE, ()), (ONE_HOT, (OneHot(3),))):
        logs = (
            model(loss)
            .fit(
                training(train, *transforms),
                validation_data=validation(val, *transforms),
                verbose=0,  # and no warning that Keras does not shuffle what shuffles itself
            )
            .history
        )
        assert np.isfinite(logs["val_loss"]).all()


class Columns(BatchTransform):
    """What a user may write in place of `OneHot`."""

    def __call__(self, images, labels, entropy):
        return images, keras.ops.one_hot(labels, 3)


class OwnLoss(keras.Sequential):
    """Makes columns of the labels itself."""

    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        return super().compute_loss(x, keras.ops.one_hot(y, 3), y_pred, sample_weight, training)


def test_labels_that_become_others_on_the_way_are_not_refused(train):
    histories = [model(ONE_HOT).fit(training(train, Columns()), verbose=0).history]
    own = OwnLoss([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    own.compile(keras.optimizers.SGD(0.1), ONE_HOT)
    histories.append(keras_dawn.accelerate(own).fit(training(train), verbose=0).history)
    assert np.isfinite([history["loss"] for history in histories]).all()


@pytest.mark.parametrize("key", ["class0", 3])
def test_a_weight_of_no_class_is_refused(train, key):
    with pytest.raises(ValueError, match=f"has the key {key!r}; the classes are 0 to 2"):
        model().fit(training(train), class_weight={0: 2.0, key: 1.0}, shuffle=False, verbose=0)


def test_a_source_is_no_data(train, val):
    with pytest.raises(ValueError, match="`fit` needs batches"):
        model().fit(training(train), validation_data=val.subset([0]), shuffle=False, verbose=0)
    with pytest.raises(ValueError, match="show the batches of"):
        plots.show_batch(train)


@pytest.mark.parametrize("mixing", [v2.MixUp(num_classes=3), v2.CutMix(num_classes=3)])
def test_torchvisions_mixing_is_refused(train, mixing):
    with pytest.raises(ValueError, match="takes batches: put OneHot"):
        training(train, OneHot(3), mixing)
    assert training(train, OneHot(3), MixUp(0.2), CutMix(1.0))


def test_answers_know_names_classes_and_colours_without_the_photo_that_cannot_be_read(
    photo_folder, train
):
    (photo_folder / "val" / "class0" / "1.JPEG").write_bytes(b"no photo")
    val = ImageFolder(photo_folder / "val", train.class_names, most_unreadable=0.2)
    data = ValidationImages(val, 4, image_size=16)
    network = model()
    with pytest.warns(match="class0/1.JPEG"):
        answers = collect_answers(network, data)
    assert answers.names == [name for name in val.names() if name != "class0/1.JPEG"]
    assert answers.class_names == train.class_names
    worst = int(answers.worst(1)[0])
    (alone,) = ValidationImages(val.subset([val.names().index(answers.names[worst])]), 1,
                                image_size=16)  # fmt: skip
    np.testing.assert_array_equal(answers.images[worst], alone[0][0])
    figure = plots.plot_worst_losses(answers, count=1)
    title = f"{train.class_names[answers.predicted[worst]]}\nis {answers.names[worst][:6]}"
    assert figure.axes[0].get_title().startswith(title)
    shown = figure.axes[0].images[0].get_array()
    expected = plots.show_batch(answers.images[worst][None], mean=answers.mean, std=answers.std)
    np.testing.assert_array_equal(shown, expected.axes[0].images[0].get_array())
    assert answers.mean == data.transforms.mean_and_std[0] != (0.0,)
    axis = plots.plot_confusion(answers).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == list(train.class_names)


def test_photos_of_apples_phones_are_read_where_their_decoder_is_installed(photo_folder):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    folder = photo_folder / "train" / "class0"
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :48] = 255  # white on the left; turned, at the top
    Image.fromarray(pixels).save(folder / "phone.HEIC", exif=exif.tobytes(), quality=95)
    photos = ImageFolder(photo_folder / "train")
    assert photos.skipped == {} and "class0/phone.HEIC" in photos.names()
    alone = photos.subset([photos.names().index("class0/phone.HEIC")])
    ((images, _),) = ValidationImages(alone, 1, image_size=32)
    rows = images[0].mean((1, 2))
    assert rows[:12].min() > 1 and rows[-12:].max() < -1
