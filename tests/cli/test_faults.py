"""What a user sees when something is wrong: the exit code, the message, and nothing changed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import DATA, SPLIT

LABELLED = "data/processed/labeled/train_latest.parquet"


def altered(path: str, change) -> str:
    """Write a copy of a window file with its rows changed, and return its name."""
    rows = pl.read_parquet(path).to_dicts()
    change(rows)
    pl.DataFrame(rows, schema=pl.read_parquet_schema(path)).write_parquet("altered.parquet")
    return "altered.parquet"


def set_bar(bar: int, column: int, value: float):
    def change(rows):
        rows[3]["features"][bar][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_bar(7, 3, float("nan")), "close must be a finite number"),
        (set_bar(7, 1, 0.5), "high must be at least max(open, close)"),
        (set_bar(7, 0, -1.0), "open must be above 0"),
        (lambda rows: rows[3]["features"].pop(), "features must have 105 bars per window"),
        (lambda rows: rows[3].update(expansion_end=105), "expansion_end must be within 0..104"),
        (lambda rows: rows[3].update(expansion_end=None), "expansion_start and expansion_end must come together"),
        (lambda rows: rows[3].update(window_id=rows[2]["window_id"]), "window_id must be there and name one row each"),
    ],
)
def test_windows_that_break_a_rule_are_refused_with_its_row(sample, moola, change, said):
    answer = moola("convert", "--input", altered(LABELLED, change), "--output", "out.parquet")
    assert answer.code == 3
    assert said in answer.err
    assert "first at row" in answer.err
    assert not Path("out.parquet").exists()


def test_every_broken_rule_is_listed_at_once(sample, moola):
    bars = pl.read_parquet("data/raw/eurusd_1h_2017.parquet")
    high = bars["high"].to_numpy().copy()
    high[5], high[9] = 0.1, np.nan
    times = bars["timestamp"].to_list()
    times[20] = times[19]
    bars.with_columns(high=pl.Series(high), timestamp=pl.Series(times, dtype=bars.schema["timestamp"])).write_csv(
        "bad.csv"
    )
    answer = moola("bars", "check", "bad.csv")
    assert answer.code == 3
    for said in (
        "high must be a finite number",
        "high must be at least",
        "must have one bar",
        "line 7 (",
        "line 11 (",
        "line 22 (",
    ):
        assert said in answer.err


def test_overlapping_split_is_refused_with_the_pair_named(sample, moola):
    split = json.loads(Path(SPLIT).read_text())
    purged = split["purged"][0]["row"]
    split["train_indices"].append(purged)
    Path("overlap.json").write_text(json.dumps(split))
    answer = moola("train", "--data", DATA, "--split", "overlap.json")
    assert answer.code == 3
    assert f"train row {purged}" in answer.err
    assert f"val row {split['val_indices'][0]}" in answer.err
    allowed = moola("train", "--data", DATA, "--split", "overlap.json", "--allow-overlap")
    assert allowed.code == 0, allowed.err
    shown = moola("eval", "--run", allowed.last_line)
    assert "NOT LEAK-PROOF" in shown.out


def test_split_of_other_data_is_refused(sample, moola):
    rows = altered(DATA, lambda rows: rows.reverse())
    answer = moola("train", "--data", rows, "--split", SPLIT)
    assert answer.code == 3
    assert "must be the split of the data given" in answer.err


class Bomb:
    def __reduce__(self):
        return (Path("exploded").touch, ())


def spoiled(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flipped byte":
        data[len(data) // 2] ^= 1
    elif how == "truncated":
        data = data[:-100]
    elif how == "pickle":
        data = bytearray(pickle.dumps(Bomb()))
    elif how == "layer missing":
        record = torch.load(path, weights_only=True)
        record["content"]["weights"].popitem()
        torch.save(record, path)
        return
    path.write_bytes(bytes(data))


ENCODER = ("pretrain-bilstm", "--input", DATA, "--output", "encoder.pt", "--arms", "masked")


@pytest.mark.parametrize("how", ["flipped byte", "truncated", "pickle", "layer missing"])
def test_an_altered_encoder_or_model_is_refused_and_nothing_of_it_is_used(made_run, moola, how):
    run = made_run(before=(ENCODER,))
    spoiled(Path("encoder.pt"), how)
    answer = moola("train", "--data", DATA, "--split", SPLIT, "--pretrained-encoder", "encoder.pt")
    assert answer.code == 5
    assert "Nothing of it was used" in answer.err
    spoiled(run / "model.pkl", how)
    assert moola("predict", "--model", run / "model.pkl", "--data", DATA, "--output", "p.parquet").code == 5
    assert moola("eval", "--run", run.name).code == 5
    assert not Path("exploded").exists()
    assert not Path("p.parquet").exists()


def test_cuda_without_a_gpu_says_what_to_use(sample, moola):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    answer = moola("train", "--data", DATA, "--split", SPLIT, "--device", "cuda")
    assert answer.code == 1
    assert "Use --device auto (the default) or --device cpu" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", DATA),
        ("train", "--data", DATA, "--split", SPLIT, "--nonsense", "1"),
        ("train", "--data", DATA, "--split", SPLIT, "--epochs", "many"),
        ("train", "--data", DATA, "--split", SPLIT, "--input-dim", "4"),
        ("train", "--data", DATA, "--split", SPLIT, "--freeze-encoder"),
        ("train", "--data", DATA, "--split", SPLIT, "--epochs", "0"),
        ("train", "--data", DATA, "--split", SPLIT, "--dropout", "nan"),
        ("train", "--data", DATA, "--split", SPLIT, "--hidden-dim", "-4"),
        ("train", "--data", DATA, "--split", SPLIT, "--num-layers", "0"),
        ("train", "--data", DATA, "--split", SPLIT, "--n-heads", "0"),
        ("train", "--data", DATA, "--split", SPLIT, "--n-heads", "101"),
        ("train", "--data", DATA, "--split", SPLIT, "--n-unlabelled", "0"),
        ("train", "--data", DATA, "--split", SPLIT, "--n-teachers", "-1"),
        ("train", "--data", DATA, "--split", SPLIT, "--student-rate", "0"),
        ("windows", "--bars", "data/raw/eurusd_1h_2017.parquet", "--output", "w.parquet", "--window-bars", "0"),
        ("autolabel", "--bars", "data/raw/eurusd_1h_2017.parquet", "--output", "w.parquet", "--n-windows", "-5"),
        ("pretrain-bilstm", "--input", DATA, "--output", "e.pt", "--mask-ratio", "2"),
        ("pretrain-bilstm", "--input", DATA, "--output", "e.pt", "--mask-strategy", "other"),
        ("pretrain-bilstm", "--input", DATA, "--output", "e.pt", "--arms", "other"),
        ("split", "--data", DATA, "--output", "s.json", "--purge-window", "50"),
        ("eval", "--run", "../../etc"),
        ("gate", "--run", "x" * 300),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_in_2_and_leaves_nothing(sample, moola, arguments):
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    answer = moola(*arguments)
    assert answer.code == 2, answer.err
    # A command that began has named the options of the environment; one that could not be read has said nothing else.
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert all(line.startswith("From the environment: ") for line in answer.err.splitlines()[:-1])
    assert "Traceback" not in answer.err
    after = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    assert before == after


def test_debug_shows_the_traceback(sample, moola):
    assert "Traceback" in moola("bars", "check", "missing.parquet", "--debug").err
    assert "Traceback" not in moola("bars", "check", "missing.parquet").err


def test_a_killed_write_leaves_the_old_encoder(made_run, moola, monkeypatch):
    made_run(before=(ENCODER,))
    before = Path("encoder.pt").read_bytes()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moola.files.os.replace", no_space)
    answer = moola(*ENCODER, "--seed", "3")
    assert answer.code == 1
    assert "No space left on device" in answer.err
    assert Path("encoder.pt").read_bytes() == before
    assert not list(Path(".").glob(".encoder*"))
