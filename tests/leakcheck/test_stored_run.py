"""A run whose files, rows, labels or probabilities are not what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.core.event_merging import live_events
from moola.files import sha256_file
from moola.fit.predicting import predict_windows
from moola.leakcheck import run_checks
from moola.leakcheck.run_checks import encoder, run_files, run_predictions
from moola.leakcheck.subject import open_subject
from moola.models.model_files import read_model, write_encoder
from moola.options.judging_options import LeakcheckOptions
from moola.runs.run_store import MODEL_BEFORE_REFIT, OWN_HASH, own_hash
from moola.scan import window_reading as scan_reading
from tests.conftest import DATA, SPLIT
from tests.leakcheck.subjects import leaks, only_leak, states, subject_of, without_times, write_files
from tests.networks_made import made_scaler, tiny_encoder
from tests.planted import planted_windows


@pytest.fixture
def run(made_run) -> Path:
    return made_run("--augment-data", "false")


@pytest.fixture
def refitted(made_run) -> Path:
    """A frozen run as it is by default: val rows are of the model before it was retrained on them."""
    pretrain = ("pretrain-bilstm", "--input", DATA, "--split", SPLIT, "--output", "e.pt", "--arms", "masked")
    given = ("--pretrained-encoder", "e.pt", "--augment-data", "false")
    return made_run(*given, before=(pretrain,))


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


def made_before_it_was_kept(run: Path) -> None:
    """Take from a run what older ones lack: the model before the refit, and the parts that a model trained on."""
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["trained_on"], manifest["files"][MODEL_BEFORE_REFIT]
    (run / MODEL_BEFORE_REFIT).unlink()
    write_manifest(run, manifest)


def at(name: str, place: int, value):
    chosen = pl.int_range(pl.len()) == place
    return lambda frame: frame.with_columns(pl.when(chosen).then(value).otherwise(pl.col(name)).alias(name))


def test_a_run_as_it_was_left_passes(run):
    subject = opened(run)
    assert states(run_files(subject)) == {"ok"}
    assert states(run_predictions(subject)) == {"ok"}
    assert states(encoder(subject)) == {"ok"}


FORGED = [
    (at("label", 5, pl.lit("consolidation")), "another label"),
    (at("expansion_start", 5, pl.lit(1)), "another expansion_start"),
    (at("window_id", 5, pl.lit("x")), "another window_id"),
    (at("prob_retracement", 5, pl.col("prob_retracement") + 2e-6), "1 of 78 windows are off"),
    (at("row", 5, pl.lit(0)), "the split has not in that part"),
    (lambda frame: pl.concat([frame[:5], frame[6:]]), "have no prediction"),
]


def test_forged_predictions_are_named(run):
    before = pl.read_parquet(run / "predictions.parquet")
    # A row whose label is the other one, so that the change is one.
    place = int(np.flatnonzero((before["label"] == "retracement").to_numpy())[5])
    order = [*[i for i in range(len(before)) if i != place][:5], place]
    order += [i for i in range(len(before)) if i not in order]
    for change, says in FORGED:
        forge(run, lambda _, change=change: change(before[order]))
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


def test_each_row_of_a_refitted_run_is_judged_by_the_model_that_gave_it(refitted, moola):
    assert states(run_predictions(opened(refitted))) == {"ok"}
    answer = moola("leakcheck", "--data", DATA, "--split", SPLIT, "--run", refitted, "--quick")
    assert answer.code == 0, answer.out
    kept, before = ((refitted / name).read_bytes() for name in ("model.pkl", MODEL_BEFORE_REFIT))
    assert kept != before
    # Neither part may pass for the other's: a changed row of each is found.
    parts = pl.read_parquet(refitted / "predictions.parquet")["part"].to_list()
    for part in ("val", "test"):
        place = parts.index(part) + 1
        forge(refitted, at("prob_retracement", place, pl.col("prob_retracement") * 0.999))
        leak = only_leak(run_predictions(opened(refitted)))
        assert leak.row == pl.read_parquet(refitted / "predictions.parquet")["row"][place]
        forge(refitted, at("prob_retracement", place, pl.col("prob_retracement") / 0.999))


def test_val_rows_of_a_model_that_trained_on_them_are_a_leak(refitted):
    subject = opened(refitted)
    val = np.flatnonzero(np.array(pl.read_parquet(refitted / "predictions.parquet")["part"].to_list()) == "val")
    anew = predict_windows(
        read_model(refitted / "model.pkl"), subject.table, subject.split.val, np.full(len(val), "val"), subject.device
    )

    def told_by_the_kept(frame):
        columns = {f"prob_{name}": anew.class_prob[:, i] for i, name in enumerate(anew.class_names)}
        return frame.with_columns(
            pl.Series(name, np.concatenate([values, frame[name].to_numpy()[len(val) :]]))
            for name, values in columns.items()
        )

    forge(refitted, told_by_the_kept)
    assert f"{len(val)} of 78 windows are off" in only_leak(run_predictions(opened(refitted))).found
    (refitted / MODEL_BEFORE_REFIT).write_bytes((refitted / "model.pkl").read_bytes())
    manifest = json.loads((refitted / "manifest.json").read_text())
    manifest["files"][MODEL_BEFORE_REFIT] = manifest["files"]["model.pkl"]
    write_manifest(refitted, manifest)
    assert any("trained on them" in leak.found for leak in leaks(run_predictions(opened(refitted))))


def test_a_refitted_run_of_before_says_what_cannot_be_checked_and_checks_the_rest(refitted):
    made_before_it_was_kept(refitted)
    (note,) = [one for one in run_predictions(opened(refitted)) if one.state == "note"]
    assert "34 of 78 predictions, those of val" in note.found
    assert not leaks(run_predictions(opened(refitted)))
    forge(refitted, at("prob_retracement", 77, pl.col("prob_retracement") * 0.999))
    assert "1 of 44 windows are off" in only_leak(run_predictions(opened(refitted))).found


@pytest.fixture
def judged(tmp_path):
    def judge(table, **pretraining):
        options = write_files(tmp_path, table)
        path = tmp_path / "encoder.pt"
        if pretraining.get("input_sha256") == "the data":
            from moola.files import sha256_file

            pretraining["input_sha256"] = sha256_file(options.data)
        write_encoder(path, tiny_encoder(), made_scaler(), 105, pretraining)
        return encoder(open_subject(replace(options, pretrained_encoder=path)))

    return judge


def test_an_encoder_that_saw_val_and_one_that_did_not(judged):
    table = planted_windows(40, seed=3)
    until = {19: "2017-10-09T12:00:00Z", 24: "2017-10-31T00:00:00Z"}
    findings = judged(table, time_range=["2016-01-01T00:00:00Z", until[19]])
    assert states(findings) == {"ok"}
    leak = only_leak(judged(table, time_range=["2016-01-01T00:00:00Z", until[24]]))
    assert leak.row == 20
    assert "of 20 val and test windows" in leak.found
    assert until[24] in leak.found


def test_without_times_the_input_file_decides(judged):
    table = without_times(planted_windows(40, seed=3))
    assert only_leak(judged(table, input_sha256="the data", split_sha256=None)).row == 20
    assert states(judged(table, input_sha256="ff" * 32, split_sha256=None)) == {"note"}


def test_nothing_to_check(tmp_path):
    assert states(encoder(open_subject(write_files(tmp_path, planted_windows(40, seed=3))))) == {"note"}


BARS = Path("data/raw/eurusd_1h_2017.parquet")


@pytest.fixture
def subject(made_run):
    """A run of a model that sees 75 bars, and bars to scan."""
    run = made_run("--augment-data", "false", "--visible-bars", "75")
    some = BARS.with_name("some.parquet")
    pl.read_parquet(BARS).head(1500).write_parquet(some)
    options = LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), run=run, bars=some, device="cpu")
    return open_subject(options)


@pytest.mark.slow
def test_a_model_of_visible_bars_passes_both_checks(subject):
    findings = [*run_checks.hidden_bars(subject), *run_checks.live_scan(subject)]
    assert [(finding.what, finding.state) for finding in findings] == [("hidden bars", "ok"), ("live scan", "ok")]
    assert "to the bit" in findings[1].found


def test_a_network_that_sees_hidden_bars_is_a_leak(subject, monkeypatch):
    honest = run_checks.read_windows_both_ways

    def peeking(model, features, device):
        logits, curves = honest(model, features, device)
        return logits + features[:, -1, :1], curves

    monkeypatch.setattr(run_checks, "read_windows_both_ways", peeking)
    leak = only_leak(run_checks.hidden_bars(subject))
    assert "after the 75 that it may see" in leak.found
    assert leak.bar == 75


def test_events_judged_by_windows_to_come_are_a_leak(subject, monkeypatch):
    def knowing(said, telling, *rest):
        found = live_events(said, telling, *rest)
        # The mean over every window read, those after the telling one too.
        return replace(found, event_prob=found.event_prob + said.class_prob[:, 0].mean())

    monkeypatch.setattr(scan_reading, "live_events", knowing)
    assert "change the events reported by then" in only_leak(run_checks.live_scan(subject)).found


@pytest.mark.slow
def test_a_window_that_must_have_its_hidden_bars_is_a_leak(subject, monkeypatch):
    honest = live_events

    def late(said, telling, *rest):
        # Nothing is told at the last windows of what is read: they would miss the bars that are to come.
        return honest(said, telling & (np.arange(len(said)) < len(said) - 6), *rest)

    monkeypatch.setattr(scan_reading, "live_events", late)
    assert leaks(run_checks.live_scan(subject))


def test_what_cannot_be_checked_is_said(tmp_path, subject):
    assert states(run_checks.hidden_bars(subject_of(tmp_path, planted_windows(40, seed=3)))) == {"note"}
    assert states(run_checks.live_scan(replace(subject, options=replace(subject.options, bars=None)))) == {"note"}
    few = BARS.with_name("few.parquet")
    pl.read_parquet(BARS).head(50).write_parquet(few)
    assert (
        "cannot be scanned"
        in run_checks.live_scan(replace(subject, options=replace(subject.options, bars=few)))[0].found
    )
