"""Cheap references on a split: what a network must beat to be useful."""

from __future__ import annotations

import numpy as np

from moola.core.splits import PARTS, Split
from moola.evaluation.figures import TrainingFacts, evaluate
from moola.fit.inputs import most_common
from moola.models.references import REFERENCES
from moola.runs import run_store
from moola.tables.prediction_table import Predictions, read_predictions
from moola.tables.split_file import read_split
from moola.tables.window_file import WindowTable, read_windows

SHOWN = ("pr_auc", "brier", "ece", "accuracy", "f1_macro", "log_loss")


def predict_reference(
    name: str, table: WindowTable, split: Split, classes: list[str], seed: int
) -> tuple[Predictions, TrainingFacts]:
    """Let a reference learn from train rows and predict val and test; its pointers are the most common ones."""
    train = table.take(split.train)
    rows = np.concatenate([split.val, split.test])
    judged = table.take(rows)
    train_class = class_numbers(train, classes)
    prob = REFERENCES[name](train.all_features, train_class, judged.all_features, seed)
    part = np.array(["val"] * len(split.val) + ["test"] * len(split.test), dtype=object)
    counts = {label: int((train_class == i).sum()) for i, label in enumerate(classes)}
    start, end = (most_common(bars) for bars in (train.expansion_start, train.expansion_end))
    predictions = with_common_pointers(prob, train, judged, classes, rows, part)
    return predictions, TrainingFacts(counts, start, end, None)


def class_numbers(table: WindowTable, classes: list[str]) -> np.ndarray:
    """Return each row's class as a position in `classes`, -1 for one that is not there."""
    number = {label: i for i, label in enumerate(classes)}
    return np.array([number.get(label, -1) for label in table.label], dtype=np.int64)


def with_common_pointers(
    class_prob: np.ndarray,
    train: WindowTable,
    judged: WindowTable,
    classes: list[str],
    rows: np.ndarray,
    part: np.ndarray,
) -> Predictions:
    """Lay out a reference's probabilities of evaluated windows; it points where most train windows do."""
    common = [most_common(bars) for bars in (train.expansion_start, train.expansion_end)]
    return Predictions(
        judged.window_id,
        rows,
        part,
        judged.start_us,
        judged.end_us,
        classes,
        class_numbers(judged, classes),
        class_prob,
        np.stack([judged.expansion_start, judged.expansion_end], axis=1),
        np.tile([-1 if bar is None else bar for bar in common], (len(rows), 1)),
        np.ones((len(rows), 2)),
        None,
        judged.annotator,
        judged.shared_bars,
    )


def reference_figures(
    table: WindowTable, split: Split, classes: list[str], seed: int
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the figures of every reference but the class share, which is the uninformed baseline anyway, by part.

    Parts are "val" and "test", where they have windows; then come the reference's name and the figure's.
    """
    parts = [part for part in PARTS[1:] if len(split.part(part))]
    found: dict[str, dict[str, dict[str, float | None]]] = {part: {} for part in parts}
    for name in REFERENCES:
        if name == "prevalence":
            continue
        predictions, facts = predict_reference(name, table, split, classes, seed)
        for part in parts:
            judged = evaluate(predictions.of_part(part), facts, SHOWN, (), intervals=False)
            found[part][name] = {figure.name: figure.value for figure in judged.figures}
    return found


def references_of_run(run: run_store.Run, part: str) -> dict[str, dict[str, float | None]]:
    """Return the figures of the references on a part of a complete run's split, which its training left there.

    Runs of before left none: they are found anew, and are none where data or split are no longer the run's.
    """
    if run.path(run_store.REFERENCES).is_file():
        found = run.read(run_store.REFERENCES).get(part, {})
        return {name: found[name] for name in REFERENCES if name in found}
    config = run.read(run_store.CONFIG)
    data, split = (run_store.unchanged(run.record, config, name) for name in ("data", "split"))
    if data is None or split is None:
        return {}
    table = read_windows(data, config.get("window_bars"))
    classes = read_predictions(run.path(run_store.PREDICTIONS)).class_names
    seed = int(run.record.get("seed") or 0)
    return reference_figures(table, read_split(split).split, classes, seed).get(part, {})
