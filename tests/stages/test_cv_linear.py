"""The encoder inside the package in cv and benchmark: linear heads in every fold, and its content decides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from moola.files import sha256_file
from moola.models import references
from moola.models.model_files import BASE_FILE, BASE_NAME
from moola.options.study_options import CvOptions
from moola.options.training_options import TrainOptions
from moola.stages.benchmark_networks import deciding
from moola.stages.cv_gate import by_seeds
from moola.stages.cv_pooling import seedless, tasks_of
from moola.tables.window_file import write_windows
from tests.fit.fits_made import small_base
from tests.made import made_windows
from tests.small import FEW_TREES


@pytest.mark.slow
def test_cv_takes_base_and_its_fits_every_fold_once_whatever_the_seeds(
    tmp_path: Path, moola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(references, "N_TREES", FEW_TREES)
    for name in ("MOOLA_HIDDEN_DIM", "MOOLA_NUM_LAYERS", "MOOLA_EPOCHS"):
        monkeypatch.delenv(name, raising=False)
    small_base(tmp_path, monkeypatch)
    write_windows(Path("windows.parquet"), made_windows(60, seed=4, stride=40, window_bars=40))
    words = ("--window-bars", "40", "--folds", "2", "--seeds", "2", "--processes", "1", "--controls", "false")
    answer = moola("cv", "--data", "windows.parquet", "--pretrained-encoder", "base", *words)
    assert answer.code == 0, answer.err
    folder = Path("artifacts/cv") / answer.last_line
    assert json.loads((folder / "config.json").read_text())["pretrained_encoder"] == "base"
    fits = sorted(path.stem for path in (folder / "fits").glob("enhanced*.parquet"))
    assert fits == ["enhanced_simple_lstm-f1-s17-l1", "enhanced_simple_lstm-f2-s17-l1"]
    assert "No seed changes linear heads: each fold is fitted once" in answer.out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["seedless"]
    assert [row["seed"] for row in metrics["by_seed"]] == [17]


def test_seeds_choose_labels_that_are_left_out_and_other_heads_fit_with_each() -> None:
    base = CvOptions(data=Path("w.parquet"), pretrained_encoder=BASE_NAME, seeds=2, label_fractions=(0.5,))
    names = {task.name for task in tasks_of(base, Path(), 1, "") if task.model == base.model}
    assert names == {f"enhanced_simple_lstm-f1-{part}" for part in ("s17-l1", "s17-l0.5", "s18-l0.5")}
    for other in ({"head": "mlp"}, {"freeze_encoder": False}, {"pretrained_encoder": None}):
        assert not seedless(replace(base, **other))
        tasks = tasks_of(replace(base, **other), Path(), 1, "")
        assert sum(task.label_fraction == 1.0 and task.model == base.model for task in tasks) == 2


def test_a_fit_that_no_seed_changes_is_set_against_every_seed_of_the_baseline() -> None:
    better, worse = {"brier": 0.1}, {"brier": 0.3}
    assert by_seeds([better], [worse] * 2, seedless=True).verdict == "promote"
    assert by_seeds([better], [worse, worse, worse, better], seedless=True).verdict == "hold"
    assert by_seeds([better], [worse]).verdict == "inconclusive"


def test_a_benchmark_counts_base_by_its_content() -> None:
    options = TrainOptions(data=Path("w.parquet"), split=Path("s.json"), pretrained_encoder=BASE_NAME)
    assert deciding(options, ())["pretrained_encoder"] == sha256_file(BASE_FILE)
