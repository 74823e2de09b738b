"""benchmark through its command: tables, differences, continuing, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.tables.bar_table import write_bars
from moola.tables.window_file import write_windows
from tests.made import made_windows, random_walk_bars
from tests.small import SMALL, stay_small

CHEAP = ("--models", "prevalence", "logistic")
ARMS = """
[tiny.train]
epochs = 1
hidden_dim = 4
n_heads = 1
augment_data = false
[moves]
pretrain = { epochs = 1, hidden_dim = 4, num_layers = 1, stride = 24 }
train = { epochs = 1, freeze_encoder = true, refit = true }
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two draws of 30 windows, 16 later ones to judge, and the bars of all of them."""
    monkeypatch.chdir(tmp_path)
    stay_small(monkeypatch)
    for name in SMALL:
        monkeypatch.delenv(name)
    table = made_windows(76, seed=4, stride=24, window_bars=24)
    draws = replace(table.take(np.arange(60)), extra=pl.DataFrame({"draw": np.arange(60) % 2}))
    # Both classes in both draws.
    draws = replace(draws, label=np.array([("a", "b")[(i // 2) % 2] for i in range(60)], dtype=object))
    test = table.take(np.arange(60, 76))
    test = replace(test, label=np.array([("a", "b")[i % 2] for i in range(16)], dtype=object))
    write_windows(Path("train.parquet"), draws)
    write_windows(Path("test.parquet"), test)
    write_bars(Path("bars.parquet"), random_walk_bars(76 * 24, seed=4))
    Path("arms.toml").write_text(ARMS)
    for name, value in {"WINDOW_BARS": "24", "PROCESSES": "1", "DEVICE": "cpu", "OUTPUT": "out"}.items():
        monkeypatch.setenv(f"MOOLA_{name}", value)
    return tmp_path


@pytest.fixture
def benchmark(place, moola):
    def run(*arguments):
        return moola("benchmark", "--train", "train.parquet", "--test", "test.parquet", *arguments)

    return run


def fits() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("out/fits").iterdir())}


def test_tables_show_spread_and_paired_differences(benchmark):
    answer = benchmark(*CHEAP, "--against", "prevalence", "--positive", "b").ends(0)
    lines = answer.out.splitlines()
    assert lines[0].startswith("2 draws of 30 labels, evaluated on 16 test windows, seed 17; 4 fits")
    heads = next(line for line in lines if "PR-AUC" in line and "fit s" in line)
    assert [heads.index(name) for name in ("Brier", "ECE", "accuracy", "log-loss", "hit@3 both", "predict s")]
    assert any(line.strip().startswith("logistic - prevalence") and "/2)" in line for line in lines)
    assert "PR-AUC of b." in answer.out
    result = json.loads(Path("out/benchmark.json").read_text())
    row = {one["name"]: one for one in result["models"]}["logistic"]
    by_draw = [row["by_draw"][draw]["brier"] for draw in "01"]
    assert row["figures"]["brier"]["mean"] == pytest.approx(np.mean(by_draw))
    assert row["figures"]["brier"]["std"] == pytest.approx(np.std(by_draw, ddof=1))
    page = Path("out/benchmark.md").read_text()
    assert page.count("\n| ") == (1 + 1 + 2) + (1 + 1 + 1)
    base = {one["name"]: one for one in result["models"]}["prevalence"]["by_draw"]
    less = result["differences"][0]["figures"]["brier"]
    assert less["by_draw"]["1"] == pytest.approx(row["by_draw"]["1"]["brier"] - base["1"]["brier"])
    assert less["n_draws"] == 2


@pytest.mark.slow
def test_networks_with_and_without_an_encoder_and_the_average_of_seeds(benchmark):
    arms = ("--models", "tiny", "moves", "prevalence", "--arms", "arms.toml", "--bars", "bars.parquet")
    answer = benchmark(*arms, "--seeds", "1", "2", "--against", "tiny", "--json").ends(0)
    assert "Not leak-proof" not in answer.err
    result = answer.json
    names = ["tiny", "tiny seeds averaged", "moves", "moves seeds averaged", "prevalence"]
    assert [row["name"] for row in result["models"]] == names
    pairs = [("moves", "tiny"), ("moves seeds averaged", "tiny seeds averaged"), ("prevalence", "tiny")]
    assert [(row["name"], row["against"]) for row in result["differences"]] == pairs
    assert result["leaks"] == []
    assert result["n_fits"] == 4 + 4 + 2
    assert len(list(Path("out/encoders").glob("*.pt"))) == 2
    first = pl.read_parquet("test.parquet")["start_ts"].min()
    assert pl.read_parquet(next(Path("out/bars").iterdir()))["timestamp"].max() < first
    assert not Path("artifacts").exists()


@pytest.mark.slow
def test_a_benchmark_that_was_stopped_goes_on(benchmark):
    arguments = ("--models", "tiny", "logistic", "--arms", "arms.toml")
    before = benchmark(*arguments, "--json").json
    made = fits()
    assert benchmark(*arguments, "--json").json["n_done_before"] == before["n_fits"] == 4
    assert fits() == made
    tables = {name: data for name, data in made.items() if name.endswith(".parquet")}
    gone = [name for name in tables if name.startswith(("tiny-d1", "logistic-d0"))]
    (Path("out/fits") / gone[0]).with_suffix(".json").unlink()
    (Path("out/fits") / gone[1]).write_bytes(b"altered")
    assert benchmark(*arguments, "--json").json["n_done_before"] == 2
    assert {name: data for name, data in fits().items() if name.endswith(".parquet")} == tables


@pytest.mark.slow
def test_another_option_is_another_fit_and_processes_change_no_byte(benchmark):
    benchmark("--models", "tiny", "logistic", "--arms", "arms.toml")
    Path("arms.toml").write_text(ARMS.replace("hidden_dim = 4", "hidden_dim = 5", 1))
    again = benchmark("--models", "tiny", "logistic", "--arms", "arms.toml", "--json").json
    assert again["n_done_before"] == 2
    few = (*CHEAP, "--labels-per-draw", "20")
    assert benchmark(*few, "--json").json["n_done_before"] == 0
    one = {name: data for name, data in fits().items() if name.endswith(".parquet")}
    for path in Path("out/fits").iterdir():
        path.unlink()
    assert benchmark(*few, "--processes", "2").code == 0
    two = {name: data for name, data in fits().items() if name.endswith(".parquet")}
    assert two
    assert two.items() <= one.items()


def test_json_is_the_whole_result_and_other_draws_never_open_the_test_file(benchmark):
    result = benchmark(*CHEAP, "--json").json
    assert [row["name"] for row in result["models"]] == ["prevalence", "logistic"]
    assert (result["differences"], result["n_fits"]) == ([], 4)
    assert [draw["n_judged"] for draw in result["draws"]] == [16, 16]
    assert all(row[name]["mean"] >= 0 for row in result["models"] for name in ("fit_s", "predict_s"))
    Path("test.parquet").unlink()
    answer = benchmark(*CHEAP, "--judge", "other-draws", "--draws", "1", "--json").ends(0)
    assert answer.json["test_sha256"] is None
    assert [draw["draw"] for draw in answer.json["draws"]] == [1]


def test_an_encoder_that_saw_judged_windows_is_named(benchmark, moola):
    args = ("--output", "all.pt", "--epochs", "1", "--hidden-dim", "4", "--num-layers", "1", "--arms", "masked")
    assert moola("pretrain-bilstm", "--input", "bars.parquet", "--stride", "24", *args).code == 0
    Path("arms.toml").write_text('[seen.train]\npretrained_encoder = "all.pt"\nepochs = 1')
    answer = benchmark("--models", "seen", "--arms", "arms.toml", "--draws", "0")
    assert "NOT LEAK-PROOF: seen: the encoder was pretrained on times of" in answer.out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--models logistik", "Did you mean logistic?"),
        ("--models logistic --against scratch", "--against must be one of --models"),
        ("--models moves --arms arms.toml", "--bars is missing for moves"),
        ("--seeds 1 1", "each seed once"),
        ("--draws 9", "--draws must be among 0, 1"),
        ("--labels-per-draw 0", "at least 1"),
        ("--val-fraction 1", "between 0 and 1"),
        ("--processes -1", "at least 0"),
    ],
)
def test_wrong_options_are_found_before_the_work(benchmark, wrong, said):
    benchmark(*wrong.split()).ends(2, said)
    assert not Path("out").exists()


def test_wrong_data_is_refused(benchmark, moola):
    assert benchmark(*CHEAP, "--positive", "c").code == 3
    assert benchmark(*CHEAP, "--labels-per-draw", "31").code == 3
    assert moola("benchmark", "--train", "train.parquet").code == 2
    assert moola("benchmark", "--train", "none.parquet", "--test", "test.parquet", *CHEAP).code == 1
