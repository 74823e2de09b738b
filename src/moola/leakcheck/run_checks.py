"""Checks of a stored run: its predictions, its model, its scaler, its encoder and its live events."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.bars import Bars
from moola.core.features import RobustScaler, relative_features
from moola.core.seeds import generator
from moola.core.windows import rows_of
from moola.errors import MoolaError
from moola.fit.predicting import predict_windows, read_windows_both_ways
from moola.leakcheck.subject import Finding, Subject
from moola.models.model_files import (
    EncoderFile,
    ModelFile,
    is_as_it_was,
    named_encoders,
    read_encoder,
    read_model,
    recorded_encoders,
)
from moola.options.scan_options import ScanOptions
from moola.provenance.learned_times import find_leaks, seen_among, seen_times
from moola.runs import run_store
from moola.scan.scanning import Scan
from moola.stages.evaluate import val_is_of_kept_model
from moola.tables.bar_table import read_bars, write_bars
from moola.tables.event_table import events_frame, read_events
from moola.tables.prediction_table import Predictions, read_predictions

TOLERANCE = 1e-6
# Another device adds in another order.
TOLERANCE_ELSEWHERE = 1e-4
RUN_ADVICE = "Train the run again on these files."


def run_files(subject: Subject) -> list[Finding]:
    """Return whether the run was made from this data and split, and what it recorded of leaks."""
    if subject.run is None:
        return [Finding("run files", "note", "no --run: no trained model to check")]
    manifest = subject.run.manifest or {}
    findings = []
    for name, ours in (("data", subject.data_sha256), ("split", subject.split_sha256)):
        theirs = str(manifest.get(f"{name}_sha256"))
        if theirs != ours:
            found = f"run {subject.run.run_id} is of a {name} file {theirs[:12]}..., this one is {ours[:12]}..."
            findings.append(Finding("run files", "leak", found, RUN_ADVICE))
    findings += [
        Finding("run files", "leak", f"run {subject.run.run_id} recorded: {leak}", RUN_ADVICE)
        for leak in manifest.get("leaks") or []
    ]
    fine = f"run {subject.run.run_id} is unaltered, and of this data and this split"
    return findings or [Finding("run files", "ok", fine)]


def run_predictions(subject: Subject) -> list[Finding]:
    """Compare the prediction table with the data: rows, parts, labels, pointers, probabilities."""
    if subject.run is None:
        return []
    predictions = read_predictions(subject.run.path(run_store.PREDICTIONS))
    model = read_model(subject.run.path(run_store.MODEL))
    strange = _strange_rows(subject, predictions)
    if strange is not None:
        return [strange]
    findings = [*_truth(subject, predictions), *_trained_on_test(subject, model)]
    findings += _predicted_anew(subject, predictions, model)
    fine = f"all {len(predictions)} predictions are of the windows, labels and pointers of val and test"
    return findings if any(f.state != "ok" for f in findings) else [*findings, Finding("run predictions", "ok", fine)]


def _leak(subject: Subject, found: str, row: int | None) -> Finding:
    place = "" if row is None else f", first {subject.name(row)}"
    return Finding("run predictions", "leak", found + place, RUN_ADVICE, row)


def _strange_rows(subject: Subject, predictions: Predictions) -> Finding | None:
    """Predictions must be of the split's val and test rows, each once."""
    n = len(subject.table)
    outside = [int(row) for row in predictions.row if not 0 <= row < n]
    if outside:
        return _leak(subject, f"{len(outside)} predictions are of rows that the data has not, as {outside[0]}", None)
    split = subject.split
    of_part = {int(row): part for part in ("val", "test") for row in split.part(part)}
    pairs = list(zip(predictions.row.tolist(), predictions.part.tolist(), strict=True))
    wrong = [row for row, part in pairs if of_part.get(row) != part]
    if wrong:
        return _leak(subject, f"{len(wrong)} predictions are of rows that the split has not in that part", wrong[0])
    missing = sorted(set(of_part) - {row for row, _ in pairs})
    if missing or len(pairs) != len(of_part):
        found = f"{len(missing)} val and test rows have no prediction, and {len(pairs)} predictions are there"
        return _leak(subject, found, missing[0] if missing else None)
    return None


def _truth(subject: Subject, predictions: Predictions) -> list[Finding]:
    table, rows = subject.table, predictions.row
    names = np.array([*predictions.class_names, None], dtype=object)
    wrong = {
        "window_id": np.array([table.window_id[row] for row in rows]) != np.array(predictions.window_id),
        "label": names[predictions.class_index] != table.label[rows],
        "expansion_start": predictions.true_bar[:, 0] != table.expansion_start[rows],
        "expansion_end": predictions.true_bar[:, 1] != table.expansion_end[rows],
    }
    return [
        _leak(subject, f"{int(differs.sum())} predictions have another {name} than the data", int(rows[differs][0]))
        for name, differs in wrong.items()
        if differs.any()
    ]


