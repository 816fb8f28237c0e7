import itertools
import signal
from pathlib import Path

import keras_dawn
from keras_dawn.data import DeviceImages
from keras_dawn.distributed import collectives, metrics, session, sharding
from keras_dawn.distributed import ranks as ranks_module
from keras_dawn.distributed.ranks import Ranks
from keras_dawn.distributed.sharded_arrays import ShardedArrays, split_for_validation
from keras_dawn.distributed.sharding import Share, all_served, shared_out
from keras_dawn.foundation import keras_version
from keras_dawn.native import parallel

import keras
import numpy as np
import pytest
import torch


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("images, batch_size", [(1003, 100), (64, 64), (37, 8)])
def test_shares_cover_every_image_once(world_size, images, batch_size):
    order = torch.randperm(images)
    seen = []
    for rank in range(world_size):
        share = Share(rank, world_size)
        for start, stop in share.batches(images, batch_size, False, training=False):
            part = share.of(order[start:stop])
            assert len(part) == share.count(stop - start)
            seen.extend(part.tolist())
    assert sorted(seen) == list(range(images))


def test_weighted_means_of_shares_are_the_mean():
    losses = torch.rand(11, dtype=torch.float64)
    shares = [Share(rank, 4) for rank in range(4)]
    mean = sum(share.of(losses).mean() * share.weight(11) for share in shares) / 4
    assert mean == pytest.approx(float(losses.mean()), abs=1e-15)


def test_a_batch_smaller_than_the_ranks_is_refused_in_training_only():
    share = Share(3, 4)
    with pytest.raises(ValueError, match="drop_last"):
        share.batches(10, 4, False, training=True)
    assert share.batches(10, 4, True, training=True) == [(0, 4), (4, 8)]
    assert share.batches(10, 4, False, training=False) == [(0, 4), (4, 8)]


def test_what_is_trained_on_is_shared_out_after_an_evaluation_too(monkeypatch):
    monkeypatch.setattr(sharding, "current", lambda: Ranks(1, 2))
    monkeypatch.setattr(sharding, "gather", lambda value: [value, value])
    data = DeviceImages(np.zeros((10, 8, 8, 3), "uint8"), np.arange(10), 4)

    def served():
        return [labels.tolist() for _, labels in data]

    with sharding.shared_out(data, training=True):
        with sharding.shared_out(data, training=False):
            assert served() == [[1, 3], [5, 7], [9]]
        assert served() == [[1, 3], [5, 7], [9]]
    assert served() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_validation_split_takes_the_last_part_like_keras():
    arrays = (np.arange(10), {"a": np.arange(10) * 2})
    train, validation = split_for_validation(arrays, 0.25)
    assert train[0].tolist() == list(range(7))
    assert validation[1]["a"].tolist() == [14, 16, 18]
    with pytest.raises(ValueError, match="empty"):
        split_for_validation(arrays, 0.01 - 0.01)


@pytest.fixture
def no_messages(monkeypatch):
    monkeypatch.setattr("keras_dawn.distributed.sharded_arrays.broadcast", lambda tensors: None)


def test_sharded_arrays_are_shuffled_anew_each_epoch_in_one_order(no_messages):
    x = np.arange(20)
    torch.manual_seed(0)
    ranks = []
    for rank in range(2):
        torch.manual_seed(0)
        ranks.append(ShardedArrays((x, x), 8, Share(rank, 2), shuffle=True, training=True))
    epochs = []
    for _ in range(2):
        batches = [list(data) for data in ranks]
        epochs.append(
            [np.concatenate([a[0], b[0]]).tolist() for a, b in zip(*batches, strict=True)]
        )
        assert sorted(itertools.chain(*epochs[-1])) == list(range(20))
    assert epochs[0] != epochs[1]
    assert len(ranks[0]) == 3


def test_arrays_may_run_backwards_and_be_read_only(no_messages):
    x = np.arange(6.0)
    x.flags.writeable = False
    data = ShardedArrays((x[::-1], x), 4, Share(), shuffle=False, training=False)
    assert [(a.tolist(), b.tolist()) for a, b in data] == [
        ([5, 4, 3, 2], [0, 1, 2, 3]), ([1, 0], [4, 5]),
    ]  # fmt: skip


