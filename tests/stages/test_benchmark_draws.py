"""Draws share no bar with what judges them, whatever the file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.errors import InvalidData, WrongUsage
from moola.options.study_options import BenchmarkOptions
from moola.stages.benchmark_draws import lay_out, sharing
from moola.tables.split_file import read_split
from moola.tables.window_file import WindowTable, read_windows, write_windows
from tests.made import made_windows

BARS = 24


def windows(n: int, stride: int = BARS, draws: int = 3) -> WindowTable:
    table = made_windows(n, seed=1, stride=stride, window_bars=BARS)
    return replace(table, extra=pl.DataFrame({"draw": np.arange(n) // 2 % draws}))


def options(tmp_path: Path, train: WindowTable, test: WindowTable | None = None, **settings) -> BenchmarkOptions:
    write_windows(tmp_path / "train.parquet", train)
    if test is not None:
        write_windows(tmp_path / "test.parquet", replace(test, extra=pl.DataFrame()))
        settings["test"] = tmp_path / "test.parquet"
    defaults = {"train": tmp_path / "train.parquet", "output": tmp_path / "out", "window_bars": BARS}
    return BenchmarkOptions(**(defaults | settings))


def slow_sharing(one: WindowTable, other: WindowTable) -> list[bool]:
    """A naive loop over pairs."""
    return [
        any(one.start_us[i] <= other.end_us[j] and one.end_us[i] >= other.start_us[j] for j in range(len(other)))
        for i in range(len(one))
    ]


def test_sharing_is_the_loop_and_equal_bars_at_another_time_are_shared_too():
    for stride in (5, 11, 24, 40):
        table = windows(30, stride)
        one, other = table.take(np.arange(0, 30, 3)), table.take(np.array([4, 5, 19]))
        assert sharing(one, other).tolist() == slow_sharing(one, other)
    table = windows(6)
    later = replace(table, start_us=table.start_us + 10**15, end_us=table.end_us + 10**15)
    assert sharing(table, later.take(np.array([2]))).tolist() == [False, False, True, False, False, False]


def test_train_windows_that_share_a_bar_with_test_are_left_out(tmp_path, caplog):
    table = windows(40, stride=12, draws=2)
    draws, _ = lay_out(options(tmp_path, table.take(np.arange(30)), table.take(np.arange(30, 40))))
    assert [draw.n_left_out for draw in draws] == [1, 0]
    assert "1 windows left out" in caplog.text
    judged = read_windows(draws[0].judged, BARS)
    assert len(judged) == 10
    for draw in draws:
        mine = read_windows(draw.data, BARS)
        assert len(mine) == draw.n_train
        assert not any(slow_sharing(mine, judged))
        assert mine.window_id == sorted(mine.window_id)
        split = read_split(draw.split).split
        assert len(split.test) == 0
        assert len(split.val) == round(0.15 * len(mine))


def test_other_draws_judge_without_a_shared_bar(tmp_path):
    table = windows(30, stride=20)
    draws, _ = lay_out(replace(options(tmp_path, table, judge="other-draws"), test=tmp_path / "is not there"))
    for draw in draws:
        mine, judged = read_windows(draw.data, BARS), read_windows(draw.judged, BARS)
        assert not any(slow_sharing(judged, mine))
        assert not set(judged.window_id) & set(mine.window_id)
        assert draw.n_judged == len(judged) > 0


def test_fewer_labels_are_nested_and_owe_nothing_to_seeds(tmp_path):
    train, test = windows(90), windows(100).take(np.arange(90, 100))

    def names(count: int, **settings) -> set[str]:
        found, _ = lay_out(options(tmp_path, train, test, labels_per_draw=count, draws=(1,), **settings))
        return set(read_windows(found[0].data, BARS).window_id)

    assert len(names(20)) == 20
    assert names(10) < names(20)
    assert names(10, seeds=(5,)) == names(10)
    with pytest.raises(InvalidData, match="draw 1 has 30"):
        names(31)


def test_equal_options_give_equal_bytes_and_without_a_column_there_is_one_draw(tmp_path):
    table = windows(40)
    chosen = options(tmp_path, table.take(np.arange(30)), table.take(np.arange(30, 40)))
    assert lay_out(chosen)[0][2].hashes == lay_out(chosen)[0][2].hashes
    one = replace(table.take(np.arange(30)), extra=pl.DataFrame())
    draws, _ = lay_out(options(tmp_path, one, table.take(np.arange(30, 40))))
    assert [draw.number for draw in draws] == [0]
    with pytest.raises(InvalidData, match="must have another draw"):
        lay_out(options(tmp_path, one, judge="other-draws"))


def test_what_cannot_be_judged_is_refused(tmp_path):
    table = windows(40)
    train, test = table.take(np.arange(30)), table.take(np.arange(30, 40))
    with pytest.raises(WrongUsage, match="among 0, 1, 2"):
        lay_out(options(tmp_path, train, test, draws=(1, 7)))
    strange = replace(test, label=np.array(["third"] * 10, dtype=object))
    bare = replace(train, label=np.array([None] + ["a", "b"] * 14 + ["a"], dtype=object))
    halves = replace(train, extra=pl.DataFrame({"draw": np.arange(30) / 2}))
    for learned, judged, settings, said in (
        (train, replace(test, start_us=None, end_us=None), {}, "no start_ts"),
        (train, strange, {}, "third"),
        (bare, test, {}, "1 of 30 have none"),
        (windows(12, stride=1), None, {"judge": "other-draws"}, "evaluate on, but draw 0 has none"),
        (halves, test, {}, "whole number"),
    ):
        with pytest.raises(InvalidData, match=said):
            lay_out(options(tmp_path, learned, judged, **settings))
