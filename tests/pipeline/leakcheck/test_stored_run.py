"""A run whose files, rows, labels or probabilities are not what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.config.leakcheck_options import LeakcheckOptions
from moola.files import sha256_file
from moola.pipeline.leakcheck.encoders import encoder
from moola.pipeline.leakcheck.stored_run import run_files, run_predictions
from moola.pipeline.leakcheck.subject import open_subject
from moola.runs.manifest import OWN_HASH, own_hash
from tests.conftest import DATA, SPLIT
from tests.pipeline.leakcheck.subjects import leaks, only_leak, states


@pytest.fixture
def run(sample, train) -> Path:
    return Path("artifacts/runs") / train("--epochs", "1", "--augment-data", "false").last_line


def opened(run: Path):
    return open_subject(LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), run=run, device="cpu"))


def write_manifest(run: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest that fits itself, as a forger would."""
    (run / "manifest.json").write_text(json.dumps(manifest | {OWN_HASH: own_hash(manifest)}))


def forge(run: Path, change) -> None:
    """Change the prediction table, and the manifest so that it fits again."""
    path = run / "predictions.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"]["predictions.parquet"] = sha256_file(path)
    write_manifest(run, manifest)


def at(name: str, place: int, value):
    chosen = pl.int_range(pl.len()) == place
    return lambda frame: frame.with_columns(pl.when(chosen).then(value).otherwise(pl.col(name)).alias(name))


def test_a_run_as_it_was_left_passes(run):
    subject = opened(run)
    assert states(run_files(subject)) == {"ok"}
    assert states(run_predictions(subject)) == {"ok"}
    assert states(encoder(subject)) == {"ok"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (at("label", 5, pl.lit("consolidation")), "another label"),
        (at("expansion_start", 5, pl.lit(1)), "another expansion_start"),
        (at("window_id", 5, pl.lit("x")), "another window_id"),
        (at("prob_retracement", 5, pl.col("prob_retracement") + 2e-6), "1 of 78 windows are off"),
        (at("row", 5, pl.lit(0)), "the split has not in that part"),
        (lambda frame: pl.concat([frame[:5], frame[6:]]), "have no prediction"),
    ],
)
def test_forged_predictions_are_named(run, change, says):
    before = pl.read_parquet(run / "predictions.parquet")
    # A row whose label is the other one, so that the change is one.
    place = int(np.flatnonzero((before["label"] == "retracement").to_numpy())[5])
    order = [*[i for i in range(len(before)) if i != place][:5], place]
    order += [i for i in range(len(before)) if i not in order]
    forge(run, lambda frame: change(frame[order]))
    leak = only_leak(run_predictions(opened(run)))
    assert says in leak.found
    assert leak.row == (0 if "in that part" in says else before["row"][place])


def test_another_data_file_and_recorded_leaks(run):
    frame = pl.read_parquet(DATA)
    frame.with_columns(window_id=pl.col("window_id") + "_b").write_parquet(DATA)
    path = run / "manifest.json"
    manifest = json.loads(path.read_text()) | {"leaks": ["the split's parts share bars"]}
    write_manifest(run, manifest)
    subject = opened(run)
    found = [leak.found for leak in leaks(run_files(subject))]
    assert len(found) == 2
    assert "is of a data file" in found[0]
    assert "share bars" in found[1]
    assert only_leak(run_predictions(subject)).row == int(pl.read_parquet(run / "predictions.parquet")["row"][0])
