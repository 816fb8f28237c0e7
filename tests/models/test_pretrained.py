import hashlib

import keras_dawn
from keras_dawn.models import ResNet, ResNet18, pretrained
from keras_dawn.models.pretrained import (
    FILES,
    load_pretrained,
    load_state_dict,
    pretrained_file,
)

import numpy as np
import pytest
import torch
import torchvision


def theirs(depth, **settings):
    """torchvision's network with random weights in every layer."""
    torch.manual_seed(depth)
    made = getattr(torchvision.models, f"resnet{depth}")(weights=None, **settings)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return made.eval()


def saved(network, path):
    """A file named as torchvision's are; returns its name."""
    torch.save(network.state_dict(), path / "new.pth")
    digits = hashlib.sha256((path / "new.pth").read_bytes()).hexdigest()[:8]
    name = f"resnet18-{digits}.pth"
    (path / "new.pth").rename(path / name)
    return name


@pytest.fixture(scope="module")
def model():
    return ResNet18()


@pytest.mark.parametrize(
    "depth", [18, 50, *(pytest.param(d, marks=pytest.mark.slow) for d in (34, 101))]
)
def test_a_state_dict_gives_torchvisions_outputs(depth):
    network, model = theirs(depth), ResNet(depth)
    assert load_state_dict(model, network.state_dict()) == []
    images = torch.randn(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images.permute(0, 3, 1, 2))
        found = keras_dawn.to_torch(model)(images.to(model.weights[0].value.device)).cpu()
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_parameters_and_half_precision_are_taken_as_they_are(model):
    network = theirs(18)
    halves = {
        name: value.bfloat16() if value.is_floating_point() else value
        for name, value in (*network.named_parameters(), *network.named_buffers())
    }
    assert load_state_dict(model, halves) == []
    kernel, expected = model.get_layer("conv1").kernel.value.detach().cpu(), halves["conv1.weight"]
    assert torch.equal(kernel, expected.detach().float().permute(2, 3, 1, 0))


def test_files_are_those_that_torchvision_names():
    for depth, names in FILES.items():
        kind = getattr(torchvision.models, f"ResNet{depth}_Weights")
        urls = [w.url for w in sorted(kind, key=lambda w: w.name)]
        assert urls == [pretrained.URL + name for name in names]
        assert kind.DEFAULT.url == urls[-1]


def test_weights_are_downloaded_once_and_kept(model, tmp_path, monkeypatch):
    network, shop, cache = theirs(18), tmp_path / "shop", tmp_path / "cache"
    shop.mkdir()
    name = saved(network, shop)
    monkeypatch.setitem(FILES, 18, (name,))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cache))
    monkeypatch.setattr(pretrained_file, "__defaults__", (None, shop.as_uri() + "/"))
    expected = network.state_dict()["conv1.weight"].numpy().transpose(2, 3, 1, 0)
    for _ in range(2):
        model.get_layer("conv1").set_weights([0 * expected])
        load_pretrained(model, "imagenet", 18)
        np.testing.assert_array_equal(model.get_layer("conv1").get_weights()[0], expected)
        (shop / name).unlink(missing_ok=True)  # the second time there is no network
    assert [path.name for path in (cache / "checkpoints").iterdir()] == [name]


def test_without_a_network_the_error_says_where_to_put_the_file(tmp_path):
    with pytest.raises(OSError, match=r"cannot be downloaded.*put it at .*resnet18-f37072fd.pth"):
        pretrained_file("resnet18-f37072fd.pth", tmp_path, (tmp_path / "nowhere").as_uri() + "/")
    assert not list(tmp_path.iterdir())


