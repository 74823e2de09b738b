"""Which windows are shown, and the card of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from moola.core.bars import minute_text
from moola.core.expansions import class_text
from moola.core.windows import WINDOW_BARS
from moola.evaluation.class_metrics import brier_by_window
from moola.evaluation.pointer_metrics import first_rows, nearest_expansions
from moola.reports.svg_charts import WindowPicture, window_chart
from moola.tables.prediction_table import Predictions

N_EACH = 4
# Longer windows draw more bytes, so that fewer of them are shown.
MAX_BARS_A_GROUP = 2000
MISS_BARS = 3


@dataclass(frozen=True)
class Card:
    """One window of the gallery."""

    name: str
    when: str
    chart: Markup
    lines: list[str]
    is_right: bool | None


@dataclass(frozen=True)
class Group:
    """Windows that were chosen for the same reason."""

    title: str
    reason: str
    cards: list[Card]


def chosen_rows(predictions: Predictions, n_each: int = N_EACH) -> list[tuple[str, str, list[int]]]:
    """Choose windows by how well they were predicted; no window is shown twice, ties go to the earlier.

    Returns
    -------
    list of tuple
        Title, reason and rows of each group that has any.
    """
    labelled = np.flatnonzero(predictions.class_index >= 0)
    error = np.full(len(predictions), np.nan)
    error[labelled] = brier_by_window(predictions.take(labelled))
    wrong = labelled[predictions.class_prob[labelled].argmax(axis=1) != predictions.class_index[labelled]]
    missed = missed_windows(predictions)
    middle = float(np.median(error[labelled])) if len(labelled) else 0.0
    sure = predictions.class_prob.max(axis=1)
    orders = (
        ("Best", "The lowest Brier of all evaluated windows.", labelled, error),
        ("Worst", "The highest Brier: the true class got the least probability.", labelled, -error),
        ("Median", "The nearest to the median Brier: what to expect.", labelled, np.abs(error - middle)),
        ("Most confident errors", "Wrong class, highest confidence, not shown above.", wrong, -sure),
        (
            "Surest pointer misses",
            f"Start or end more than {MISS_BARS} bars off, highest pointer probability, not shown above.",
            missed,
            -predictions.pointer_prob.min(axis=1),
        ),
    )
    shown: set[int] = set()
    groups = []
    for title, reason, rows, key in orders:
        free = np.array([row for row in rows if int(row) not in shown], dtype=np.int64)
        picked = [int(row) for row in free[np.argsort(key[free], kind="stable")][:n_each]]
        shown |= set(picked)
        groups.append((title, reason, picked))
    # Chosen before the median, so that a small table shows its extremes, but shown behind it.
    groups[1], groups[2] = groups[2], groups[1]
    return [group for group in groups if group[2]]


def missed_windows(predictions: Predictions) -> np.ndarray:
    """Return the first row of each window whose prediction is more than `MISS_BARS` off every expansion at an end."""
    rows = first_rows(predictions)
    true, predicted = nearest_expansions(predictions)[rows], predictions.predicted_bar[rows]
    missed = ((predicted >= 0) & (true >= 0)).all(axis=1) & (np.abs(predicted - true) > MISS_BARS).any(axis=1)
    return np.asarray(rows[missed])


def gallery(predictions: Predictions, ohlc: np.ndarray | None) -> list[Group]:
    """Draw the chosen windows."""
    if not len(predictions):
        return []
    n_bars = _window_bars(predictions, ohlc)
    n_each = min(N_EACH, max(1, MAX_BARS_A_GROUP // n_bars))
    near = nearest_expansions(predictions)
    return [
        Group(title, reason, [_card(predictions, near, ohlc, row, n_bars) for row in rows])
        for title, reason, rows in chosen_rows(predictions, n_each)
    ]


def _window_bars(predictions: Predictions, ohlc: np.ndarray | None) -> int:
    for values in (ohlc, predictions.curves):
        if values is not None:
            return int(values.shape[1])
    return WINDOW_BARS


def _card(predictions: Predictions, near: np.ndarray, ohlc: np.ndarray | None, row: int, n_bars: int) -> Card:
    true_bar, near_bar, said_bar = (
        _pair(bars[row]) for bars in (predictions.true_bar, near, predictions.predicted_bar)
    )
    curves = None if predictions.curves is None else predictions.curves[row]
    if curves is not None and not np.isfinite(curves).all():
        curves = None
    picture = WindowPicture(None if ohlc is None else ohlc[row], curves, true_bar, said_bar, n_bars)
    predicted = int(predictions.class_prob[row].argmax())
    true = int(predictions.class_index[row])
    true_name = class_text(predictions.class_names[true]) if true >= 0 else "no label"
    prob = float(predictions.class_prob[row, predicted])
    lines = [f"True: {true_name}{_bars_text(true_bar)}"]
    lines.append(f"Predicted: {class_text(predictions.class_names[predicted])} at {prob:.2f}{_bars_text(said_bar)}")
    late = _late_text(near_bar, said_bar)
    if late and near_bar != true_bar:
        late += f" from the expansion at{_bars_text(near_bar).removeprefix(',')}"
    if true >= 0:
        loss = float(brier_by_window(predictions.take(np.array([row])))[0])
        late = f"Brier {loss:.3f}{'; ' + late if late else ''}"
    lines.append(late)
    start = None if predictions.start_us is None else predictions.start_us[row]
    when = "" if start is None else f"from {minute_text(start)} UTC"
    label = f"Window {predictions.window_id[row]}. {'. '.join(text for text in lines if text)}."
    return Card(
        predictions.window_id[row],
        when,
        window_chart(picture, label),
        [text for text in lines if text],
        None if true < 0 else predicted == true,
    )


def _pair(bars: np.ndarray) -> tuple[int, int]:
    return int(bars[0]), int(bars[1])


def _bars_text(bars: tuple[int, int]) -> str:
    return f", bars {bars[0]} to {bars[1]}" if min(bars) >= 0 else ""


def _late_text(true: tuple[int, int], predicted: tuple[int, int]) -> str:
    if min(*true, *predicted) < 0:
        return ""
    return f"start {predicted[0] - true[0]:+d}, end {predicted[1] - true[1]:+d} bars"
