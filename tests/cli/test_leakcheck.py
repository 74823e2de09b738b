"""`leakcheck`: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from moola.cli.console import ConsoleOptions
from moola.cli.judging_commands import leakcheck
from moola.leakcheck import training_controls
from moola.leakcheck.checking import CHECKS
from moola.options.judging_options import LeakcheckOptions
from tests.conftest import DATA, SPLIT


@pytest.fixture
def check(capsys):
    def run(*, as_json: bool = False, **options):
        capsys.readouterr()
        options = LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), device="cpu", **options)
        code = leakcheck(options=options, console=ConsoleOptions(json=as_json))
        return code, capsys.readouterr().out

    return run


def test_the_sample_is_clean_and_says_what_is_fine(made_run, check):
    run = made_run().name
    before = {path: path.read_bytes() for path in Path("artifacts").rglob("*") if path.is_file()}
    code, out = check(run=Path(run))
    assert code == 0
    assert "No leak found" in out
    assert "weights and calibration equal to the bit" in out
    assert out.strip().endswith(f"Next: moola eval --run {run}")
    after = {path: path.read_bytes() for path in Path("artifacts").rglob("*") if path.is_file()}
    assert after == before


def test_quick_trains_nothing_and_json_is_one_object(sample, check, monkeypatch):
    monkeypatch.setattr(training_controls, "_fit", None)
    code, out = check(quick=True, as_json=True)
    assert code == 0
    result = json.loads(out)
    assert result["clean"] is True
    assert {finding["what"] for finding in result["findings"]} == set(CHECKS) - {"run predictions"}
    assert all(finding["found"] for finding in result["findings"])


def test_a_split_that_leaks_is_examined_not_refused(sample, check):
    split = json.loads(Path(SPLIT).read_text())
    split["train_indices"] += [row["row"] for row in split["purged"][:1]]
    Path(SPLIT).write_text(json.dumps(split))
    code, out = check(quick=True)
    assert code == 3
    assert "leak  overlaps: 1 train rows share time with val rows" in out
    assert "window_20170706T1500" in out
    assert "moola split --data" in out.splitlines()[-1]
    code, out = check(quick=True, as_json=True)
    assert code == 3
    assert json.loads(out)["n_leaks"] == sum(finding["state"] == "leak" for finding in json.loads(out)["findings"])


def test_features_of_other_bars_are_named(sample, check):
    frame = pl.read_parquet(DATA)
    features = frame["features"].to_list()
    features[8][40][9] = 3.21
    frame.with_columns(features=pl.Series(features, dtype=frame["features"].dtype)).write_parquet(DATA)
    code, out = check(quick=True)
    assert code == 3
    assert "zscore_low is not what the stored bars give at 1 bars of 1 windows, first row 8" in out
    # The split is of the file as it was, and says so; fixing the features comes first.
    assert "leak  split record" in out
    assert "moola convert" in out.splitlines()[-1]
