"""Tables of ways: what they choose, and what is said of those that are none."""

import itertools
import json
from dataclasses import replace

from keras_dawn.convolutions import (
    Table,
    WayRule,
    choice,
    processor,
    table_in_use,
    table_named,
    use_table,
)
from keras_dawn.convolutions.choice import way_of
from keras_dawn.convolutions.processor import KINDS, kind_of_processor
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.way import STAGES

import pytest
import torch

SIZES = Sizes(64, 512, 512, (4, 4), (3, 3), padding=(1, 1))


@pytest.fixture(autouse=True)
def no_table(monkeypatch):
    monkeypatch.setattr(choice._InUse, "table", None)


def rule(**bounds):
    return Table("test", (WayRule("forward", "float32", "windows", bounds),))


@pytest.mark.parametrize(
    "bounds, way",
    [
        ({}, "windows"),
        ({"batch": (64, 64)}, "windows"),
        ({"batch": (65, None)}, "torch"),
        ({"pixels": (None, 15)}, "torch"),
        ({"kernel": (9, 9), "stride": (1, 1), "channels": (512, None)}, "windows"),
        ({"work": (None, 2415)}, "torch"),  # 64 · 16 · 9 · 512 · 512 / 1e6 = 2415.9
        ({"work": (None, 2416)}, "windows"),
        ({"axes": (2, 2)}, "windows"),
        ({"axes": (1, 1)}, "torch"),
        ({"threads": (None, 2)}, "windows"),
        ({"threads": (None, 1)}, "torch"),
    ],
)
def test_the_first_rule_within_whose_bounds_a_convolution_is_says_the_way(bounds, way):
    assert way_of("forward", SIZES, "float32", 2, rule(**bounds)) == way
    assert way_of("forward", SIZES, "bfloat16", 2, rule(**bounds)) == "torch"
    assert way_of("to_input", SIZES, "float32", 2, rule(**bounds)) == "torch"


def test_a_way_that_does_not_take_a_shape_is_passed_over():
    table = Table(
        "test", tuple(WayRule("forward", "float32", w, {}) for w in ("product", "windows"))
    )
    assert way_of("forward", SIZES, "float32", 1, table) == "windows"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_processor_has_a_table(kind):
    table = table_named(kind)
    assert table.name == kind
    assert (kind == "other") == (not table.rules) or kind in ("avx512", "avx2")


def test_small_convolutions_stay_with_torch():
    for kind in KINDS:
        for precision in ("float32", "bfloat16"):
            for stage in ("forward", "to_input", "to_weight"):
                for channels, batch in ((8, 2), (16, 64), (512, 1)):
                    sizes = Sizes(batch, channels, channels, (8, 8), (3, 3), padding=(1, 1))
                    assert way_of(stage, sizes, precision, 2, table_named(kind)) == "torch"


def test_a_table_is_used_until_another_one_is(tmp_path):
    assert table_in_use().name == kind_of_processor()
    assert use_table("torch") is table_in_use()
    assert table_in_use().identity == "torch"
    path = tmp_path / "mine.json"
    rules = [vars(one) for one in rule(batch=(1, None)).rules]
    path.write_text(json.dumps({"name": "mine", "rules": rules}), encoding="utf-8")
    assert use_table(str(path)).name == "mine"
    assert use_table().name == kind_of_processor()


