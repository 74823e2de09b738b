"""A pattern with a known answer is learned, promoted and kept; shuffled labels teach nothing."""

from __future__ import annotations

import json
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


def test_planted_pattern_is_found_promoted_and_the_one_before_kept(planted, moola):
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

    promoted_folder = Path("artifacts/models/supervised")
    model = promoted_folder / "enhanced_baseline_v2_relative.pt"
    refused = moola("promote", "--run", weak, "--baseline", strong, "--accept", "inconclusive")
    assert refused.code == 4
    assert "Nothing overrides hold" in refused.err
    assert not promoted_folder.exists()
    model.parent.mkdir(parents=True)
    model.write_bytes((Path("artifacts/runs") / weak / "model.pkl").read_bytes())
    answer = moola("promote", "--run", strong, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["verdict"] == "promote"
    assert answer.json["baseline_kind"] == "promoted model"
    assert model.read_bytes() == (Path("artifacts/runs") / strong / "model.pkl").read_bytes()
    (kept,) = (promoted_folder / "previous").iterdir()
    assert kept.read_bytes() == (Path("artifacts/runs") / weak / "model.pkl").read_bytes()
    entry = json.loads((promoted_folder / "promotions.jsonl").read_text())
    assert (entry["run_id"], entry["verdict"]) == (strong, "promote")

    again = moola("promote", "--run", strong, "--baseline", weak)
    assert (again.code, "is in use already" in again.err) == (1, True)
    back = moola("promote", "--back", "true", "--json")
    assert back.code == 0, back.err
    assert (back.json["action"], model.read_bytes()) == ("back", kept.read_bytes())
    assert moola("promote", "--back").code == 1
    for words in ((), ("--back", "--run", strong)):
        assert moola("promote", *words).code == 2


# On `make test` tests/training/test_finetune_learns.py holds the same without the command.
@pytest.mark.slow
def test_shuffled_labels_fall_to_the_class_share(planted, moola):
    run = moola("train", *planted(shuffle=True), *SIZES, "--epochs", "8").last_line
    shown = figures(moola, run)["pr_auc"]
    assert shown["low"] < shown["trivial"] < shown["high"]
    assert abs(shown["value"] - shown["trivial"]) < 0.12
