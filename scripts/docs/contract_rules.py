"""The rules of bars and windows in the words that a refusal uses: tables that break them are read."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from moola.core.bars import OHLC
from moola.errors import InvalidData
from moola.tables.bar_table import read_bars
from moola.tables.window_file import read_windows

NESTED = pl.List(pl.List(pl.Float64))
GROUPS = {"open, high, low, close": OHLC, "expansion_start, expansion_end": ("expansion_start", "expansion_end")}


def bar_rules(bars: pl.DataFrame) -> list[str]:
    """Return the rules of a bar table; `bars` obey all of them."""
    bars = bars.head(9).with_columns(symbol=pl.lit("EURUSD"))
    broken = [bars.with_columns(_at(name, 1, value) for name in OHLC) for value in (float("nan"), -1.0, 1e60)]
    broken += [bars.with_columns(_at("low", 1, 9.0)), bars.with_columns(_at("high", 1, 0.1))]
    broken += [pl.concat([bars, bars.tail(1)]), bars.reverse(), bars.head(0)]
    broken += [bars.with_columns(_at("timestamp", 1, None)), bars.with_columns(_at("symbol", 1, None))]
    return _grouped(_told(broken, read_bars))


def window_rules(windows: pl.DataFrame, relative: pl.DataFrame) -> list[str]:
    """Return the rules of windows, labels, pointers and features; the given ones obey all of them."""
    windows, relative = windows.head(4), relative.head(4)
    values = windows["features"].to_list()
    short = [bars[:-1] for bars in values]
    narrow = [[bar[:3] for bar in bars] for bars in values]
    jump = [[bars[0], *([price * 1e6 for price in bar] for bar in bars[1:])] for bars in values]
    broken = [_with(windows, features) for features in (short, narrow, jump)]
    broken.append(windows.with_columns(features=pl.lit("text")))
    huge = [[[99.0] * 11 for _ in bars] for bars in values]
    broken.append(_with(relative, huge))
    for start, end in ((500, 500), (-7, 50), (60, 50), (None, 50), (50.5, 60)):
        broken.append(windows.with_columns(expansion_start=pl.lit(start), expansion_end=pl.lit(end)))
    same = pl.concat([windows.head(1)] * 2).with_columns(label=pl.Series(["one", "another"]))
    broken += [same, windows.with_columns(label=pl.lit(" ")), windows.with_columns(_at("start_ts", 1, None))]
    return _grouped(_told(broken, read_windows))


def _with(frame: pl.DataFrame, features: list) -> pl.DataFrame:
    return frame.with_columns(pl.Series("features", features, dtype=NESTED))


def _at(name: str, row: int, value: float | str | None) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)


def _told(broken: list[pl.DataFrame], read: Callable[[Path], object]) -> list[str]:
    """Read each broken table, and return the rules that were named, in order."""
    rules: dict[str, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broken.parquet"
        for frame in broken:
            frame.write_parquet(path)
            try:
                read(path)
            except InvalidData as error:
                if not error.problems:
                    raise
                rules |= dict.fromkeys(problem.rule for problem in error.problems)
            else:
                raise AssertionError(f"a table that should break a rule breaks none:\n{frame}")
    return list(rules)


def _grouped(rules: list[str]) -> list[str]:
    """Join rules that differ in the column alone."""
    groups = GROUPS | {"log_return_*": tuple(f"log_return_{name}" for name in OHLC)}
    groups |= {"zscore_*": tuple(f"zscore_{name}" for name in OHLC)}
    joined: dict[str, None] = {}
    for rule in rules:
        first = re.match(r"\w+(?= must be (?!at most|at least|a time))", rule)
        group = next((group for group, names in groups.items() if first and first[0] in names), None)
        joined[rule if group is None or first is None else group + rule.removeprefix(first[0])] = None
    return list(joined)