def _trained_on_test(subject: Subject, model: ModelFile) -> list[Finding]:
    table, test = subject.table, subject.split.test
    seen = seen_among(model.training, rows_of(table.start_us, test), rows_of(table.close_us, test))
    if seen is None or not seen.any():
        return []
    span = model.training["time_range"]
    found = f"the model learned from {span[0]} to {span[1]}, and {int(seen.sum())} test windows are in it"
    return [_leak(subject, found, int(test[seen][0]))]


def _trained_on_val(model: ModelFile) -> list[Finding]:
    """The model that predicted val rows must not have trained on them."""
    if "val" not in model.training.get("trained_on", ()):
        return []
    found = "the model that is to have predicted val rows trained on them"
    return [Finding("run predictions", "leak", found, RUN_ADVICE)]


def _judge_of_val(run: run_store.Run, model: ModelFile) -> ModelFile | None:
    """Return the model that predicted val rows; None where the run is of before it was kept."""
    if val_is_of_kept_model(run):
        return model
    before = run.path(run_store.MODEL_BEFORE_REFIT)
    if "trained_on" in run.record or before.is_file():
        return read_model(before)
    return None


def _predicted_anew(subject: Subject, predictions: Predictions, model: ModelFile) -> list[Finding]:
    """Let each part's own model predict it again: test rows the one that is kept, val rows perhaps the one before."""
    assert subject.run is not None
    judge_of_val = _judge_of_val(subject.run, model)
    judges = {"test": model} | ({} if judge_of_val is None else {"val": judge_of_val})
    findings = [] if judge_of_val is None else _trained_on_val(judge_of_val)
    if any(
        judge.window_bars != subject.table.window_bars or judge.class_names != predictions.class_names
        for judge in judges.values()
    ):
        return [_leak(subject, "the model is of other windows or classes than its predictions", None)]
    known = predictions.take(np.flatnonzero(np.isin(predictions.part.astype(str), list(judges))))
    if n_unknown := len(predictions) - len(known):
        found = (
            f"{n_unknown} of {len(predictions)} predictions, those of val, come from the model before it was trained "
            "again, which this run did not keep: they cannot be predicted again"
        )
        findings.append(Finding("run predictions", "note", found, "Train the run again to have them checked."))
    return [*findings, _compared(subject, known, judges)] if len(known) else findings


def _compared(subject: Subject, predictions: Predictions, judges: dict[str, ModelFile]) -> Finding:
    assert subject.run is not None
    made_on = (subject.run.manifest or {}).get("device")
    tolerance = TOLERANCE if made_on == subject.device.type else TOLERANCE_ELSEWHERE
    off, moved = np.zeros(len(predictions)), np.zeros(len(predictions), dtype=bool)
    for part in np.unique(predictions.part.astype(str)):
        mine = np.flatnonzero(predictions.part == part)
        stored = predictions.take(mine)
        again = predict_windows(judges[str(part)], subject.table, stored.row, stored.part, subject.device)
        off[mine] = np.abs(again.class_prob - stored.class_prob).max(axis=1)
        moved[mine] = (again.predicted_bar != stored.predicted_bar).any(axis=1) & (tolerance == TOLERANCE)
    differs = off > tolerance
    if differs.any() or moved.any():
        first = int(predictions.row[differs | moved][0])
        found = (
            f"the run's model does not give its stored predictions: {int(differs.sum())} of {len(off)} windows are off "
            f"by up to {off.max():.2g} in probability, {int(moved.sum())} have other pointers"
        )
        return _leak(subject, found, first)
    found = f"the run's model gives its stored probabilities again, to {max(float(off.max()), 0.0):.1g} at most"
    return Finding("run predictions", "ok", found)


# A run's scaler: refitted on the rows that it may know, and compared with the one in the model file.


WHAT = "scaler"
SCALER_ADVICE = "Train the run again: its scaler must be fitted on train rows alone."
# Features of a relative file may be rounded as far as `stored features` lets them.
ROUNDING = 1e-6


def scaler(subject: Subject) -> list[Finding]:
    """Compare the scaler of the run's model with that of its encoder, or without one with a fit on train rows."""
    if subject.run is None:
        return [Finding(WHAT, "note", "no --run whose scaler could be compared")]
    model = read_model(subject.run.path(run_store.MODEL))
    known, of = _expected(subject, subject.run, model.visible_bars)
    if known is not None and _same(model.scaler, known):
        return [Finding(WHAT, "ok", f"the model's scaler is {of}")]
    split = subject.split
    wider = {
        "all rows": np.arange(len(subject.table)),
        "train, val and test rows": np.concatenate([split.train, split.val, split.test]),
        "train and val rows": np.concatenate([split.train, split.val]),
    }
    for name, rows in wider.items():
        if _same(model.scaler, _fit(subject, rows, model.visible_bars)):
            return [Finding(WHAT, "leak", f"the model's scaler is that of {name}, not {of}", SCALER_ADVICE)]
    if known is None:
        return [Finding(WHAT, "note", f"the model's scaler cannot be compared: {of}", "Put the file back to check it.")]
    off = np.abs(model.scaler.center - known.center) / known.scale
    found = f"the model's scaler is not {of}: its centres are off by up to {off.max():.2g} of a feature's spread"
    return [Finding(WHAT, "leak", found, SCALER_ADVICE)]