def test_tables_that_choose_otherwise_have_other_identities():
    one, other = rule(batch=(1, None)), rule(batch=(2, None))
    assert one.identity != other.identity
    assert one.identity == rule(batch=[1, None]).identity
    assert one.identity.startswith("test ")


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "is no table of ways"),
        ('{"rules": []}', "is no table of ways"),
        ('{"name": "x", "rules": [{"stage": "forward"}]}', "is no table of ways"),
        (["sideways", "float32", "windows", {}], "stage 'sideways'"),
        (["forward", "float64", "windows", {}], "precision 'float64'"),
        (["forward", "float32", "fastest", {}], "way 'fastest'"),
        (["forward", "float32", "transposed", {}], "not for forward"),
        (["forward", "float32", "transposed product", {}], "not for forward"),
        (["forward", "float32", "windows", {"speed": [1, 2]}], "bounds of speed"),
        (["to_weight", "bfloat16", "winograd", {}], "winograd.*not for bfloat16"),
        (["forward", "float32", "windows", {"batch": [8]}], "a pair of numbers"),
        (["forward", "float32", "windows", {"batch": ["8", None]}], "a pair of numbers"),
        (["forward", "float32", "windows", []], "a pair of numbers"),
        ("\xff", "is no table of ways"),  # no UTF-8
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, words):
    path = tmp_path / "table.json"
    if isinstance(content, list):
        names = "stage", "precision", "way", "bounds"
        rules = [dict(zip(names, content, strict=True))]
        content = json.dumps({"name": "x", "rules": rules})
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=words) as caught:
        use_table(str(path))
    assert str(path) in str(caught.value)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="Expected one of amx, .*, got 'fast'"):
        use_table("fast")
    with pytest.raises(ValueError, match="the name or the path of a table of ways, got 3"):
        use_table(3)


@pytest.mark.parametrize(
    "name, amx, capability, limit, kind",
    [
        ("Intel Xeon", True, "AVX512", None, "amx"),
        ("Intel Xeon", True, "AVX512", "AVX512_CORE_BF16", "avx512"),
        ("Intel Xeon", True, "AVX512", "AVX512_CORE_AMX", "amx"),
        ("Intel Xeon", True, "AVX512", "AVX2", "avx2"),
        ("Intel Xeon", True, "AVX512", "AVX10_1_512", "avx512"),
        ("Intel Xeon", True, "AVX512", "", "amx"),
        ("Intel Xeon", True, "AVX512", "NO_SUCH_NAME", "amx"),
        ("Intel Xeon", True, "AVX2", None, "avx2"),
        ("Intel Xeon", True, "AVX2", "AVX512_CORE_AMX", "avx2"),
        ("Intel Xeon", False, "AVX512", None, "avx512"),
        ("Intel Xeon", False, "DEFAULT", None, "other"),
        ("AMD EPYC", False, "AVX512", None, "avx512_amd"),
        ("AMD EPYC", False, "AVX512", "AVX512_CORE", "avx512_amd"),
        ("AMD EPYC", False, "AVX512", "AVX2", "other"),
        ("AMD EPYC", False, "AVX2", None, "other"),
        ("Hygon C86", False, "AVX512", None, "other"),
        (None, False, "SVE256", None, "other"),
    ],
)
def test_the_kind_is_what_torch_and_onednn_use(monkeypatch, name, amx, capability, limit, kind):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, "amx_bf16": amx})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(variable, raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert processor.kind_of_processor.__wrapped__() == kind


@pytest.mark.parametrize("group, way", [(1, "torch"), (4, "merged groups"), (32, "torch")])
def test_groups_of_few_channels_are_merged_where_a_processor_has_tiles(group, way):
    sizes = Sizes(64, 256, 256, (14, 14), (3, 3), padding=(1, 1), groups=256 // group)
    assert way_of("forward", sizes, "bfloat16", 2, table_named("amx")) == way
    assert way_of("forward", sizes, "float32", 2, table_named("amx")) == "torch"
    assert way_of("forward", sizes, "bfloat16", 2, table_named("avx512")) == "torch"


@pytest.mark.parametrize(
    "other",
    [
        {"image": (1, 16), "kernel": (1, 9), "padding": (0, 4)},
        {"image": (1, 64), "kernel": (1, 9), "stride": (1, 4), "padding": (0, 4)},
        {"image": (1, 64), "kernel": (1, 1), "stride": (1, 4), "padding": (0, 0)},
        {"image": (3, 3), "kernel": (3, 1), "padding": (1, 0)},
        {"padding": (4, 4), "dilation": (4, 4)},
    ],
)
def test_what_is_like_nothing_that_was_measured_is_torchs(other):
    sizes = replace(SIZES, **other)
    for kind, precision, threads in itertools.product(KINDS, ("float32", "bfloat16"), (1, 2)):
        table = table_named(kind)
        ways = {way_of(stage, sizes, precision, threads, table) for stage in STAGES}
        assert ways == {"torch"}, (kind, precision, threads)
