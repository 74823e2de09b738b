"""The encoder inside the package in cv and benchmark: linear heads in every fold, and its content decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.files import sha256_file
from moola.models.model_files import BASE_FILE, BASE_NAME
from moola.options.training_options import TrainOptions
from moola.stages.benchmark_networks import deciding
from moola.tables.window_file import write_windows
from tests.made import made_windows


def test_cv_takes_base_and_its_fits_are_the_same_for_every_seed(
    tmp_path: Path, moola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Short windows: the encoder in the package is large.
    write_windows(Path("windows.parquet"), made_windows(60, seed=4, stride=40, window_bars=40))
    words = ("--window-bars", "40", "--folds", "2", "--seeds", "2", "--processes", "1", "--controls", "false")
    answer = moola("cv", "--data", "windows.parquet", "--pretrained-encoder", "base", *words)
    assert answer.code == 0, answer.err
    folder = Path("artifacts/cv") / answer.last_line
    assert json.loads((folder / "config.json").read_text())["pretrained_encoder"] == "base"
    first, second, other = (
        (folder / f"fits/enhanced_simple_lstm-{name}-l1.parquet").read_bytes()
        for name in ("f1-s17", "f1-s18", "f2-s17")
    )
    assert first == second != other


def test_a_benchmark_counts_base_by_its_content() -> None:
    options = TrainOptions(data=Path("w.parquet"), split=Path("s.json"), pretrained_encoder=BASE_NAME)
    assert deciding(options, ())["pretrained_encoder"] == sha256_file(BASE_FILE)