def test_arrays_of_different_lengths_are_refused(no_messages):
    with pytest.raises(ValueError, match=r"equal lengths.*\[3, 4\]"):
        ShardedArrays((np.ones(3), np.ones(4)), 2, Share(), shuffle=False, training=True)


@pytest.fixture
def first_of_two(monkeypatch):
    monkeypatch.setattr(ranks_module, "_current", ranks_module.Ranks(0, 2, backend="gloo"))
    monkeypatch.setattr("keras_dawn.distributed.sharding.gather", lambda value: [value, value])


def test_data_serves_after_an_evaluation_what_it_served_before(no_messages, first_of_two):
    x = np.arange(9)
    data = ShardedArrays((x, x), 4, Share(), shuffle=False, training=True)

    def served():
        return torch.cat([batch[0] for batch in data]).tolist()

    with all_served(data):
        assert served() == list(range(9))
    with pytest.raises(ValueError, match="too few"), shared_out(data, training=True):
        pass
    assert served() == list(range(9))
    with shared_out(data, training=False):
        of_a_rank = [0, 2, 4, 6, 8]
        assert served() == of_a_rank
        with shared_out(data, training=False), all_served(data):
            assert served() == list(range(9))
        assert served() == of_a_rank
    assert served() == list(range(9))


def test_a_number_of_a_part_counts_as_the_part_weighs():
    def absolute(targets, outputs):
        return keras.ops.mean(keras.ops.abs(targets - outputs))

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(metrics=[absolute, "mae"])
    targets, outputs = torch.arange(5.0)[:, None], torch.zeros(5, 1)
    weights = []
    with metrics.Weighed(model, lambda: weights[-1]) as weighed:  # before they are built
        model.compute_metrics(None, targets, outputs)
        model.reset_metrics()
        weighed.follow()
        for part, weight in ((slice(3), 6 / 5), (slice(3, 5), 4 / 5)):
            weights.append(weight)
            found = model.compute_metrics(None, targets[part], outputs[part])
        assert [float(found[name]) for name in ("absolute", "mae")] == pytest.approx([2, 2])
    model.reset_metrics()
    for part in (slice(3), slice(3, 5)):
        found = model.compute_metrics(None, targets[part], outputs[part])
    assert float(found["absolute"]) == pytest.approx((1 + 3.5) / 2)


def test_another_call_takes_the_compression_and_refuses_another_backend(first_of_two):
    assert keras_dawn.distribute(gradient_compression="float16").gradient_compression == "float16"
    assert keras_dawn.distribute("gloo").gradient_compression == "float16"
    with pytest.raises(ValueError, match="over gloo"):
        keras_dawn.distribute("nccl")


