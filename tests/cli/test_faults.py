"""What a user sees when something is wrong: exit code and message; tests/faults holds what files can have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import DATA, SPLIT


def test_every_broken_rule_is_listed_at_once(sample, moola):
    bars = pl.read_parquet("data/raw/eurusd_1h_2017.parquet")
    high = bars["high"].to_numpy().copy()
    high[5], high[9] = 0.1, np.nan
    times = bars["timestamp"].to_list()
    times[20] = times[19]
    bars.with_columns(high=pl.Series(high), timestamp=pl.Series(times, dtype=bars.schema["timestamp"])).write_csv(
        "bad.csv"
    )
    answer = moola("bars", "check", "bad.csv").ends(3)
    rules = ("high must be a finite number", "high must be at least", "must have one bar")
    for said in (*rules, "line 7 (", "line 11 (", "line 22 ("):
        assert said in answer.err


def test_overlapping_split_is_refused_with_the_pair_named(sample, moola):
    split = json.loads(Path(SPLIT).read_text())
    purged = split["purged"][0]["row"]
    split["train_indices"].append(purged)
    Path("overlap.json").write_text(json.dumps(split))
    answer = moola("train", "--data", DATA, "--split", "overlap.json").ends(3, f"train row {purged}")
    assert f"val row {split['val_indices'][0]}" in answer.err
    allowed = moola("train", "--data", DATA, "--split", "overlap.json", "--allow-overlap").ends(0)
    shown = moola("eval", "--run", allowed.last_line)
    assert "NOT LEAK-PROOF" in shown.out


def test_cuda_without_a_gpu_says_what_to_use(sample, moola):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    answer = moola("train", "--data", DATA, "--split", SPLIT, "--device", "cuda").ends(1)
    assert "Use --device auto (the default) or --device cpu" in answer.err


TRAIN, BARS = f"train --data {DATA} --split {SPLIT}", "data/raw/eurusd_1h_2017.parquet"


@pytest.mark.parametrize(
    "line",
    [
        f"train --data {DATA}",
        *(
            f"{TRAIN} {wrong}"
            for wrong in (
                *("--nonsense 1", "--epochs many", "--input-dim 4", "--freeze-encoder", "--epochs 0", "--dropout nan"),
                *("--hidden-dim -4", "--num-layers 0", "--n-heads 0", "--n-heads 101", "--n-unlabelled 0"),
                *("--n-teachers -1", "--student-rate 0"),
            )
        ),
        f"windows --bars {BARS} --output w.parquet --window-bars 0",
        f"autolabel --bars {BARS} --output w.parquet --n-windows -5",
        *(
            f"pretrain-bilstm --input {DATA} --output e.pt {wrong}"
            for wrong in ("--mask-ratio 2", "--mask-strategy other", "--arms other")
        ),
        f"split --data {DATA} --output s.json --purge-window 50",
        "eval --run ../../etc",
        f"gate --run {'x' * 300}",
        "nonsense",
    ],
)
def test_wrong_usage_ends_in_2_and_leaves_nothing(sample, moola, line):
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    answer = moola(*line.split()).ends(2)
    # A command that began has named the options of the environment; one that could not be read has said nothing else.
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert all(one.startswith("From the environment: ") for one in answer.err.splitlines()[:-1])
    assert "Traceback" not in answer.err
    assert before == {path: path.stat().st_mtime_ns for path in sample.rglob("*")}


def test_debug_shows_the_traceback(sample, moola):
    assert "Traceback" in moola("bars", "check", "missing.parquet", "--debug").err
    assert "Traceback" not in moola("bars", "check", "missing.parquet").err
