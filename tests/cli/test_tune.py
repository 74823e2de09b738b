"""tune through its command: what it prints, what train then does, and how it is stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moola.options.training_options import TrainOptions
from moola.stages import tune_study
from tests.conftest import DATA, SPLIT

TUNE = ("tune", "--data", DATA, "--split", SPLIT, "--trials", "3", "--confirm-seeds", "1")


def figure(*taken) -> float:
    """Every fold likes a small dropout."""
    return 0.2 + taken[2].dropout / 10 + taken[1] / 100


@pytest.fixture
def quick(sample, monkeypatch):
    """Judge by a formula; what environment settings hold is said by each test itself."""
    for name in ("EPOCHS", "HIDDEN_DIM", "N_HEADS", "AUGMENT_DATA"):
        monkeypatch.delenv(f"MOOLA_{name}")
    monkeypatch.setattr(tune_study, "judge_fold", figure)
    return sample


@pytest.mark.slow
def test_train_does_what_tune_chose(sample, moola, train):
    answer = moola(*TUNE[:5], "--trials", "2", "--confirm-seeds", "1", "--inner-folds", "2", "--json").ends(0)
    result = answer.json
    assert result["n_trials"] == 2
    assert result["trials"] == {"complete": 2}
    assert len(result["trivial_by_fold"]) == len(result["folds"]) == 2
    # What the environment held is no choice of tune's.
    assert not set(result["chosen"]) & {"epochs", "hidden_dim"}
    assert set(result["held"]) >= {"epochs", "hidden_dim"}
    # Other commands read the same file, and --epochs was held by the environment in this one.
    config = json.loads((Path("artifacts/runs") / train().last_line / "config.json").read_text())
    assert {name: config[name] for name in result["chosen"]} == result["chosen"]
    assert Path(result["study"]).is_file()
    assert re.fullmatch(r"artifacts/tuning/train_latest_relative-[0-9a-f]{8}\.db", result["study"])


@pytest.mark.slow
def test_what_it_prints_and_that_the_same_study_goes_on(quick, moola):
    answer = moola(*TUNE, "--epochs", "2").ends(0)
    progress = [line for line in answer.err.splitlines() if line.startswith("tune:")]
    assert len(progress) == 3
    assert re.fullmatch(r"tune: trial 1 of 3, brier 0\.\d{4}, best 0\.\d{4} \(trial 1\), \d+ s left", progress[0])
    lines = answer.out.splitlines()
    assert lines[0].startswith(
        "3 trials (3 complete) on 3 inner folds of the train rows (train/val/test windows: 34/9/16"
    )
    names = "learning_rate weight_decay dropout pointer_weight pointer_sigma label_smoothing input_noise hidden_dim"
    today = TrainOptions(data=Path(DATA), split=Path(SPLIT), hidden_dim=64)
    shown = [line.split() for line in lines[2:10]]
    assert [(row[0], row[-1]) for row in shown] == [(name, f"{getattr(today, name):g}") for name in names.split()]
    assert re.match(r"Trial \d, the best of 3, beats the defaults: brier 0\.\d{4} against 0\.\d{4}", lines[14])
    assert lines[15].startswith("Settings in moola.toml, study in artifacts/tuning/train_latest_relative-")
    assert lines[16:] == [f"Next: moola train --data {DATA} --split {SPLIT} --num-layers 1 --epochs 2"]
    again = moola(*TUNE, "--epochs", "2").ends(0, "The study has 3 finished trials: continuing.")
    assert again.out.splitlines()[1:] == lines[1:]


@pytest.mark.slow
def test_it_is_stopped_with_what_to_type_and_goes_on(quick, moola, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tune_study, "judge_fold", stopped)
        answer = moola(*TUNE)
    assert answer.code == 130
    assert "Continue with: moola tune" in answer.err
    assert not Path("moola.toml").exists()
    assert moola(*TUNE).code == 0


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (("--inner-folds", "1"), 2, "--inner-folds must be at least 2"),
        (("--metric", "ece"), 2, "metric"),
        (("--ranges", "none.toml"), 2, "must be a TOML file"),
        (("--pretrained-encoder", "none.pt"), 1, "none.pt"),
        (("--inner-folds", "90"), 3, "has no"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(quick, moola, wrong, code, said):
    answer = moola(*TUNE, *wrong)
    assert answer.code == code
    assert said in answer.err
    assert not Path("artifacts/tuning").exists()
    assert not Path("moola.toml").exists()
