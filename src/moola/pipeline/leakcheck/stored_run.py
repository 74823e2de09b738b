"""A run: made from these files, its predictions of these windows, and made by its own model."""

from __future__ import annotations

import numpy as np

from moola.data.contracts.frames import rows_of
from moola.data.contracts.prediction_table import Predictions, read_predictions
from moola.models.files import ModelFile, read_model
from moola.pipeline.judging import val_is_of_kept_model
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject
from moola.pipeline.predicting import predict_windows
from moola.pipeline.seen import seen_among
from moola.runs import store

TOLERANCE = 1e-6
# Another device adds in another order.
TOLERANCE_ELSEWHERE = 1e-4
ADVICE = "Train the run anew on these files."


def run_files(subject: Subject) -> list[Finding]:
    """Tell whether the run was made from this data and split, and what it recorded of leaks."""
    if subject.run is None:
        return [Finding("run files", "note", "no --run: no trained model to check")]
    manifest = subject.run.manifest or {}
    findings = []
    for name, ours in (("data", subject.data_sha256), ("split", subject.split_sha256)):
        theirs = str(manifest.get(f"{name}_sha256"))
        if theirs != ours:
            found = f"run {subject.run.run_id} is of a {name} file {theirs[:12]}..., this one is {ours[:12]}..."
            findings.append(Finding("run files", "leak", found, ADVICE))
    findings += [
        Finding("run files", "leak", f"run {subject.run.run_id} recorded: {leak}", ADVICE)
        for leak in manifest.get("leaks") or []
    ]
    fine = f"run {subject.run.run_id} is unaltered, and of this data and this split"
    return findings or [Finding("run files", "ok", fine)]


def run_predictions(subject: Subject) -> list[Finding]:
    """Compare the prediction table with the data: rows, parts, labels, pointers, probabilities."""
    if subject.run is None:
        return []
    predictions = read_predictions(subject.run.path(store.PREDICTIONS))
    model = read_model(subject.run.path(store.MODEL))
    strange = _strange_rows(subject, predictions)
    if strange is not None:
        return [strange]
    findings = [*_truth(subject, predictions), *_trained_on_test(subject, model)]
    findings += _predicted_anew(subject, predictions, model)
    fine = f"all {len(predictions)} predictions are of the windows, labels and pointers of val and test"
    return findings if any(f.state != "ok" for f in findings) else [*findings, Finding("run predictions", "ok", fine)]


def _leak(subject: Subject, found: str, row: int | None) -> Finding:
    place = "" if row is None else f", first {subject.name(row)}"
    return Finding("run predictions", "leak", found + place, ADVICE, row)


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
    found = f"the model learned from {span[0]} to {span[1]}, and {int(seen.sum())} test windows lie in it"
    return [_leak(subject, found, int(test[seen][0]))]


def _trained_on_val(model: ModelFile) -> list[Finding]:
    """The model that predicted val rows must not have trained on them."""
    if "val" not in model.training.get("trained_on", ()):
        return []
    found = "the model that is to have predicted val rows trained on them"
    return [Finding("run predictions", "leak", found, ADVICE)]


def _judge_of_val(run: store.Run, model: ModelFile) -> ModelFile | None:
    """Return the model that predicted val rows; None where the run is of before it was kept."""
    if val_is_of_kept_model(run):
        return model
    before = run.path(store.MODEL_BEFORE_REFIT)
    if "trained_on" in (run.manifest or {}) or before.is_file():
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
            "anew, which this run did not keep: they cannot be told again"
        )
        findings.append(Finding("run predictions", "note", found, "Train the run anew to have them checked."))
    return [*findings, _compared(subject, known, judges)] if len(known) else findings


def _compared(subject: Subject, predictions: Predictions, judges: dict[str, ModelFile]) -> Finding:
    assert subject.run is not None
    made_on = (subject.run.manifest or {}).get("device")
    tolerance = TOLERANCE if made_on == subject.device.type else TOLERANCE_ELSEWHERE
    off, moved = np.zeros(len(predictions)), np.zeros(len(predictions), dtype=bool)
    for part in np.unique(predictions.part.astype(str)):
        mine = np.flatnonzero(predictions.part == part)
        stored = predictions.take(mine)
        anew = predict_windows(judges[str(part)], subject.table, stored.row, stored.part, subject.device)
        off[mine] = np.abs(anew.class_prob - stored.class_prob).max(axis=1)
        moved[mine] = (anew.predicted_bar != stored.predicted_bar).any(axis=1) & (tolerance == TOLERANCE)
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
