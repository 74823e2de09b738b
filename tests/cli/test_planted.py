"""A pattern with a known answer is learned, promoted and kept; shuffled labels teach nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.tables.window_file import write_windows
from tests.planted import planted_windows

SIZES = ("--hidden-dim", "24", "--device", "cpu")


@pytest.fixture
def planted(tmp_path, monkeypatch, moola):
    monkeypatch.chdir(tmp_path)

    def write(shuffle: bool) -> list[str]:
        table = planted_windows(400, seed=1)
        if shuffle:
            table = replace(table, label=np.random.default_rng(0).permutation(table.label))
        write_windows(Path("windows.parquet"), table)
        assert moola("split", "--data", "windows.parquet", "--output", "split.json", "--test", "0.4").code == 0
        return ["--data", "windows.parquet", "--split", "split.json"]

    return write


def figures(moola, run: str) -> dict:
    return moola("eval", "--run", run, "--json").json["figures"]


# On `make test` tests/training/test_finetune_learns.py holds the same without the command, and test_later_windows.py
# what is promoted and kept.
@pytest.mark.slow
def test_planted_pattern_is_found_and_promoted(planted, moola):
    source = planted(shuffle=False)
    weak = moola("train", *source, *SIZES, "--epochs", "1", "--learning-rate", "1e-6").last_line
    # A clean pattern: smoothed labels would teach doubts that val's 80 windows are too few to take back, and the
    # gate would hold the strong model for its ECE.
    clean = ("--learning-rate", "0.006", "--label-smoothing", "0", "--n-heads", "1", "--dropout", "0")
    # The same on processors with and without bfloat16.
    clean += ("--precision", "float32")
    strong = moola("train", *source, *SIZES, "--epochs", "25", *clean).last_line
    shown = figures(moola, strong)
    assert shown["hit_at_pm3_both"]["value"] >= 0.9
    assert shown["pr_auc"]["low"] > 0.85
    assert shown["hit_at_pm3_both"]["trivial"] < 0.2
    refused = moola("promote", "--run", weak, "--baseline", strong, "--accept", "inconclusive")
    assert refused.code == 4
    answer = moola("promote", "--run", strong, "--baseline", weak, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["verdict"] == "promote"


@pytest.mark.slow
def test_shuffled_labels_fall_to_the_class_share(planted, moola):
    run = moola("train", *planted(shuffle=True), *SIZES, "--epochs", "8").last_line
    shown = figures(moola, run)["pr_auc"]
    assert shown["low"] < shown["trivial"] < shown["high"]
    assert abs(shown["value"] - shown["trivial"]) < 0.12