def _expected(subject: Subject, run: run_store.Run, visible_bars: int | None) -> tuple[RobustScaler | None, str]:
    """Return the scaler that training takes, and its name; None where the encoder's file is not there."""
    expected = run.record.get("encoder_sha256")
    if expected is None:
        return _fit(subject, subject.split.train, visible_bars), "that of the train rows"
    named = recorded_encoders(run.read(run_store.CONFIG).get("pretrained_encoder"))
    if not is_as_it_was(named, expected):
        return None, f"the encoder that it comes from is not at {named_encoders(named)} as it was"
    assert named is not None
    return read_encoder(named).scaler, "that of the encoder it started from"


def _fit(subject: Subject, rows: np.ndarray, visible_bars: int | None) -> RobustScaler:
    return RobustScaler.fit(subject.features[rows][:, :visible_bars])


def _same(one: RobustScaler, other: RobustScaler) -> bool:
    near = np.abs(one.center - other.center) <= ROUNDING * other.scale
    return bool(near.all() and np.allclose(one.scale, other.scale, rtol=ROUNDING))


# Encoders that saw bars of val or test.


ENCODER_ADVICE = "Pretrain with `moola pretrain-bilstm --split`, and retrain from that encoder."


def encoder(subject: Subject) -> list[Finding]:
    """Evaluate the encoder file that was named, and the one that the run started from."""
    findings = []
    if subject.encoder is not None:
        findings += judge_encoder(subject, subject.encoder, named_encoders(subject.options.pretrained_encoder))
    if subject.run is not None:
        findings += _of_run(subject, subject.run)
    return findings or [Finding("encoder", "note", "no --pretrained-encoder and no --run: no encoder to check")]


def _of_run(subject: Subject, run: run_store.Run) -> list[Finding]:
    expected = run.record.get("encoder_sha256")
    named = recorded_encoders(run.read(run_store.CONFIG).get("pretrained_encoder"))
    if expected is None or named is None:
        return [Finding("encoder", "ok", f"run {run.run_id} started from scratch: no encoder saw anything")]
    name = named_encoders(named)
    if not is_as_it_was(named, expected):
        found = f"the encoder of run {run.run_id} is not at {name} as it was: only what the run recorded is known"
        return [Finding("encoder", "note", found, "Put the file back to check it.")]
    return judge_encoder(subject, read_encoder(named), name)


def judge_encoder(subject: Subject, file: EncoderFile, name: str) -> list[Finding]:
    """Compare the times (or the input file) that an encoder saw with the held-out windows."""
    held_out = np.concatenate([subject.split.val, subject.split.test])
    sentences = find_leaks(None, file, subject.table, subject.split, subject.data_sha256)
    table, row, detail = subject.table, int(held_out[0]), ""
    seen = seen_among(file.pretraining, rows_of(table.start_us, held_out), rows_of(table.close_us, held_out))
    if seen is not None:
        row = int(held_out[int(seen.argmax())])
        detail = f"it saw {seen_times(file.pretraining)}"
    elif not sentences:
        found = f"{name} or the data has no times: whether it saw held-out bars cannot be determined"
        return [Finding("encoder", "note", found, ENCODER_ADVICE)]
    if sentences:
        found = "; ".join([f"{name}: {sentence}, first {subject.name(row)}" for sentence in sentences] + [detail])
        return [Finding("encoder", "leak", found.rstrip("; "), ENCODER_ADVICE, row)]
    return [Finding("encoder", "ok", f"{name} saw no time of val or test ({detail})")]


# What a live model may not know: bars hidden in its windows, and bars after the moment at which an event is reported.


HIDDEN, LIVE = "hidden bars", "live scan"
N_WINDOWS, N_MOMENTS, WINDOWS_LONG = 8, 4, 8
LIVE_ADVICE = "Report it: live events must depend on past bars alone."


