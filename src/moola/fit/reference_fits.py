"""Cheap references on a split: what a network must beat to be useful."""

from __future__ import annotations

import numpy as np

from moola.core.splits import Split
from moola.evaluation.figures import TrainingFacts, evaluate
from moola.fit.inputs import most_common
from moola.models.references import REFERENCES
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable

SHOWN = ("pr_auc", "brier", "ece", "accuracy", "f1_macro", "log_loss")


def predict_reference(
    name: str, table: WindowTable, split: Split, classes: list[str], seed: int
) -> tuple[Predictions, TrainingFacts]:
    """Let a reference learn from train rows and predict val and test; its pointers are the most common ones."""
    train = table.take(split.train).with_features()
    rows = np.concatenate([split.val, split.test])
    judged = table.take(rows).with_features()
    assert train.features is not None
    assert judged.features is not None
    train_class = class_numbers(train, classes)
    prob = REFERENCES[name](train.features, train_class, judged.features, seed)
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
    table: WindowTable, split: Split, classes: list[str], part: str, seed: int
) -> dict[str, dict[str, float | None]]:
    """Return the figures of every reference but the class share, which is the uninformed baseline anyway."""
    found = {}
    for name in REFERENCES:
        if name != "prevalence":
            predictions, facts = predict_reference(name, table, split, classes, seed)
            judged = evaluate(predictions.of_part(part), facts, SHOWN, (), intervals=False)
            found[name] = {figure.name: figure.value for figure in judged.figures}
    return found
