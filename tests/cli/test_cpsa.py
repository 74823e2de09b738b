"""CPSA through the commands: previews, options of `train`, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import DATA, SPLIT

BARS = "data/raw/eurusd_1h_2017.parquet"
WAYS = ["mirror", "warp", "rescale", "recut", "transplant"]


@pytest.fixture
def sample(sample, monkeypatch):
    """The sample with every eighth of its training rows: each preview makes all their windows."""
    monkeypatch.delenv("MOOLA_AUGMENT_DATA")
    split = json.loads(Path(SPLIT).read_text())
    Path(SPLIT).write_text(json.dumps(split | {"train_indices": split["train_indices"][::8]}))
    return sample


def preview(moola, *arguments):
    return moola("cpsa", "preview", "--data", DATA, "--split", SPLIT, "--output", "made.png", *arguments)


def log_of() -> str:
    return Path("data/logs/train.log").read_text()


@pytest.mark.slow
def test_a_preview_draws_and_counts_what_training_makes(sample, moola, train, request):
    ways = ("--augmentations", *WAYS, "--bars", BARS)
    answer = preview(moola, *ways, "--n", "2").ends(0)
    assert Path("made.png").read_bytes().startswith(b"\x89PNG")
    request.getfixturevalue("undrawn")
    lines = answer.out.splitlines()
    assert lines[0].split(" synthetic windows made of ")[1].endswith(" rejected.")
    assert [line.split()[0] for line in lines if line.strip().split("  ")[0] in WAYS] == WAYS
    assert "2 of them beside their parents in made.png" in lines
    assert lines[-1].startswith("Next: moola train ")
    assert lines[-1].endswith(f"--augmentations {' '.join(WAYS)} --bars {BARS}")

    result = preview(moola, *ways, "--n", "2", "--json").json
    assert len({name.split("~")[1].split(".")[0] for name in result["shown"]}) == len(result["shown"]) == 2
    ids = pl.read_parquet(DATA)["window_id"].to_list()
    rows = {ids[row] for row in json.loads(Path(SPLIT).read_text())["train_indices"]}
    assert {name.split("~")[0] for name in result["shown"]} <= rows
    assert set(result["made"]) == set(WAYS)
    assert sum(result["made_by_chain"].values()) == result["n_made"]
    assert result["n_made"] + result["n_rejected"] == 4 * result["n_train"]
    assert sum(result["rejected"].values()) == result["n_rejected"]

    run = train(*ways, "--cpsa-ratio", "4", "--no-save-run", "--json").json
    assert f"Augmentation: {result['n_made']} synthetic windows made from {result['n_train']} training rows" in log_of()
    assert f"{result['n_rejected']} rejected: " in log_of()
    assert run["bars_sha256"]


def test_the_mirror_alone_makes_one_window_a_row_and_a_seed_shows_others(sample, moola, undrawn):
    result, other = (preview(moola, "--n", "1", "--json", "--seed", seed).json for seed in ("17", "3"))
    assert result["made"] == {"mirror": result["n_train"]}
    assert result["n_rejected"] == 0
    assert other["shown"] != result["shown"]


@pytest.mark.parametrize(
    ("wrong", "code", "text"),
    [
        ("--augmentations flip", 2, "flip"),
        ("--augmentations recut", 2, "--bars is missing"),
        ("--n 0", 2, "--n must be at least 1"),
        ("--mirror-classes up:down", 2, "--mirror-classes must be"),
        ("--bars nowhere.parquet --augmentations recut", 1, "nowhere.parquet"),
    ],
)
def test_refusals_draw_nothing(sample, moola, wrong, code, text):
    answer = preview(moola, *wrong.split())
    assert (answer.code, text in answer.err) == (code, True), answer.err
    assert not Path("made.png").exists()


def test_bars_need_windows_with_times(sample, moola):
    pl.read_parquet(DATA).drop("start_ts", "end_ts").write_parquet("untimed.parquet")
    assert moola("split", "--data", "untimed.parquet", "--output", "untimed.json").code == 0
    moola(
        *("cpsa", "preview", "--data", "untimed.parquet", "--split", "untimed.json", "--output", "made.png"),
        *("--augmentations", "recut", "--bars", BARS),
    ).ends(3, "no start_ts and end_ts")


@pytest.mark.parametrize("ratio", ["0", "2"])
def test_every_ratio_trains(sample, train, ratio):
    train("--augmentations", "mirror", "warp", "--cpsa-ratio", ratio, "--no-save-run")


@pytest.mark.slow
def test_a_schedule_goes_before_the_ratio(sample, train):
    def history(*arguments):
        run = train("--epochs", "2", *arguments, "--json").json["run"]
        return [json.loads(line)["train_loss"] for line in (Path(run) / "history.jsonl").read_text().splitlines()]

    constant, staged = history("--cpsa-ratio", "0.5"), history("--cpsa-schedule", "0.5", "0.5", "--cpsa-ratio", "2")
    assert staged == constant
    assert history("--cpsa-schedule", "0.5", "1")[1] != constant[1]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("--cpsa-schedule 0.5 -1", "--cpsa-schedule must be within 0 to 100"),
        ("--cpsa-schedule 0.5 nan", "--cpsa-schedule must be a finite number"),
        ("--cpsa-schedule 0.25 0.5 1 --epochs 2", "at most one stage per epoch"),
        ("--augmentations turn", "turn"),
        ("--augmentations mirror recut", "--bars is missing"),
    ],
)
def test_wrong_options_of_train(sample, moola, wrong, text):
    moola("train", "--data", DATA, "--split", SPLIT, *wrong.split()).ends(2, text)


def test_val_and_test_windows_change_nothing_of_what_is_made(sample, moola, undrawn):
    """Prices of held-out rows are spoiled: the same windows are made."""
    few = ("--augmentations", "mirror", "warp", "transplant", "--cpsa-ratio", "1", "--n", "1", "--json")
    before = preview(moola, *few).json
    frame, split = pl.read_parquet(DATA), json.loads(Path(SPLIT).read_text())
    ohlc = np.array(frame["ohlc"].to_list())
    ohlc[np.setdiff1d(np.arange(len(frame)), split["train_indices"])] *= 1.5
    frame.with_columns(ohlc=pl.Series(ohlc.tolist())).write_parquet(DATA)
    del split["data_sha256"]
    Path(SPLIT).write_text(json.dumps(split))
    answer = preview(moola, *few).ends(0)
    assert answer.json == before