def hidden_bars(subject: Subject) -> list[Finding]:
    """Change the bars that the run's model does not see: its predictions must stay as they are, to the bit."""
    if subject.run is None:
        return [Finding(HIDDEN, "note", "no --run whose model could be shown other bars")]
    model = read_model(subject.run.path(run_store.MODEL))
    if model.visible_bars is None:
        found = f"the model sees all {model.window_bars} bars: a prediction of a window is known when its last bar is"
        return [Finding(HIDDEN, "note", found)]
    ohlc = subject.table.ohlc
    if ohlc is None or subject.table.window_bars != model.window_bars:
        return [Finding(HIDDEN, "note", "the file has no bars of the model's windows to change")]
    rng = generator(subject.options.seed, "leakcheck", "hidden")
    rows = np.sort(rng.permutation(len(ohlc))[:N_WINDOWS])
    changed = ohlc[rows].copy()
    changed[:, model.n_seen_bars :] *= _other_prices(rng, model.window_bars - model.n_seen_bars)
    before, after = (_outputs(subject, model, relative_features(bars)) for bars in (ohlc[rows], changed))
    differs = [np.any(one != other, axis=tuple(range(1, one.ndim))) for one, other in zip(before, after, strict=True)]
    wrong = np.flatnonzero(np.any(differs, axis=0))
    n_seen = model.n_seen_bars
    if len(wrong):
        row = int(rows[wrong[0]])
        found = (
            f"what the model predicts for {len(wrong)} of {len(rows)} windows, first {subject.name(row)}, changes with "
        )
        return [Finding(HIDDEN, "leak", f"{found}bars after the {n_seen} that it may see", LIVE_ADVICE, row, n_seen)]
    found = f"other bars after the {n_seen} visible ones change no prediction of {len(rows)} windows, to the bit"
    return [Finding(HIDDEN, "ok", found)]


def _outputs(subject: Subject, model: ModelFile, features: np.ndarray) -> list[np.ndarray]:
    return [output for output in read_windows_both_ways(model, features, subject.device) if output is not None]


def live_scan(subject: Subject) -> list[Finding]:
    """Scan bars live, then with other bars after some moments, then with none: the reported events must be the same."""
    if subject.run is None or subject.options.bars is None:
        return [Finding(LIVE, "note", "no --run and --bars to scan live", "Give both to have it proved.")]
    model = subject.run.path(run_store.MODEL)
    n_seen = read_model(model).n_seen_bars
    bars = read_bars(subject.options.bars)
    bars = bars.take(np.flatnonzero(bars.symbol == bars.symbol[0])[-WINDOWS_LONG * n_seen :])
    try:
        return _compare_scans(subject, model, bars, n_seen)
    except MoolaError as error:
        return [Finding(LIVE, "note", f"the bars cannot be scanned: {str(error).splitlines()[0]}")]


def _compare_scans(subject: Subject, model: Path, bars: Bars, n_seen: int) -> list[Finding]:
    rng = generator(subject.options.seed, "leakcheck", "live")
    with tempfile.TemporaryDirectory() as folder:
        events = _live_events(subject, model, bars, Path(folder))
        known = events["known_ts"].dt.timestamp("us").to_numpy()
        for moment in np.linspace(n_seen, len(bars) - 2, N_MOMENTS).astype(np.int64).tolist():
            other = bars.ohlc.copy()
            other[moment + 1 :] *= _other_prices(rng, len(bars) - moment - 1)
            futures = {
                "other bars": replace(bars, ohlc=other),
                "no bars": bars.take(slice(moment + 1)),
            }
            before = events.filter(known <= bars.start_us[moment])
            for name, future in futures.items():
                after = _live_events(subject, model, future, Path(folder))
                after = after.filter(after["known_ts"].dt.timestamp("us").to_numpy() <= bars.start_us[moment])
                if not after.equals(before):
                    found = (
                        f"{name} after bar {moment} of {len(bars)} change the events reported by then: {len(before)} "
                        f"before, {len(after)} after, or other figures"
                    )
                    return [Finding(LIVE, "leak", found, LIVE_ADVICE, bar=moment)]
    found = (
        f"{len(events)} events reported live over {len(bars)} bars: other bars, or none, after any of {N_MOMENTS} "
        "moments change no event reported by then, to the bit"
    )
    return [Finding(LIVE, "ok", found)]


def _live_events(subject: Subject, model: Path, bars: Bars, folder: Path) -> pl.DataFrame:
    """Return the event table of a live scan; every pair is an event, so that many are compared."""
    path, output = folder / "bars.parquet", folder / "events.parquet"
    write_bars(path, bars)
    options = ScanOptions(
        model=model,
        bars=path,
        output=output,
        live=True,
        min_prob=0.0,
        overwrite=True,
        device=subject.options.device,
        threads=subject.options.threads,
    )
    scan = Scan(options)
    scan.run(lambda *_: None)
    scan.parts.clear()
    return events_frame(read_events(output))


def _other_prices(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    """Return what bars are multiplied with: a random walk, so that they stay valid bars."""
    factor: np.ndarray = np.exp(np.cumsum(rng.normal(0.0, 1e-3, n_bars)))[:, None]
    return factor
