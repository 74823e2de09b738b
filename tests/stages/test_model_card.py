"""The model card: its whole text, its marks, and that a run stays what it was when the card is written again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moola.errors import OperationFailed
from moola.files import json_bytes
from moola.fit.reference_fits import references_of_run
from moola.options.option_fields import RUNS_ROOT
from moola.runs import run_store
from moola.stages import model_card
from moola.stages.model_card import card_text, labelled_by
from moola.stages.run_summary import PartOfSplit, RunSummary
from tests.conftest import DATA, SPLIT

# Few figures: what is resampled is not the matter here.
EVAL = ("eval", "--metrics", "brier", "--event-metrics", "pointer_f1", "--run")
FIGURE = {"low": 0.1, "high": 0.3, "trivial": 0.25, "reason": ""}
MADE = RunSummary(
    manifest={
        "run_id": "20260102T030405Z-enhanced_simple_lstm-s17-0123abcd",
        "model": "enhanced_simple_lstm",
        "device": "cpu",
        "threads": 1,
        "data_sha256": "aa11",
        "split_sha256": "bb22",
        "encoder_sha256": "cc33",
        "pretrained": True,
        "encoder": {"frozen": True},
        "leak_proof": True,
        "leaks": [],
        "labelled_by": ["ana"],
        "n_windows": {"train": 30, "val": 9, "test": 10},
        "epochs_run": 40,
        "best_epoch": 7,
        "finished_at": "2026-01-02T03:04:05+00:00",
        "git_commit": "deadbeef",
        "versions": {"python": "3.11.7", "moola": "0.1.0"},
    },
    config={
        "data": "windows.parquet",
        "split": "split.json",
        "pretrained_encoder": "encoder.pt",
        "model": "enhanced_simple_lstm",
        "hidden_dim": 128,
        "num_layers": 2,
        "window_bars": 105,
        "predict_pointers": True,
        "augment_data": True,
        "cpsa_ratio": 0.5,
    },
    evaluation={
        "part": "test",
        "n_windows": 10,
        "block_windows": 2,
        "figures": {
            "pr_auc": {"value": None, "low": None, "high": None, "trivial": None, "reason": "one class is judged"},
            "brier": {"value": 0.2, **FIGURE},
            "ece": {"value": 0.05, "low": None, "high": None, "trivial": None, "reason": ""},
            "calibration_slope": {"value": 0.9, **FIGURE},
            "lead_lag_start_q25": {"value": -3.0, **FIGURE},
        },
        "perfect_ece": {"width": [0.01, 0.2], "mass": [0.01, 0.2]},
    },
    references={"logistic": {"brier": 0.22}},
    parts=[
        PartOfSplit("train", 30, {"consolidation": 22, "retracement": 8}, None),
        PartOfSplit("val", 9, {}, None),
        PartOfSplit("test", 10, {"consolidation": 10}, ("2026-01-01 00:00", "2026-01-05 12:00")),
    ],
    temperature=1.25,
    training={},
)
TEXT = card_text(MADE)


def changed(**manifest: Any) -> str:
    return card_text(replace(MADE, manifest=MADE.manifest | manifest))


def test_the_text_says_figures_data_limits_and_how_to_make_it_again() -> None:
    for line in (
        "`enhanced_simple_lstm` reads a window of 105 bars and says its class and the first and last bar of its "
        "expansion. Classes: consolidation, retracement. Encoder: 2 LSTM layer(s) of 128 units each way, pretrained "
        "(`encoder.pt`), frozen. Finished 2026-01-02T03:04:05+00:00; best epoch 7 of 40.",
        "| metric | value | 95 % interval | class share | logistic |",
        "| brier | 0.200 | 0.100 to 0.300 | 0.250 | 0.220 |",
        "| ece | 0.050 | - | - | - |",
        "Not to be had: pr_auc (one class is judged).",
        "Logits are divided by a temperature of 1.25, fitted on 9 val windows. The ECE of 0.050 is within what a "
        "perfectly calibrated model shows at this sample size (0.010 to 0.200). Calibration slope 0.90 (1 is best; "
        "below 1 it is too sure).",
        "| train | 30 | 22 consolidation, 8 retracement | - | - |",
        "| test | 10 | 10 consolidation | 2026-01-01 00:00 | 2026-01-05 12:00 |",
        "- Synthetic windows in training: 0.5 per real window in each epoch (mirror).",
        "- Leak-proof: yes: no part of the split shares a bar with another.",
        "- These windows do not show it to be better than the class share: its Brier may be as high as 0.300, and the "
        "share has 0.250.",
        "- Classes with fewer than 10 train windows: retracement (8). Expect little of them.",
        "git checkout deadbeef",
        "moola train --data windows.parquet --split split.json --pretrained-encoder encoder.pt --hidden-dim 128 "
        "--num-layers 2 --predict-pointers true --augment-data true --cpsa-ratio 0.5 --window-bars 105",
        "On cpu with 1 thread(s): python 3.11.7, moola 0.1.0.",
    ):
        assert line in TEXT.splitlines()
    # A better model has no line that it is not.
    figures = MADE.evaluation["figures"] | {"brier": {"value": 0.2, **FIGURE, "high": 0.24}}
    assert "do not show it" not in card_text(replace(MADE, evaluation=MADE.evaluation | {"figures": figures}))


def test_leaks_stand_on_top_and_in_the_list() -> None:
    lines = changed(leaks=["the split's parts share bars", "the encoder saw test"], leak_proof=False).splitlines()
    assert lines[2:5] == [
        "**NOT LEAK-PROOF: the split's parts share bars.**",
        "",
        "**NOT LEAK-PROOF: the encoder saw test.**",
    ]
    assert "- Leak-proof: no." in lines
    # A leak of the encoder is one too, however clean the split.
    assert "- Leak-proof: no." in changed(leaks=["the encoder saw test"]).splitlines()
    assert "NOT LEAK-PROOF" not in TEXT
    assert "- Leak-proof: could not be checked, the windows have no times." in changed(leak_proof=None)


def test_what_was_learned_after_the_choice_is_said() -> None:
    config = MADE.config | {"refit": True, "unlabelled": "bars.parquet"}
    training = {"unlabelled_sha256": "dd44", "n_unlabelled_windows": 99}
    text = card_text(replace(MADE, config=config, training=training, temperature=1.0))
    assert "retrained on train and val rows together" in text
    assert "a student learned from 99 windows without labels of `bars.parquet`, SHA-256 `dd44`." in text
    assert "a temperature of 1.00, for the student learned probabilities that were calibrated on 9 val windows." in text
    assert "student" not in TEXT
    val = replace(MADE, evaluation=MADE.evaluation | {"part": "val"})
    assert "**These windows selected the epoch and the temperature: the metrics are optimistic.**" in card_text(val)


def test_linear_heads_are_said_by_their_penalties_and_no_epoch_is() -> None:
    penalties = {"start": 0.15, "end": 0.6, "class": 1.0, "by_blocks": True}
    manifest = MADE.manifest | {"head": "linear", "penalties": penalties, "epochs_run": 1, "best_epoch": 1}
    config = MADE.config | {"head": "linear", "augment_data": False}
    linear = replace(MADE, manifest=manifest, config=config, training={"trained_on": ["train", "val"]})
    text = card_text(linear)
    assert "; linear heads: penalties start 0.15, end 0.6, class 1 chosen over blocks of time." in text
    assert "fitted on 39 train and val windows, each evaluated by heads that did not see its block of time." in text
    val = card_text(replace(linear, evaluation=MADE.evaluation | {"part": "val"}))
    assert "**These windows selected the pointer threshold: the metrics are optimistic.**" in val
    assert "epoch" not in text + val
    # Without blocks of time there is nothing to choose by, and without pointers nothing is left to val rows.
    alone = manifest | {"penalties": {"class": 1.0, "by_blocks": False}}
    text = card_text(replace(linear, manifest=alone, evaluation=MADE.evaluation | {"part": "val"}))
    assert "linear heads: penalties class 1 as usual, for there are no blocks of time to choose by." in text
    assert "which was not fitted, for no block of time could be held out." in text
    assert "These windows selected" not in text


def test_what_val_selected_is_said_of_val_alone_and_of_something_alone() -> None:
    val = replace(MADE, evaluation=MADE.evaluation | {"part": "val"})
    assert MADE.chosen_by_val == ""
    assert val.chosen_by_val == "These windows selected the epoch and the temperature: the metrics are optimistic."
    nothing = {"penalties": {"class": 1.0, "by_blocks": False}}
    assert replace(val, manifest=MADE.manifest | nothing).chosen_by_val == ""


def test_synthetic_windows_are_those_of_the_schedule() -> None:
    config = MADE.config | {"cpsa_schedule": [0.5, 2.0], "augmentations": ["mirror", "warp"]}
    assert replace(MADE, config=config).synthetic == "0.5, then 2.0 per real window in each epoch (mirror, warp)"
    assert replace(MADE, config=MADE.config | {"augment_data": False}).synthetic == "none"


def test_a_rule_is_no_person() -> None:
    assert labelled_by(["rule:prior-state-1"]) == "given by the published rule `rule:prior-state-1`, not a person"
    assert labelled_by(["ana", "ben"]) == "given by `ana` and `ben`"
    assert labelled_by([]) == "the data does not name the annotator"
    assert "not what a trader would mark" in changed(labelled_by=["ana", "rule:x"])
    assert "not what a trader would mark" not in TEXT
    # Names break no table and no code span.
    assert "- Labels: given by `a # b script`." in changed(labelled_by=["a`|\n# b <script>"])
    lines = card_text(
        replace(MADE, parts=[PartOfSplit("train", 23, {"up | down\n": 3, "flat": 20}, None)])
    ).splitlines()
    assert [line.count("|") for line in lines if line.startswith("| train")] == [6]


def test_train_writes_it_eval_refreshes_it_and_the_run_stays_whole(made_run, moola) -> None:
    name = made_run().name
    card = Path("artifacts/runs") / name / run_store.CARD
    manifest = card.with_name(run_store.MANIFEST).read_bytes()
    assert run_store.CARD not in json.loads(manifest)["files"]
    first = card.read_text()
    assert "On 34 windows of val." in first
    assert "| train | 94 | 43 consolidation, 51 retracement | 2017-01-01 22:00 | 2017-07-07 05:00 |" in first
    assert moola(*EVAL, name).code == 0
    second = card.read_text()
    assert second != first
    assert "On 44 windows of test." in second
    assert "| metric | value | 95 % interval | class share | logistic | summary_trees |" in second
    assert "not a person" in second
    assert moola(*EVAL, name).code == 0
    assert card.read_text() == second
    assert card.with_name(run_store.MANIFEST).read_bytes() == manifest
    # What a person writes into a card, or a card that is gone, is no reason to refuse the run.
    card.write_text("mine")
    assert run_store.find_run(RUNS_ROOT, name).manifest == json.loads(manifest)
    card.unlink()
    assert moola(*EVAL, name).code == 0
    assert card.read_text() == second
    card.with_name(run_store.METRICS).write_text("{}")
    assert moola(*EVAL, name).code == 5


@pytest.mark.slow
def test_train_report_and_card_say_what_linear_heads_were_fitted_by(
    sample, made_once, moola, train, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain = ("pretrain-bilstm", "--input", DATA, "--split", SPLIT, "--output", "e.pt", "--arms", "masked")
    shutil.copytree(made_once(pretrain), sample, dirs_exist_ok=True)
    monkeypatch.delenv("MOOLA_EPOCHS")
    told = train("--pretrained-encoder", "e.pt")
    said = "inear heads: penalties start "
    assert f"L{said}" in told.out
    assert "epoch" not in (told.out + told.err).lower()
    name = told.last_line
    run = run_store.find_run(RUNS_ROOT, name)
    assert run.manifest is not None
    assert run.manifest["head"] == "linear"
    assert set(run.manifest["penalties"]) == {"start", "end", "class", "by_blocks"}
    assert "epoch" not in run.path(run_store.CARD).read_text()
    assert moola("report", "--run", name, "--output", "report.html").code == 0
    page = Path("report.html").read_text()
    assert f"l{said}" in page
    assert "epoch" not in page.replace("--epochs", "")


def test_a_run_of_before_has_references_from_its_data_and_a_disk_that_refuses_the_card_is_a_warning(
    made_run, moola, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = made_run().name
    run = run_store.find_run(RUNS_ROOT, name)
    kept = {part: references_of_run(run, part) for part in ("val", "test")}
    assert kept["test"]["logistic"]["brier"] != kept["val"]["logistic"]["brier"]
    manifest = json.loads(run.path(run_store.MANIFEST).read_bytes())
    del manifest["files"][run_store.REFERENCES]
    manifest[run_store.OWN_HASH] = run_store.own_hash(manifest)
    run.path(run_store.MANIFEST).write_bytes(json_bytes(manifest))
    run.path(run_store.REFERENCES).unlink()
    assert {part: references_of_run(run, part) for part in ("val", "test")} == kept
    for path in (DATA, SPLIT):
        Path(path).unlink()
    assert moola(*EVAL, name).code == 0
    text = (Path("artifacts/runs") / name / run_store.CARD).read_text()
    assert "| metric | value | 95 % interval | class share |" in text
    assert "| train | 94 | 43 consolidation, 51 retracement | - | - |" in text

    def full(*_: object) -> None:
        raise OperationFailed("model_card.md must be writable, but the disk is full")

    monkeypatch.setattr(model_card, "write_atomic", full)
    answer = moola(*EVAL, name)
    assert answer.code == 0
    assert "No model card: model_card.md must be writable" in answer.err
