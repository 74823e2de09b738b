"""Encoders of arms see no bar from the boundary on, and equal ones are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import time_us
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.options.study_options import BenchmarkOptions
from moola.stages.benchmark_networks import Arm, boundary_us, cut_bars, encoder_job, run_encoder
from moola.tables.bar_table import read_bars, write_bars
from moola.tables.window_file import write_windows
from tests.made import HOUR_US, made_windows, random_walk_bars

TINY = {"hidden_dim": 4, "num_layers": 1, "epochs": 1, "batch_size": 32}


def options(tmp_path: Path, **settings) -> BenchmarkOptions:
    write_bars(tmp_path / "bars.parquet", random_walk_bars(400))
    given = {"train": tmp_path / "t.parquet", "bars": tmp_path / "bars.parquet", "output": tmp_path / "out"}
    return BenchmarkOptions(**(given | {"window_bars": 24, "device": "cpu"} | settings))


def test_the_boundary_is_never_after_the_first_test_window(tmp_path):
    first = time_us("2020-01-10")
    assert boundary_us(options(tmp_path), first) == first
    assert boundary_us(options(tmp_path, bars_before="2020-01-05"), first) == time_us("2020-01-05")
    assert boundary_us(options(tmp_path, bars_before="2020-01-15T00:00:00Z"), first) == first
    # A date in plain digits is no year, which would be after every bar.
    assert boundary_us(options(tmp_path, bars_before="20200105"), first) == time_us("2020-01-05")
    assert boundary_us(options(tmp_path, bars_before="20200105T06"), first) == time_us("2020-01-05T06:00:00")
    with pytest.raises(WrongUsage, match="must be a time in UTC"):
        boundary_us(options(tmp_path, bars_before="soon"), first)


def test_with_other_draws_the_test_file_gives_its_first_time_alone(tmp_path):
    table = made_windows(5, window_bars=24)
    write_windows(tmp_path / "test.parquet", table)
    chosen = options(tmp_path, judge="other-draws", test=tmp_path / "test.parquet")
    assert boundary_us(chosen, 0) == table.start_us.min()
    asked = options(tmp_path, judge="other-draws", test=tmp_path / "none.parquet", bars_before="2020-01-05")
    assert boundary_us(asked, 0) == time_us("2020-01-05")
    with pytest.raises(OperationFailed, match="--bars-before"):
        boundary_us(options(tmp_path, judge="other-draws", test=tmp_path / "none.parquet"), 0)
    with pytest.raises(WrongUsage, match="neither"):
        boundary_us(options(tmp_path, judge="other-draws"), 0)


def test_no_bar_that_is_not_over_at_the_boundary_is_in_the_file(tmp_path):
    bars = random_walk_bars(400)
    for before in (bars.start_us[200], bars.start_us[200] + 1, bars.start_us[200] - HOUR_US // 2):
        seen = read_bars(cut_bars(options(tmp_path), int(before)).path)
        assert seen.start_us.max() + HOUR_US <= before
        assert len(seen) == np.sum(bars.start_us + HOUR_US <= before)
    with pytest.raises(InvalidData, match="none of 400"):
        cut_bars(options(tmp_path), int(bars.start_us[0]))


def test_equal_options_are_one_encoder_and_others_another(tmp_path):
    chosen = options(tmp_path)
    seen = cut_bars(chosen, int(random_walk_bars(400).start_us[300]))
    one = encoder_job(chosen, Arm("a", pretrain=TINY), 17, seen)
    assert encoder_job(chosen, Arm("b", pretrain=dict(TINY)), 17, seen).digest == one.digest
    for arm, seed in ((Arm("a", pretrain=TINY | {"mask_ratio": 0.3}), 17), (Arm("a", pretrain=TINY), 18)):
        assert encoder_job(chosen, arm, seed, seen).digest != one.digest
    # A seed of its own holds whatever the fits' seed is.
    assert encoder_job(chosen, Arm("a", pretrain=TINY | {"seed": 17}), 18, seen).digest == one.digest
    less = cut_bars(chosen, int(random_walk_bars(400).start_us[200]))
    assert encoder_job(chosen, Arm("a", pretrain=TINY), 17, less).digest != one.digest


def test_an_encoder_is_done_when_it_is_whole(tmp_path):
    chosen = options(tmp_path)
    seen = cut_bars(chosen, int(random_walk_bars(400).start_us[300]))
    job = encoder_job(chosen, Arm("a", pretrain=TINY), 17, seen)
    assert not job.done
    assert run_encoder(job) == "encoder of a, seed 17"
    assert job.done
    job.options.output.write_bytes(job.options.output.read_bytes() + b"x")
    assert not job.done
