"""Bars as a polars frame."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from moola.data.contracts import bar_table
from moola.pipeline.tables import read_sample_bars


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
    return bar_table.bars_frame(bar_table.read_bars(Path(path)))


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
