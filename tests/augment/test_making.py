from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import polars as pl
import pytest

from moola.augment import AUGMENTATIONS, SynthesisPlan, can_synthesise, make_windows, synthesise, windows_of
from moola.core.bars import price_problems
from moola.core.features import relative_features
from moola.errors import InvalidData, WrongUsage
from moola.options.option_fields import AugmentationName
from tests.augment.sources_made import all_time, cut_table, planted, scaled

TABLE = planted(16)
CUT, BARS = cut_table()
ALL = tuple(AUGMENTATIONS)


def made_of(table=TABLE, names=("mirror", "warp", "rescale", "transplant"), n=4, seed=7):
    return make_windows(table, SynthesisPlan(names, (), n, seed))


def all_ways(seed=7):
    return make_windows(CUT, SynthesisPlan(ALL, (), 4, seed), BARS, all_time(CUT))


def test_the_names_of_the_option_are_those_of_the_table():
    assert set(get_args(AugmentationName)) == set(AUGMENTATIONS)


def test_every_window_obeys_the_bar_rules_and_names_its_parent():
    made = all_ways()
    table = made.table
    assert price_problems(table.ohlc.reshape(-1, 4)) == []
    np.testing.assert_array_equal(table.features, relative_features(table.ohlc))
    assert len(set(table.window_id)) == len(table) > 20
    for name, parent, row, chain, label in zip(
        table.window_id, table.extra["parent"], made.parent_row, made.chains, table.label, strict=True
    ):
        assert parent == CUT.window_id[row]
        assert name.startswith(f"{parent}~{'+'.join(chain)}.")
        assert label == CUT.label[row]
    assert max(Counter(made.parent_row.tolist()).values()) <= 4
    assert list(made.parent_row) == sorted(made.parent_row)


def test_made_and_rejected_are_all_that_were_tried():
    made = all_ways()
    assert len(made.table) + sum(made.rejected.values()) == 4 * len(CUT)
    assert list(made.rejected.values()) == sorted(made.rejected.values(), reverse=True)
    line = made.summary(len(CUT))
    assert line.startswith(f"Augmentation: {len(made.table)} synthetic windows made from {len(CUT)} training rows, ")
    assert all(f"{count} {reason}" in line for reason, count in made.rejected.items())
    assert made_of(names=("mirror",)).summary(16).endswith("16 training rows, 0 rejected.")


def test_the_seed_decides_everything():
    one, two, other = all_ways(), all_ways(), all_ways(seed=8)
    assert one.table.window_id == two.table.window_id
    assert np.array_equal(one.table.ohlc, two.table.ohlc)
    assert one.table.window_id != other.table.window_id


def test_the_order_of_rows_changes_nothing():
    order = np.random.default_rng(0).permutation(len(TABLE))
    one, two = made_of(), made_of(TABLE.take(order))
    assert sorted(one.table.window_id) == sorted(two.table.window_id)
    place = [two.table.window_id.index(name) for name in one.table.window_id]
    assert np.array_equal(two.table.ohlc[place], one.table.ohlc)
    assert one.rejected == two.rejected


def test_scaled_prices_give_scaled_windows_with_the_same_pointers():
    one, two = made_of(), made_of(scaled(TABLE, 640.0))
    assert one.table.window_id == two.table.window_id
    mirrored = np.array(["mirror" in chain for chain in one.chains])
    factor = np.where(mirrored, 1 / 640.0, 640.0)[:, None, None]
    np.testing.assert_allclose(two.table.ohlc, factor * one.table.ohlc, rtol=1e-9)
    np.testing.assert_allclose(two.table.features, one.table.features, atol=1e-5)
    assert np.array_equal(one.table.expansion_start, two.table.expansion_start)


def test_the_mirror_alone_makes_one_window_a_row_whatever_the_variants():
    made = made_of(names=("mirror",))
    assert made.table.window_id == synthesise(TABLE, ()).window_id == [f"{name}~mirror" for name in TABLE.window_id]
    assert np.array_equal(made.table.ohlc, (1.0 / TABLE.ohlc)[:, :, [0, 2, 1, 3]])


def test_chains_of_several_are_all_drawn_and_the_plain_mirror_once_a_parent():
    made = made_of(names=("warp", "mirror"), n=12)
    assert set(made.chains) == {("mirror",), ("warp",), ("warp", "mirror")}
    plain = Counter(row for row, chain in zip(made.parent_row, made.chains, strict=True) if chain == ("mirror",))
    assert max(plain.values()) == 1


def test_classes_without_a_mirror_take_part_in_everything_else():
    directed = replace(TABLE, label=np.array(["bull", "consolidation"] * 8, dtype=object))
    made = made_of(directed, ("mirror", "rescale"))
    assert {chain for chain, label in zip(made.chains, made.table.label, strict=True) if label == "bull"} == {
        ("rescale",)
    }
    assert any("mirror" in chain for chain in made.chains)


def test_rows_without_a_label_and_extra_columns():
    label = np.array([None, *TABLE.label[1:]], dtype=object)
    made = made_of(replace(TABLE, label=label, extra=pl.DataFrame({"annotator": ["a"] * 16})))
    assert 0 not in made.parent_row
    assert made.table.extra.columns == ["annotator", "parent"]


def test_times_may_be_missing():
    made = made_of(replace(TABLE, start_us=None, end_us=None))
    assert made.table.start_us is None


def test_what_breaks_a_bar_rule_is_rejected_and_counted(monkeypatch):
    def upside_down(window, _source, _rng):
        spoiled = window.window_id in TABLE.window_id[:3]
        return replace(window, ohlc=window.ohlc[:, [0, 2, 1, 3]] if spoiled else window.ohlc)

    entry = replace(AUGMENTATIONS["rescale"], make=upside_down, keeps_label=lambda *_: None)
    monkeypatch.setitem(AUGMENTATIONS, "rescale", entry)
    made = made_of(names=("rescale",), n=1)
    assert made.rejected == {"rescale: a bar rule is broken": 3}
    assert len(made.table) == 13
    with pytest.raises(InvalidData, match=r"all 3 were rejected \(3 rescale: a bar rule is broken\)"):
        made_of(TABLE.take(np.arange(3)), ("rescale",), n=1)


def test_what_loses_its_label_by_the_declared_check_is_rejected(monkeypatch):
    entry = replace(AUGMENTATIONS["warp"], keeps_label=lambda *_: "the label is lost")
    monkeypatch.setitem(AUGMENTATIONS, "warp", entry)
    made = made_of(names=("rescale", "warp"))
    assert set(made.chains) == {("rescale",)}
    assert made.rejected["warp: the label is lost"] > 0


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), "it has nothing"),
        (("mirror", "flip"), "it has 'flip'"),
        (("recut",), "--bars is missing"),
    ],
)
def test_wrong_usage(names, text):
    with pytest.raises(WrongUsage, match=text):
        made_of(names=names)


def test_what_can_be_made_of_what():
    bare = replace(TABLE.with_features(), ohlc=None)
    directed = replace(TABLE, label=np.array(["bull", "bear"] * 8, dtype=object))
    assert can_synthesise(TABLE, ("mirror",), ())
    assert not can_synthesise(directed, ("mirror",), ())
    assert can_synthesise(directed, ("mirror", "warp"), ())
    assert not can_synthesise(bare, ("warp",), ())
    with pytest.raises(InvalidData, match="must have the bars of the windows"):
        made_of(bare)


def test_windows_of_a_table_keep_its_order():
    assert [window.window_id for window in windows_of(TABLE)] == TABLE.window_id
