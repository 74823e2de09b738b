"""Bars and windows as frames: read, cut, labelled by the published rule, turned into features, split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from moola.api.frame_conversion import FrameT, bars_of, like, path_given
from moola.api.input_tables import Windows, table_of
from moola.core.splits import Split
from moola.options.table_options import WindowsOptions
from moola.stages.make_tables import divide, find_windows, label_windows
from moola.stages.sample import read_sample_bars
from moola.tables import bar_table, window_file
from moola.tables.cutting import windows_of_bars
from moola.tables.window_file import windows_frame


def read_windows(path: Path | str, window_bars: int | None = None) -> pl.DataFrame:
    """Read a window table: your labels as `moola labels export` wrote them, or windows of `moola windows`.

    Parameters
    ----------
    path
        Window file, 4-D or relative.
    window_bars
        Bars per window; by default 105.

    Returns
    -------
    polars.DataFrame
        `window_id`, `features` (nested: bars by values) and what is known: `label`, `expansion_start` and
        `expansion_end` (bars of the window, both inclusive), `start_ts`, `end_ts`, `symbol`, `annotator`. Rows are
        taken as of any frame: `frame[rows]`.

    Raises
    ------
    InvalidData
        With every broken rule at once.

    Examples
    --------
    >>> import moola
    >>> moola.windows(moola.sample_bars(), stride=1000).write_parquet("windows.parquet")
    >>> moola.read_windows("windows.parquet").columns
    ['window_id', 'start_ts', 'end_ts', 'features']
    """
    table = window_file.read_windows(path_given(path, "path"), window_bars)
    return windows_frame(table, table)


def windows(bars: FrameT, *, stride: int = 5, window_bars: int = 105, max_gap_hours: float | None = None) -> FrameT:
    """Cut windows from bars, as `moola windows` does; for millions of them use the command, which streams.

    Parameters
    ----------
    bars
        Bars as a frame of pandas, polars or numpy (docs/python.md says what is understood).
    stride
        Bars from one window to the next. Below `window_bars`, neighbours share bars: evaluate with a purged split.
    window_bars
        Bars per window.
    max_gap_hours
        Longest time between neighbouring bars inside a window; windows over a longer one are dropped. Left out, 72, or
        11 usual bars or 1.4 times the usual break of a week where that is longer.

    Returns
    -------
    frame
        A window table without labels, of the kind that came.

    Raises
    ------
    InvalidData
        The bars break a rule, or give no window.

    Examples
    --------
    >>> import moola
    >>> windows = moola.windows(moola.sample_bars(), stride=500)
    >>> windows.select("window_id", "start_ts").head(1).rows()[0][0]
    'window_20170101T2200'
    """
    table = bars_of(bars)
    options = WindowsOptions(
        bars=Path("the bars"),
        output=Path("windows.parquet"),
        stride=stride,
        window_bars=window_bars,
        max_gap_hours=max_gap_hours,
    )
    cut = windows_of_bars(table, find_windows(table, options))
    return like(bars, windows_frame(cut, cut))


def autolabel(windows: FrameT, n_windows: int | None = None) -> FrameT:
    """Label windows by the published rule, as `moola autolabel` does: labels to try moola with, not a person's.

    Parameters
    ----------
    windows
        Window table with prices, or an array of prices `(windows, bars, 4)`.
    n_windows
        Keep this many of the labelled ones, evenly spread; all when left out.

    Returns
    -------
    frame
        The windows that the rule labels, with `label`, pointers and the rule's name as `annotator`, of the kind that
        came.

    Examples
    --------
    >>> import moola
    >>> labelled = moola.autolabel(moola.windows(moola.sample_bars(), stride=10), n_windows=174)
    >>> labelled["label"].value_counts(sort=True).rows()
    [('retracement', 95), ('consolidation', 79)]
    """
    table, _ = label_windows(table_of(windows, name="windows"), n_windows, "windows")
    return like(windows, windows_frame(table, table))


def relative_features(windows: Windows) -> Float[np.ndarray, "windows bars 11"]:
    """Compute the eleven relative features of each window (`FEATURE_NAMES`), as `moola convert` does.

    Parameters
    ----------
    windows
        Window table, or prices `(windows, bars, 4)`: open, high, low, close.

    Returns
    -------
    numpy.ndarray
        Scale-free and causal features in float64; those of a relative window table are taken as they are.

    Examples
    --------
    >>> import moola
    >>> windows = moola.windows(moola.sample_bars(), stride=1000)
    >>> features = moola.relative_features(windows)
    >>> features.shape, moola.FEATURE_NAMES[4]
    ((7, 105, 11), 'body_ratio')
    """
    return table_of(windows, name="windows").all_features


def split(windows: Windows, *, val: float = 0.2, test: float = 0.25, purge_window: int | None = None) -> Split:
    """Divide windows in time, as `moola split` does: train ends before val begins, val before test.

    Parameters
    ----------
    windows
        Window table. Windows without times (arrays) are taken in row order, and only equal ones are kept together:
        rows that overlap may then be on both sides, and figures on them are too good.
    val, test
        Shares of the windows; the latest are test.
    purge_window
        Bars that a window must end before the next part begins: at least one window less one bar, and more is an
        embargo. What straddles is dropped, never moved.

    Returns
    -------
    moola.core.splits.Split
        Rows `train`, `val`, `test`, and `dropped`: row to reason.

    Raises
    ------
    InvalidData
        A part has no windows after the purge.
    WrongUsage
        The purge is too short, or the shares leave nothing to train on.

    Examples
    --------
    >>> import moola
    >>> windows = moola.windows(moola.sample_bars(), stride=50)
    >>> parts = moola.split(windows)
    >>> len(parts.train), len(parts.val), len(parts.test), len(parts.dropped)
    (65, 23, 31, 4)
    """
    return divide(table_of(windows, name="windows"), val, test, purge_window)[0]


# Bars as a frame.


def read_bars(path: Path | str) -> pl.DataFrame:
    """Read a bar table, parquet or CSV, as `moola bars check` does.

    Parameters
    ----------
    path
        File with `timestamp` (UTC, the bar's start), `open`, `high`, `low`, `close` and perhaps `symbol`. Files with
        other names or times go through `moola bars import` first.

    Returns
    -------
    polars.DataFrame
        These columns, symbol by symbol, each in time order; others (`volume`) are left behind.

    Raises
    ------
    InvalidData
        With every broken rule, how many bars break it, and the first of them.

    Examples
    --------
    >>> import moola
    >>> moola.sample_bars().write_parquet("bars.parquet")
    >>> bars = moola.read_bars("bars.parquet")
    >>> bars.columns
    ['timestamp', 'open', 'high', 'low', 'close']
    """
    return bar_table.bars_frame(bar_table.read_bars(path_given(path, "path")))


def sample_bars() -> pl.DataFrame:
    """Return the bars that come with moola: EURUSD, hourly, 2017.

    Examples
    --------
    >>> import moola
    >>> bars = moola.sample_bars()
    >>> len(bars), str(bars["timestamp"].min())
    (6225, '2017-01-01 22:00:00+00:00')
    """
    return bar_table.bars_frame(read_sample_bars())