def test_another_file_than_the_named_one_is_refused(tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "resnet18-f37072fd.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="another file"):
        pretrained_file("resnet18-f37072fd.pth", tmp_path / "cache", shop.as_uri() + "/")
    with pytest.raises(ValueError, match="is damaged.*Delete it"):
        pretrained_file("resnet18-f37072fd.pth", shop)


def test_a_path_is_taken_and_another_number_of_classes_has_a_new_head(model, tmp_path):
    network = theirs(18)
    path = tmp_path / saved(network, tmp_path)
    load_pretrained(model, str(path), 18)
    ten = ResNet18(classes=10, weights=path)
    assert ten.output_shape == (None, 10)
    for name in ("conv1", "layer4_1_conv2", "layer3_0_downsample_0"):
        expected = model.get_layer(name).get_weights()[0]
        np.testing.assert_array_equal(ten.get_layer(name).get_weights()[0], expected)
    model.save_weights(tmp_path / "keras.weights.h5")
    model.get_layer("conv1").set_weights([np.zeros((7, 7, 3, 64))])
    load_pretrained(model, tmp_path / "keras.weights.h5", 18)
    expected = ten.get_layer("conv1").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("conv1").get_weights()[0], expected)


@pytest.mark.parametrize("around", ["nothing", "checkpoint", "parallel", "compiled", "both"])
def test_what_checkpoints_put_around_a_state_dict_is_taken_off(model, tmp_path, around):
    network = theirs(18)
    if around in ("parallel", "both"):
        network = torch.nn.DataParallel(network)
    state = network.state_dict()
    if around == "compiled":
        state = {f"_orig_mod.{name}": value for name, value in state.items()}
    if around == "both":  # compiled, then parallel
        state = {name.replace("module.", "module._orig_mod."): state[name] for name in state}
    expected = next(value for name, value in state.items() if name.endswith("conv1.weight"))
    torch.save({"epoch": 3, "state_dict": state} if around == "checkpoint" else state,
               tmp_path / "theirs.pth")  # fmt: skip
    model.get_layer("conv1").set_weights([np.zeros((7, 7, 3, 64))])
    load_pretrained(model, tmp_path / "theirs.pth", 18)
    found = model.get_layer("conv1").get_weights()[0]
    np.testing.assert_array_equal(found, expected.numpy().transpose(2, 3, 1, 0))


def test_a_file_with_a_whole_module_and_a_misspelt_name_say_what_to_do(model, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"save `model.state_dict\(\)`"):
        load_pretrained(model, tmp_path / "module.pth", 18)
    with pytest.raises(ValueError, match="imagenet, imagenet_v1 or the path"):
        load_pretrained(model, "imagnet", 18)


def test_weights_of_another_network_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="not the weights of resnet18"):
        load_state_dict(model, theirs(34).state_dict())
    state = theirs(18).state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    with pytest.raises(ValueError, match="of another shape.*conv1.weight"):
        load_state_dict(model, state)
    del state["conv1.weight"]
    with pytest.raises(ValueError, match=r"missing \['conv1.weight'\]"):
        load_state_dict(model, state)
    with pytest.raises(FileNotFoundError, match="no file"):
        load_pretrained(model, tmp_path / "none.pth", 18)
    with pytest.raises(ValueError, match="without blur_pool"):
        ResNet18(weights="imagenet", blur_pool=True)


def test_of_a_last_layer_of_other_inputs_nothing_is_taken():
    model, state = ResNet18(classes=10), theirs(18, num_classes=10).state_dict()
    state |= {"fc.weight": torch.ones(10, 1024), "fc.bias": torch.ones(10)}
    assert load_state_dict(model, state) == ["fc.bias", "fc.weight"]
    assert not model.get_layer("predictions").bias.numpy().any()


def test_files_that_hold_no_weights_are_named(tmp_path):
    torch.save(theirs(18).state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for content in (b"", b"no weights " * 9, whole[: len(whole) // 2]):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(ValueError, match="bad.pth (is|holds more than tensors, or is) damaged"):
            load_pretrained(None, tmp_path / "bad.pth", 18)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="list.pth holds no dict of weights, but list"):
        load_pretrained(None, tmp_path / "list.pth", 18)


@pytest.mark.parametrize("error", [PermissionError, MemoryError])
def test_a_file_that_cannot_be_read_is_not_called_damaged(error, tmp_path, monkeypatch):
    def load(*given, **settings):
        raise error("of the machine")

    (tmp_path / "theirs.pth").write_bytes(b"weights")
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(error, match="of the machine"):
        load_pretrained(None, tmp_path / "theirs.pth", 18)
