"""Predictions of windows by models that did not learn from them, beside the label that each window was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions, read_predictions
from moola.errors import InvalidData
from moola.evaluation.label_errors import by_suspicion, suspected
from moola.label.windows import ONE_OF_SEVERAL, Shelf

# Windows of these parts were not learnt from.
HELD_OUT = ("val", "test")
ADVICE = "Give predictions.parquet of a `moola cv` over these windows, or of a run."


@dataclass(frozen=True)
class OutOfFold:
    """Given labels and out-of-fold answers of some windows of the shelf.

    Attributes
    ----------
    order
        Numbers of the windows, the likeliest label error first.
    given
        Classes that each window was given when the predictions were made.
    n_suspected
        Windows that are confidently of another class than given.
    """

    order: list[int]
    given: dict[int, frozenset[str]]
    answers: dict[int, dict[str, Any]]
    n_suspected: int


def read_out_of_fold(path: Path, shelf: Shelf) -> OutOfFold:
    """Read predictions and find their windows on the shelf; several rows over one window are judged by the worst.

    Raises
    ------
    InvalidData
        A row is not out of fold, none is labelled and on the shelf, or one has another time than its window.
    """
    predictions = read_predictions(path)
    foreign = np.flatnonzero(~np.isin(predictions.part.astype(str), HELD_OUT))
    if len(foreign):
        raise InvalidData(
            f"predictions must be of windows that the model did not learn from (part {' or '.join(HELD_OUT)}), but "
            f"{len(foreign)} of {len(predictions)} are not ({path}, column part, first at row {foreign[0]}: "
            f"{str(predictions.part[foreign[0]])[:40]!r}). {ADVICE}"
        )
    place = {name: number for number, name in enumerate(shelf.window_id)}
    numbers = np.array([place.get(ONE_OF_SEVERAL.sub("", name), -1) for name in predictions.window_id], dtype=np.int64)
    kept = np.flatnonzero((numbers >= 0) & (predictions.class_index >= 0))
    if not len(kept):
        raise InvalidData(
            f"predictions must be of labelled windows that are labelled here, but none of {len(predictions)} is "
            f"({path}). {ADVICE}"
        )
    found, numbers = predictions.take(kept), numbers[kept]
    _check_times(path, found, numbers, shelf)
    return _laid_out(found, numbers)


def _check_times(path: Path, found: Predictions, numbers: np.ndarray, shelf: Shelf) -> None:
    if found.start_us is None:
        return
    wrong = np.flatnonzero(found.start_us != shelf.bars.start_us[shelf.first_bar[numbers]])
    if len(wrong):
        raise InvalidData(
            f"predictions must be of the same bars as the windows of their ids, but {len(wrong)} of {len(found)} start "
            f"at another time ({path}, first {found.window_id[wrong[0]]!r}). {ADVICE}"
        )


def _laid_out(found: Predictions, numbers: np.ndarray) -> OutOfFold:
    order = numbers[by_suspicion(found.class_index, found.class_prob)]
    given: dict[int, set[str]] = {}
    answers: dict[int, dict[str, Any]] = {}
    for row, number in enumerate(numbers.tolist()):
        given.setdefault(number, set()).add(found.class_names[found.class_index[row]])
        start, end = (int(bar) if bar >= 0 else None for bar in found.predicted_bar[row])
        shares = [round(float(share), 4) for share in found.class_prob[row]]
        classes = dict(zip(found.class_names, shares, strict=True))
        answers[number] = {"classes": classes, "start": start, "end": end, "curves": None, "out_of_fold": True}
    off = np.unique(numbers[suspected(found.class_index, found.class_prob)])
    return OutOfFold(
        list(dict.fromkeys(order.tolist())), {name: frozenset(said) for name, said in given.items()}, answers, len(off)
    )