def test_without_torchrun_distribute_does_nothing(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = keras_dawn.distribute()
    assert (ranks.rank, ranks.world_size, ranks.backend, ranks.is_main) == (0, 1, None, True)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not keras_dawn.distribute().several
    with keras_dawn.distributed.main_first():
        pass
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    "arguments, environment, words",
    [
        ({"backend": "mpi"}, {}, "nccl"),
        ({"gradient_compression": "int8"}, {}, "bfloat16"),
        ({}, {"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK"),
        ({"backend": "nccl"}, {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1",
                               "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "no GPU of its own"),
    ],
)  # fmt: skip
def test_bad_arguments_and_environments_say_what_to_do(arguments, environment, words, monkeypatch):
    for name in ranks_module._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=words):
        keras_dawn.distribute(**arguments)


def test_a_keras_that_wraps_models_itself_is_refused(dense_model, monkeypatch):
    model = dense_model("sgd")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert not keras_version.wraps_models_itself()
    assert parallel.why_not(model) is None
    monkeypatch.setattr(keras_version, "VERSION", (3, 16))
    assert "keras<3.16" in parallel.why_not(model)


def test_what_lies_in_the_hosts_memory_goes_through_the_hosts_group(monkeypatch):
    """NCCL, which is the default group on GPUs, takes nothing from there."""
    monkeypatch.setattr(ranks_module, "_current", ranks_module.Ranks(1, 2, control="the hosts"))
    sent = []
    for name in ("broadcast", "all_reduce"):
        record = lambda flat, *_, group, **__: sent.append((flat.device.type, group))  # noqa: E731
        monkeypatch.setattr(torch.distributed, name, record)
    tensors = [torch.ones(3), torch.ones(2, device="meta")]
    for send in (collectives.broadcast, collectives.sum_over_ranks, collectives.average_over_ranks):
        send(tensors)
    collectives.least_over_ranks([1, 2])
    assert sent == 3 * [("cpu", "the hosts"), ("meta", None)] + [("cpu", "the hosts")]


def test_gradient_accumulation_is_refused(dense_model, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    model = dense_model(keras.optimizers.SGD(gradient_accumulation_steps=2))
    assert "gradient_accumulation_steps" in parallel.why_not(model)


def test_linear_scaling_multiplies_the_rate_by_the_ratio_of_batch_sizes():
    scale = keras_dawn.distributed.scale_learning_rate
    assert scale(0.1, 8192, 256) == pytest.approx(3.2)
    with pytest.raises(ValueError, match="batch_size"):
        scale(0.1, 0, 256)


def test_the_step_time_model_adds_what_the_backward_pass_does_not_hide():
    model = keras_dawn.distributed.StepTimeModel(
        compute_seconds=0.3, gradient_bytes=1e9, bytes_per_second=1e9, overlap=0.5,
        latency_seconds=0.0,
    )  # fmt: skip
    assert model.step_seconds(1) == 0.3
    assert model.communication_seconds(4) == pytest.approx(2 * 3 / 4)
    assert model.step_seconds(4) == pytest.approx(0.3 + 1.5 - 0.1)
    assert model.efficiency(4) == pytest.approx(0.3 / 1.7)


def test_synchronized_layers_train_on_one_process_as_before():
    model = keras_dawn.models.WideResNet(10, 1, input_shape=(8, 8, 3))
    keras_dawn.distributed.synchronize_batch_normalization(model)
    keras.utils.set_random_seed(1)
    weights = [w.copy() for w in model.get_weights()]
    x, y = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32"), np.arange(8)
    results = []
    for synchronized in (True, False):
        model.set_weights(weights)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = synchronized
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        keras_dawn.accelerate(model)
        results.append(model.fit(x, y, epochs=2, verbose=0, shuffle=False).history["loss"])
    assert results[0] == results[1]


# Epochs, pixels and images a GPU until 93 % (imagenet18, 8 GPUs a machine), and seconds measured.
IMAGENET_18 = {
    4: ([(6, 128, 256), (7, 128, 512), (15, 224, 224), (1, 288, 128)], 1782),
    8: ([(6, 128, 128), (8, 128, 256), (3, 224, 128), (12, 224, 224), (1, 288, 128)], 1133),
    16: ([(6, 128, 64), (10, 128, 128), (3, 224, 64), (18, 224, 192), (2, 288, 128)], 1085),
}
IMAGES_PER_SECOND = {128: 1693, 224: 515, 288: 301}  # of one V100


@pytest.mark.parametrize("machines", IMAGENET_18)
def test_the_page_states_what_the_model_predicts_for_the_imagenet_runs(machines):
    phases, measured = IMAGENET_18[machines]
    compute = predicted = 0.0
    for epochs, pixels, batch in phases:
        model = keras_dawn.distributed.StepTimeModel(
            batch / IMAGES_PER_SECOND[pixels], gradient_bytes=51e6, bytes_per_second=1.25e9
        )
        steps = epochs * 1_281_167 / (batch * 8 * machines)
        compute += steps * model.compute_seconds
        predicted += steps * model.step_seconds(machines)
    page = Path(keras_dawn.distributed.__file__).with_name("README.md").read_text(encoding="utf-8")
    row = f"| {machines} | {measured:,} s | {compute:,.0f} s | {predicted:,.0f} s |"
    assert row in page
    assert compute <= predicted < measured


def test_a_signal_that_the_ranks_could_not_agree_on_is_sent_again():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with session._StopRequests():
            signal.raise_signal(signal.SIGTERM)
            assert not came
        assert came == [signal.SIGTERM]
        with session._StopRequests() as requests:
            signal.raise_signal(signal.SIGTERM)
            requests.agreed = True
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
