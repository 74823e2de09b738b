"""Pictures in a notebook: a window with its expansion, events on their bars, reliability of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from moola.api.evaluate_frames import judged_of
from moola.api.frame_conversion import Frame, bars_of, is_frame, polars_of
from moola.api.input_tables import Windows, table_of
from moola.core.bars import Bars, minute_text
from moola.core.expansions import class_text
from moola.errors import InvalidData, WrongUsage
from moola.evaluation.calibration import reliability_bins
from moola.options.option_fields import DEFAULT_SEED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Bars on one chart, above which they would be narrower than a pixel.
MOST_BARS = 1_500
# Bars shown before and after one event.
AROUND = 40


def plot(table: Windows, *, row: int | None = None, bars: Frame | None = None, ax: Axes | None = None) -> Axes:
    """Draw what a table holds: a window, the events of a scan on their bars, or how reliable predictions are.

    Parameters
    ----------
    table
        Windows (a table, or an array of prices), events of `Model.scan`, or predictions of `Model.predict` with labels;
        told apart by their columns.
    row
        Which window; the first when left out. Of events, the one to draw with 40 bars on each side; left out, all that
        lie on `bars`.
    bars
        The bars that were scanned, or those of them to show: needed for events, at most 1,500 a chart. Of several
        symbols, those of the event of `row`, or of the first event, are shown.
    ax
        Matplotlib axes to draw on; left out, new ones of pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, to title, save (`ax.figure.savefig`) or draw more on.

    Raises
    ------
    InvalidData
        The table is none of these, windows have features alone, or no prediction has a label.
    WrongUsage
        There is no such row, events came without bars, or the bars are too many for a chart.

    Examples
    --------
    >>> import moola
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=200))
    >>> moola.plot(windows, row=1).get_xlabel()
    'bar of the window'
    """
    columns = polars_of(table, "the table").columns if is_frame(table) else ["features"]
    if "features" in columns:
        return _window(table, row or 0, ax)
    if {"event_prob", "start_ts"} <= set(columns):
        return _events(polars_of(table, "the events"), row, bars, ax)
    if any(column.startswith("prob_") for column in columns):
        return _reliability(table, ax)
    raise InvalidData(
        f"a table to plot must be of windows, events or predictions, but it has the columns {', '.join(columns[:20])}. "
        "Give what moola.windows, Model.scan or Model.predict returned."
    )


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    _, new = plt.subplots(figsize=(width, height), layout="constrained")
    return new


def _window(windows: Windows, row: int, ax: Axes | None) -> Axes:
    from moola.reports.chart_axes import draw_bars, frame_window, price_labels, shade

    table = table_of(windows, name="windows")
    _require_row(row, len(table), "windows")
    if table.ohlc is None:
        raise InvalidData("windows must have prices to be drawn, but they have features alone. Give 4-D windows.")
    ax = _axes(ax, 9.0, 3.2)
    draw_bars(ax, table.ohlc[row])
    frame_window(ax, table.window_bars)
    price_labels(ax)
    words = [table.window_id[row]]
    if table.label[row] is not None:
        words.append(class_text(str(table.label[row])))
    if table.expansion_start[row] >= 0:
        first, last = int(table.expansion_start[row]), int(table.expansion_end[row])
        shade(ax, first, last)
        words.append(f"bars {first} to {last}")
    ax.set_title(", ".join(words), loc="left", fontsize=10)
    ax.set(xlabel="bar of the window", ylabel="price")
    return ax


def _events(events: pl.DataFrame, row: int | None, bars: Frame | None, ax: Axes | None) -> Axes:
    from moola.reports.chart_axes import draw_bars, frame_times, price_labels, shade

    if bars is None:
        raise WrongUsage("events must be drawn on their bars, but none came. Give bars=, the bars that were scanned.")
    if row is not None:
        _require_row(row, len(events), "events")
    symbol = events["symbol"][row or 0] if len(events) else None
    mine = events if symbol is None else events.filter(pl.col("symbol") == symbol)
    chosen = mine if row is None else events[row : row + 1]
    shown = _bars_shown(bars_of(bars), symbol, chosen if row is not None else None)
    ax = _axes(ax, 9.0, 3.6)
    draw_bars(ax, shown.ohlc)
    frame_times(ax, shown.start_us)
    price_labels(ax)
    low, high = ax.get_ylim()
    # Room for the names, which stand upright above the bars.
    ax.set_ylim(low, high + (high - low) * (0.4 if row is None and len(chosen) else 0.1))
    n_drawn = 0
    for event in chosen.iter_rows(named=True):
        first, last = (int(np.searchsorted(shown.start_us, _us(event[name]))) for name in ("start_ts", "end_ts"))
        if first < len(shown) and _us(event["end_ts"]) >= shown.start_us[0]:
            shade(ax, first, min(last, len(shown) - 1))
            n_drawn += 1
            text = f"{class_text(event['predicted_label'])} {event['event_prob']:.2f}"
            ax.annotate(text, ((first + last) / 2, 0.98), xycoords=("data", "axes fraction"), ha="center", va="top",
                        fontsize=7, rotation=90 if row is None else 0)  # fmt: skip
    ends = f"{minute_text(shown.start_us[0])} to {minute_text(shown.start_us[-1])} UTC"
    name = f"{symbol} " if symbol else ""
    ax.set_title(f"{name}{ends}: {n_drawn} event{'' if n_drawn == 1 else 's'}", loc="left", fontsize=10)
    ax.set(xlabel="bar's start, UTC", ylabel="price")
    return ax


def _bars_shown(bars: Bars, symbol: str | None, event: pl.DataFrame | None) -> Bars:
    """Return the bars of a symbol that a chart shows: all, or those around one event."""
    if symbol is not None and symbol in bars.symbols:
        bars = bars.take(np.flatnonzero(bars.symbol == symbol))
    elif len(bars.symbols) > 1:
        raise WrongUsage(
            f"bars must be of one symbol to be drawn, but they are of {len(bars.symbols)}, none {symbol!r}."
            " Give those of one."
        )
    if event is not None:
        ends = [_us(event[name][0]) for name in ("start_ts", "end_ts")]
        first, last = (int(place) for place in np.searchsorted(bars.start_us, ends))
        bars = bars.take(np.arange(max(first - AROUND, 0), min(last + AROUND + 1, len(bars))))
        if not len(bars) or ends[1] < bars.start_us[0]:
            raise WrongUsage("bars must be those that were scanned, but none is of the event's time. Give those.")
    if len(bars) > MOST_BARS:
        raise WrongUsage(
            f"a chart must have at most {MOST_BARS} bars, but these are {len(bars)}. Give those to show, such as "
            "bars[-500:], or the row of an event."
        )
    return bars


def _us(time: Any) -> int:
    return int(pl.Series([time]).dt.timestamp("us")[0])


def _reliability(predictions: Frame, ax: Axes | None) -> Axes:
    from moola.reports.chart_axes import draw_reliability, plain_frame

    judged = judged_of(predictions)
    judged = judged.take(np.flatnonzero(judged.class_index >= 0))
    if not len(judged):
        raise InvalidData("predictions must have labels to be evaluated, but 0 have one. Predict labelled windows.")
    ax = _axes(ax, 4.6, 4.6)
    draw_reliability(ax, reliability_bins(judged, DEFAULT_SEED), "predictions")
    plain_frame(ax)
    ax.set(xlabel="confidence of the predicted class", ylabel="share of windows predicted right", xlim=(0, 1))
    ax.set_title(f"{len(judged)} windows", loc="left", fontsize=10)
    return ax


def _require_row(row: int, n: int, what: str) -> None:
    if not 0 <= row < n:
        raise WrongUsage(f"row must be within 0..{n - 1} of the {what}, but it is {row}. Give another one.")
