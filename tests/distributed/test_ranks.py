"""Two and four gloo processes against one process, on the same scenarios."""

import os

import pytest
import scenarios
import torch
from comparing import largest_difference, run

IN_FOUR = [
    "no_batch_norm", "no_batch_norm_float64", "wide_resnet_float64", "arrays", "top5",
    "numbers_of_a_batch",
]  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    results = run(2, folder, list(scenarios.SCENARIOS))
    results["folder"] = folder
    return results


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return run(4, tmp_path_factory.mktemp("four"), IN_FOUR)


@pytest.fixture(scope="module")
def one():
    """Results of a single process, computed when they are asked for."""
    found = {}

    def result(name):
        if name not in found:
            found[name] = scenarios.SCENARIOS[name]()
        return found[name]

    return result


TOLERANCE = {
    "no_batch_norm": 1e-6,
    "no_batch_norm_float64": 1e-10,
    "wide_resnet": 1e-6,
    "wide_resnet_float64": 1e-10,
    "application_float64": 1e-9,  # rounding grows in it, to 1.5e-10 on an AMD EPYC
    "arrays": 1e-6,
    "lowered_again": 1e-5,
    "weighed_and_balanced": 1e-5,
    "masked_words": 1e-10,
    "ignored_words": 1e-10,
    "an_output_without_a_loss": 1e-10,
    "numbers_of_a_batch": 1e-10,
    "masked_and_normalised": 1e-10,
    "steps_that_return_metrics": 1e-10,
    "sizes_of_a_part": 1e-10,
}
CASES = [(2, name) for name in TOLERANCE] + [(4, name) for name in TOLERANCE if name in IN_FOUR]


@pytest.mark.parametrize("processes, name", CASES)
def test_weights_equal_those_of_one_process(processes, name, one, two, four):
    for result in (two if processes == 2 else four)[name]:
        assert largest_difference(result, one(name)) < TOLERANCE[name]
        if name in ("wide_resnet", "lowered_again"):
            continue  # in float32 a gradient at a ReLU's corner goes either way
        # Velocities are sums of gradients, which need not be of order 1.
        scale = max(float(v.abs().max()) for v in one(name)["optimizer"] if v.numel())
        difference = largest_difference(result, one(name), "optimizer")
        assert difference < TOLERANCE[name] * max(scale, 1.0)
    if "start" in one(name):
        moved = {"weights": one(name)["start"]}
        assert largest_difference(one(name), moved) > 1000 * TOLERANCE[name]


@pytest.mark.parametrize("processes, name", [case for case in CASES if case[1] != "lowered_again"])
def test_histories_equal_those_of_one_process(processes, name, one, two, four):
    for result in (two if processes == 2 else four)[name]:
        for key, values in one(name)["history"].items():
            assert result["history"][key] == pytest.approx(values, abs=1e-6), key


@pytest.mark.parametrize("processes", [2, 4])
def test_1003_samples_are_evaluated_exactly(processes, one, two, four):
    results = two if processes == 2 else four
    for result in results["arrays"]:
        assert result["result"] == pytest.approx(one("arrays")["result"], abs=1e-6)
    model = keras_model_with(results["top5"][0]["weights"])
    for result in results["top5"]:
        assert largest_difference(result, results["top5"][0]) == 0
        assert result["result"] == pytest.approx(model, abs=1e-6)
        counted = [result["counted"][name] for name in ("top1", "top5", "images")]
        assert counted == pytest.approx([*model[1:], 1003], abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["masked_words", "ignored_words", "numbers_of_a_batch", "steps_that_return_metrics",
     "sizes_of_a_part"],
)  # fmt: skip
def test_it_is_evaluated_as_in_one_process(name, one, two):
    for result in two[name]:
        assert result["result"] == pytest.approx(one(name)["result"], rel=1e-12)


def keras_model_with(weights):
    """Plain Keras's loss, accuracy and top-5 on the 1,003 images, with these weights."""

    import keras

    model = scenarios.wide_resnet_10()
    model.compile(
        "sgd",
        scenarios.LOSS,
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(5)],
    )
    model.set_weights([w.numpy() for w in weights])
    return model.evaluate(scenarios.images(1003, batch_size=100), verbose=0)


def test_callbacks_see_all_of_the_data_that_a_fit_has_shared_out(one, two):
    expected = one("callbacks_on_shared_data")
    for result in two["callbacks_on_shared_data"]:
        for seen, same in zip(result["seen"], expected["seen"], strict=True):
            assert seen == pytest.approx(same, abs=1e-5)
        assert largest_difference(result, expected) < 1e-5


def test_weights_that_a_callback_lets_drift_apart_are_named_once(two):
    for result in two["rates_of_each_ranks_own"]:
        (said,) = result["said"]
        assert "differs between the ranks" in said


def test_local_statistics_are_averaged_over_the_ranks(two):
    first, second = two["local_statistics"]
    assert largest_difference(first, second) == 0


@pytest.mark.parametrize("dtype, tolerance", [("float16", 5e-3), ("bfloat16", 3e-2)])
def test_compressed_gradients_are_near_and_equal_on_all_ranks(dtype, tolerance, one, two):
    first, second = two[f"compressed_{dtype}"]
    assert largest_difference(first, second) == 0
    assert 0 < largest_difference(first, one("no_batch_norm")) < tolerance


