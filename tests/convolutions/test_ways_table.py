"""Rules that are drawn from times."""

import json
from dataclasses import astuple

from keras_dawn.convolutions import Table, WayRule
from keras_dawn.convolutions.choice import way_of
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.way import STAGES

import ways_table


def shape(batch, size, channels):
    return Sizes(batch, channels, channels, (size, size), (3, 3), padding=(1, 1))


def measured(seconds_of_windows):
    """Results as the benchmark's JSON gives them back; torch's own takes a second."""
    found = []
    for batch in (8, 64):
        for size in (2, 4, 8, 16):
            for channels in (32, 64, 128):
                sizes = shape(batch, size, channels)
                if sizes.batch * size * size * channels > 2**18:
                    continue  # too large to be measured
                seconds = {"torch": 1.0, "windows": seconds_of_windows(sizes), "turned": 0.97}
                stages = {stage: dict(seconds) for stage in STAGES}
                result = {"precision": "float32", "threads": 2, "sizes": astuple(sizes)}
                found.append({**result, "seconds": stages})
    return json.loads(json.dumps(found))


def table_from(results):
    return Table("drawn", tuple(WayRule(**rule) for rule in ways_table.rules(results)))


def way(table, sizes, threads=2):
    return way_of("forward", sizes, "float32", threads, table)


def small(sizes):
    return 0.5 if sizes.image[0] <= 4 else 1.5


def test_a_rule_holds_where_a_way_was_faster_and_nowhere_else():
    table = table_from(measured(small))
    for result in measured(small):
        sizes = ways_table.sizes_of(result)
        assert way(table, sizes) == ("windows" if sizes.image[0] <= 4 else "torch"), sizes
    assert way(table, shape(64, 3, 128)) == "windows"  # between sizes that were measured
    assert way(table, shape(64, 5, 128)) == "torch"


def test_a_rule_goes_on_to_larger_batches_but_not_to_smaller_ones_nor_to_more_threads():
    table = table_from(measured(small))
    assert way(table, shape(1024, 4, 128)) == "windows"
    assert way(table, shape(4, 4, 128)) == "torch"
    assert way(table, shape(64, 4, 128), threads=4) == "windows"
    assert way(table, shape(64, 4, 128), threads=5) == "torch"


def test_more_work_than_was_measured_under_a_rule_is_torchs():
    table = table_from(measured(lambda sizes: 0.5))
    assert way(table, shape(8, 16, 128)) == way(table, shape(64, 4, 128)) == "windows"
    assert way(table, shape(64, 16, 128)) == "torch"


def test_gains_within_the_noise_make_no_rule():
    assert table_from(measured(lambda sizes: 0.95)).rules == ()
    assert table_from([]).rules == ()
