"""A split without a test part: the model that val judges is the one that is promoted, or nothing is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.evaluation.gates import Outcome
from moola.files import sha256_file
from moola.fit.predicting import predict_windows
from moola.models.model_files import read_model
from moola.runs.run_store import OWN_HASH, own_hash
from moola.stages import evaluate
from moola.tables.prediction_table import read_predictions
from moola.tables.window_file import read_windows
from tests.conftest import DATA, RUNS
from tests.networks_made import CPU

QUICK = ("--data", DATA, "--split", "no_test.json")
PRETRAINED = (
    ("split", "--data", DATA, "--test", "0", "--output", "no_test.json"),
    ("pretrain-bilstm", "--input", DATA, "--split", "no_test.json", "--output", "e.pt", "--arms", "masked"),
)
FROZEN = ("train", *QUICK, "--pretrained-encoder", "e.pt", "--seed", "17")
SCRATCH = ("train", *QUICK, "--learning-rate", "1e-9", "--seed", "18")


@pytest.fixture
def two_without_test(sample, made_once) -> list[str]:
    """Names of a run on a frozen encoder and of one that learned nothing, both without a test part."""
    shutil.copytree(made_once(*PRETRAINED, FROZEN, SCRATCH), sample, dirs_exist_ok=True)
    return [next(RUNS.glob(f"*-s{seed}-*")).name for seed in (17, 18)]


def test_the_judged_model_is_the_promoted_one(two_without_test, moola, monkeypatch):
    run, baseline = RUNS / two_without_test[0], two_without_test[1]
    assert json.loads((run / "manifest.json").read_text())["trained_on"] == ["train"]
    assert not (run / "model_before_refit.pkl").exists()
    assert "There is no test part: the model" in (run / "model_card.md").read_text()
    judged = read_predictions(run / "predictions.parquet")
    assert set(judged.part) == {"val"}
    again = predict_windows(read_model(run / "model.pkl"), read_windows(Path(DATA), 105), judged.row, judged.part, CPU)
    np.testing.assert_allclose(again.class_prob, judged.class_prob, atol=1e-6)
    # Whatever is judged better, the judge is shown the predictions of the file that comes into use.
    shown, judge = [], evaluate.judge

    def better(challenger, *others, **options):
        shown.append(challenger)
        return replace(judge(challenger, *others, **options), outcome=Outcome.PROMOTE)

    monkeypatch.setattr(evaluate, "judge", better)
    moola("promote", "--run", run.name, "--baseline", baseline).ends(0)
    np.testing.assert_array_equal(shown[0].class_prob, judged.of_part("val").class_prob)
    promoted = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")
    assert promoted.read_bytes() == (run / "model.pkl").read_bytes()


def test_refit_is_refused_and_leaves_nothing(sample, made_once, moola):
    shutil.copytree(made_once(*PRETRAINED), sample, dirs_exist_ok=True)
    answer = moola(*FROZEN, "--refit").ends(2)
    said = "--refit must leave a test part to evaluate the model that it keeps, but no_test.json has 0 test"
    assert said in answer.err
    assert not RUNS.exists()


RECORDED = ({"trained_on": ["train", "val"]}, {"refit": True}, {"unlabelled": "x.parquet"})


def test_a_run_whose_model_val_rows_did_not_judge_is_refused(two_without_test, moola):
    """As `--refit` and students made them before they were refused: the record says so, in manifest or config."""
    judged, other = two_without_test
    folder = RUNS / judged
    before = {path: path.read_text() for path in (folder / "manifest.json", folder / "config.json")}
    commands = (
        ("eval", "--run", judged),
        ("gate", "--run", judged, "--baseline", other),
        ("gate", "--run", other, "--baseline", judged),
        ("promote", "--run", judged, "--baseline", other, "--accept", "inconclusive"),
        ("compare", other, judged),
        ("report", "--run", judged, "--output", "report.html"),
    )
    for recorded in RECORDED:
        manifest, config = (json.loads(text) for text in before.values())
        if "trained_on" in recorded:
            manifest |= recorded
        else:
            del manifest["trained_on"]
            (folder / "config.json").write_text(json.dumps(config | recorded))
            manifest["files"]["config.json"] = sha256_file(folder / "config.json")
        (folder / "manifest.json").write_text(json.dumps(manifest | {OWN_HASH: own_hash(manifest)}))
        for command in commands if recorded is RECORDED[0] else commands[:2]:
            answer = moola(*command)
            assert answer.code == 3, (command, recorded, answer.out)
            assert "must be evaluated on windows that it did not train on" in answer.err
    assert not Path("artifacts/models").exists()
    assert not Path("report.html").exists()