@pytest.mark.parametrize("name", ["range_test", "range_test_of_an_own_loss"])
def test_a_range_test_finds_the_losses_of_whole_batches(name, one, two):
    expected = one(name)["losses"]
    assert len(expected) == (20 if name == "range_test" else 6)
    for result in two[name]:
        assert result["losses"] == pytest.approx(expected, abs=1e-5)


def test_moving_averages_stay_each_ranks_own_where_a_layer_is_frozen_within_an_epoch(two):
    assert two["frozen_within_an_epoch"] == [[[1.0] * 4], [[2.0] * 4]]


def test_an_inf_on_one_rank_skips_the_step_on_all(two):
    first, second = two["inf_on_one_rank"]
    assert first["steps"] == second["steps"] == 3  # of 4
    assert first["scale"] == second["scale"] == 256.0
    assert largest_difference(first, second) == 0
    assert all(torch.isfinite(w).all() for w in first["weights"])


def test_a_loss_is_scaled_as_in_one_process_in_half_precision(one, two):
    name = "scales_of_half_precision"
    assert [each["scales"][0] for each in one(name)] == [2.0**17, 2.0**16, 2.0**16]
    for expected, first, second in zip(one(name), *two[name], strict=True):
        assert expected["scales"] == first["scales"] == second["scales"]
        assert largest_difference(first, second) == 0
        assert first["history"] == second["history"] == pytest.approx(expected["history"], 1e-3)
        assert largest_difference(first, expected) < 2e-3


def test_a_stop_asked_for_by_one_rank_acts_on_the_same_step(two):
    first, second = two["stop_on_one_rank"]
    assert first["steps"] == second["steps"] == [4, 8]


def test_early_stopping_ends_all_ranks(two):
    assert [result["steps"] for result in two["early_stopping"]] == [4, 4]


@pytest.mark.parametrize("way", ["arrays", "images", "split"])
def test_a_validation_with_fewer_images_than_ranks_is_the_same_on_all(way, one, two):
    expected = one("validated_on_one_image")[way]
    assert min(expected["history"]["learning_rate"]) < 1e-3  # the plateau was acted upon
    for result in two["validated_on_one_image"]:
        assert result[way]["first"] == pytest.approx(expected["first"], abs=1e-6)
        assert list(result[way]["history"]) == list(expected["history"])
        for name, values in expected["history"].items():
            assert result[way]["history"][name] == pytest.approx(values, abs=1e-5), name
        assert largest_difference(result[way], expected) < 1e-6


def test_a_signal_to_one_rank_interrupts_all_on_the_same_step(two):
    assert [result["interrupted"] for result in two["signal_on_one_rank"]] == [True, True]
    assert [result["steps"] for result in two["signal_on_one_rank"]] == [4, 4]


def test_ranks_draw_different_random_numbers_reproducibly(two, tmp_path):
    first, second = two["random_streams"]
    assert not torch.equal(first["drawn"], second["drawn"])
    (seed, draws), (other_seed, other_draws) = first["generator"], second["generator"]
    assert seed != other_seed and draws == other_draws == 4  # lowered anew after two
    assert "2 over gloo, DistributedDataParallel" in first["explained"]
    again = run(2, tmp_path, ["random_streams"])
    assert torch.equal(second["drawn"], again["random_streams"][1]["drawn"])


def test_a_job_that_was_cut_off_ends_as_an_unbroken_one(two):
    for result in two["resumed"]:
        assert largest_difference(result["whole"], result["again"]) == 0
        assert largest_difference(result["whole"], result["again"], "optimizer") == 0
        assert result["whole"]["history"] == result["again"]["history"]


def test_rank_0_alone_saves_and_the_file_predicts_what_the_model_does(two):
    import keras_dawn  # noqa: F401

    import keras

    first, second = two["saving"]
    folder = two["folder"]
    assert {"1.weights.h5", "2.weights.h5", "log.csv", "model.keras"} <= set(os.listdir(folder))
    assert len((folder / "log.csv").read_text(encoding="utf-8").splitlines()) == 3
    loaded = keras.models.load_model(folder / "model.keras")
    predicted = torch.as_tensor(loaded.predict(torch.ones(5, 16, 16, 3), verbose=0))
    for result in (first, second):
        assert torch.allclose(predicted, result["predicted"], atol=1e-6)


@pytest.mark.parametrize(
    "attempt, words",
    [
        ("generator", "DistributedSampler"),
        ("own_metric", "sums_over_ranks"),
        ("summed_loss", "reduction"),
        ("class_weight", "sample_weight"),
        ("last_batch", "drop_last"),
        ("different_plans", "on rank 1"),
        ("backup", "ModelCheckpoint"),
        ("other_arrays", "seed what shuffles or splits it"),
        ("other_order", "seed what shuffles or splits it"),
        ("other_sampler", "rank 1 of 2"),
        ("drawn_phase", "DeviceImages"),
    ],
)
def test_what_does_not_work_on_several_ranks_is_refused(attempt, words, two):
    for result in two["refusals"]:
        assert result[attempt] is not None
        assert words in result[attempt]
