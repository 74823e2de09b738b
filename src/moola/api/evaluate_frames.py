"""Figures and a report of predictions, whoever made them."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from moola.api.frame_conversion import Frame, FrameT, like, path_given, polars_of
from moola.api.input_tables import Windows, table_of
from moola.core.splits import Intervals, near_any
from moola.errors import InvalidData
from moola.evaluation import figures
from moola.evaluation.figures import CLASS_METRICS, EVENT_METRICS
from moola.fit.inputs import facts_of
from moola.options.option_fields import DEFAULT_SEED
from moola.reports.contents import ReportContent
from moola.reports.report_page import report as write_page
from moola.tables.prediction_table import Predictions, predictions_from_frame
from moola.tables.window_file import WindowTable

log = logging.getLogger(__name__)
SCHEMA = {"name": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "trivial": pl.Float64}


def evaluate(
    predictions: FrameT,
    train: Windows,
    *,
    metrics: tuple[str, ...] = CLASS_METRICS,
    event_metrics: tuple[str, ...] = EVENT_METRICS,
    pointer_threshold: float | None = None,
    seed: int = DEFAULT_SEED,
) -> FrameT:
    """Evaluate predictions as `moola eval` does: every figure with its 95 % interval, beside the uninformed baseline's.

    Parameters
    ----------
    predictions
        What `Model.predict` gave for windows with labels, or a table with its columns.
    train
        The windows that the model learned from: the uninformed baseline has their class shares and most common
        pointers. It must hold none of the evaluated windows, or the comparison flatters the uninformed baseline.
    metrics, event_metrics
        Names of metrics; all when left out.
    pointer_threshold
        Least probability of a pointer that counts in `pointer_f1`, such as `model.pointer_threshold`; left out, all do.
    seed
        Seed of the bootstrap over blocks of time.

    Returns
    -------
    frame
        A row a figure: `name`, `value` (missing with a `reason`), `low`, `high`, `trivial`; of the kind of the
        predictions.

    Raises
    ------
    InvalidData
        A table lacks what it must have.

    Examples
    --------
    >>> import moola
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> parts = moola.split(windows)
    >>> train, test = windows[parts.train], windows[parts.test]
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu").fit(train, train["label"])
    >>> figures = moola.evaluate(small.model_.predict(test), train, metrics=("brier",), event_metrics=())
    >>> figures.columns
    ['name', 'value', 'low', 'high', 'trivial', 'reason']
    """
    judged, trained = judged_of(predictions), _trained_on(train)
    for leak in _leaks(judged, trained) or []:
        log.warning("Not leak-proof: %s.", leak)
    found = figures.evaluate(judged, facts_of(trained, pointer_threshold), metrics, event_metrics, seed).figures
    rows = pl.DataFrame([asdict(figure) for figure in found], schema={**SCHEMA, "reason": pl.String})
    return like(predictions, rows)


def report(
    path: Path | str,
    predictions: Frame,
    train: Windows,
    windows: Windows | None = None,
    *,
    title: str = "Predictions",
    pointer_threshold: float | None = None,
    seed: int = DEFAULT_SEED,
) -> Path:
    """Write one HTML page of predictions: figures, charts and windows; it works offline.

    A verdict needs a run and a baseline: `moola report --run` writes their page.

    Parameters
    ----------
    path
        Page to write, atomically.
    predictions, train, pointer_threshold, seed
        As in `evaluate`.
    windows
        The evaluated windows, found by `window_id`: the page then draws their bars.
    title
        The page's heading.

    Returns
    -------
    pathlib.Path
        The page.

    Examples
    --------
    >>> import moola
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> parts = moola.split(windows)
    >>> train, test = windows[parts.train], windows[parts.test]
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu").fit(train, train["label"])
    >>> moola.report("report.html", small.model_.predict(test), train, test).name
    'report.html'
    """
    judged, trained = judged_of(predictions), _trained_on(train)
    leaks = _leaks(judged, trained)
    content = ReportContent(
        title=title,
        evaluation=figures.evaluate(judged, facts_of(trained, pointer_threshold), seed=seed).as_dict(),
        predictions=judged,
        no_verdict="It needs a run and a baseline: moola gate gives one.",
        leaks=leaks or [],
        leak_proof=None if leaks is None else not leaks,
        ohlc=None if windows is None else _ohlc(windows, judged),
    )
    page = path_given(path, "path")
    write_page(page, content)
    return page


def judged_of(predictions: Frame) -> Predictions:
    """Return predictions in time order."""
    judged = predictions_from_frame(polars_of(predictions, "predictions"), "predictions").in_time_order()
    if not len(judged):
        raise InvalidData("predictions must have windows to evaluate on, but there are 0. Give windows with labels.")
    return judged


def _trained_on(train: Windows) -> WindowTable:
    table = table_of(train, name="train")
    unlabelled = [row for row, name in enumerate(table.label.tolist()) if name is None]
    if unlabelled:
        raise InvalidData(
            f"every train window must have a label, but {len(unlabelled)} of {len(table)} have none (train, label, "
            f"first row {unlabelled[0]}). Give the windows that the model learned from."
        )
    return table


def _leaks(judged: Predictions, train: WindowTable) -> list[str] | None:
    """Report that train windows share bars with evaluated ones; None where times are not known."""
    train_close, judged_close = train.close_us, judged.close_us(train.window_bars)
    if judged.start_us is None or judged_close is None or train.start_us is None or train_close is None:
        return None
    start_us, end_us = np.concatenate([train.start_us, judged.start_us]), np.concatenate([train_close, judged_close])
    rows = np.arange(len(start_us))
    near = near_any(Intervals(start_us, end_us, rows), rows[: len(train)], rows[len(train) :], 0)
    return [f"{int(near.sum())} of {len(train)} train windows share bars with evaluated ones"] if near.any() else []


def _ohlc(windows: Windows, judged: Predictions) -> np.ndarray:
    """Return the prices of the evaluated windows, in their order."""
    table = table_of(windows, name="windows")
    place = {name: row for row, name in enumerate(table.window_id)}
    missing = [name for name in judged.window_id if name not in place]
    if table.ohlc is None or missing:
        found = "they have features alone" if table.ohlc is None else f"{len(missing)} are missing, first {missing[0]}"
        raise InvalidData(
            f"windows must hold the prices of every evaluated window, but {found}. Give the evaluated windows."
        )
    return table.ohlc[[place[name] for name in judged.window_id]]
