"""The window file: 4-D windows (OHLC) and relative windows (eleven features), its columns, rules and table."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import polars.selectors as cs

from moola.core.bars import broken_rule, closing_us, price_problems
from moola.core.features import FEATURE_NAMES, FEATURE_TYPE, N_FEATURES, ZSCORE_CLIP, relative_features
from moola.core.splits import Intervals, content_hashes, groups_of_equal, same_but_for_scale
from moola.core.windows import WINDOW_BARS, inner_zone, rows_of
from moola.errors import InvalidData, Problem
from moola.tables.frames import is_parquet, nested_column, reading, scan_frame, utc_series, write_frames

# Windows of one length as arrays, with what is known of each: one row per label.


@dataclass(frozen=True)
class WindowTable:
    """Windows of one length, with what is known of each.

    Attributes
    ----------
    ohlc
        Prices `(windows, bars, 4)`; `None` in relative files that do not carry them.
    features
        Relative features `(windows, bars, 11)`; `None` in 4-D files.
    label
        Class of each row, `None` where it has none.
    expansion_start, expansion_end
        Pointers, inclusive bar positions; -1 where there is none.
    start_us, end_us
        When the first and the last bar begin, `None` in older files without timestamps; `close_us` is when the
        last bar is over.
    """

    window_id: list[str]
    ohlc: np.ndarray | None
    features: np.ndarray | None
    label: np.ndarray
    expansion_start: np.ndarray
    expansion_end: np.ndarray
    start_us: np.ndarray | None
    end_us: np.ndarray | None
    symbol: np.ndarray
    extra: pl.DataFrame

    def __len__(self) -> int:
        return len(self.window_id)

    @property
    def window_bars(self) -> int:
        """Bars per window."""
        return int(self.values.shape[1])

    @property
    def values(self) -> np.ndarray:
        """Prices where they are known, else features."""
        values = self.ohlc if self.ohlc is not None else self.features
        if values is None:
            raise ValueError("a window table holds prices, features or both")
        return values

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted({name for name in self.label.tolist() if name is not None})

    @property
    def has_pointers(self) -> bool:
        """Return whether any row has pointers."""
        return bool((self.expansion_start >= 0).any())

    @property
    def has_symbols(self) -> bool:
        """Return whether any row has a symbol."""
        return bool((self.symbol != "").any())

    @property
    def annotator(self) -> np.ndarray | None:
        """Who labelled each row; None where the file does not record it."""
        if "annotator" not in self.extra.columns:
            return None
        return self.extra["annotator"].to_numpy().astype(object)

    @property
    def shared_bars(self) -> np.ndarray:
        """Hash of each row's bars where several rows have these bars (expansions of one window), else empty."""
        hashes = [found.hex() for found in content_hashes(self.values)]
        count = Counter(hashes)
        return np.array([found if count[found] > 1 else "" for found in hashes], dtype=object)

    @property
    def annotators(self) -> list[str]:
        """Who labelled the rows, sorted; empty where the file does not record it."""
        if "annotator" not in self.extra.columns:
            return []
        return sorted(self.extra["annotator"].drop_nulls().unique().to_list())

    def take(self, rows: np.ndarray) -> WindowTable:
        """Return some rows, in this order."""
        return WindowTable(
            [self.window_id[row] for row in rows],
            rows_of(self.ohlc, rows),
            rows_of(self.features, rows),
            self.label[rows],
            self.expansion_start[rows],
            self.expansion_end[rows],
            rows_of(self.start_us, rows),
            rows_of(self.end_us, rows),
            self.symbol[rows],
            self.extra[rows] if len(self.extra.columns) else pl.DataFrame(),
        )

    @property
    def all_features(self) -> np.ndarray:
        """The eleven features `(windows, bars, 11)`, computed from the bars where absent."""
        return relative_features(self.values) if self.features is None else self.features

    def with_features(self) -> WindowTable:
        """Return the same windows with the eleven features."""
        return self if self.features is not None else replace(self, features=self.all_features)

    @property
    def times_us(self) -> tuple[np.ndarray, np.ndarray]:
        """When the first and the last bar of each window begin, of windows that are known to have times."""
        if self.start_us is None or self.end_us is None:
            raise ValueError("these windows have no times")
        return self.start_us, self.end_us

    @property
    def close_us(self) -> np.ndarray | None:
        """When the last bar of each window is over; None without times."""
        if self.start_us is None or self.end_us is None:
            return None
        return closing_us(self.start_us, self.end_us, self.window_bars, self.symbol)

    @property
    def usual_interval_us(self) -> int:
        """Usual time between the bars of these windows (gaps raise it a little), 0 without times."""
        if self.start_us is None or self.end_us is None or self.window_bars < 2:
            return 0
        return int(np.median(self.end_us - self.start_us) / (self.window_bars - 1))

    def intervals(self) -> Intervals:
        """Return what a split needs: times, and groups of rows with the same bars at any scale."""
        return Intervals(self.start_us, self.close_us, same_but_for_scale(self.values))

    def equal_bars(self) -> np.ndarray:
        """Number rows so that those with the very same bars have the same number."""
        return groups_of_equal(content_hashes(self.values))


# The rules that windows obey: shape, prices, features, labels and pointers.


ADVICE = "Fix the file, or cut windows again with `moola windows` and `moola autolabel`."


def nested_array(
    column: pl.Series, name: str, width: int, window_bars: int | None, problems: list[Problem]
) -> np.ndarray | None:
    """Turn a column of nested lists into `(rows, bars, width)`, or explain which rows do not fit."""
    nested = pl.List(pl.List(pl.Float64))
    with contextlib.suppress(pl.exceptions.PolarsError):
        column = column.cast(nested)
    if column.dtype != nested:
        problems.append(Problem(f"{name} must be nested lists of numbers", len(column), 0, str(column.dtype)))
        return None
    n_bars = column.list.len().fill_null(0).to_numpy()
    expected = window_bars or WINDOW_BARS
    rule = f"{name} must have {expected} bars per window (--window-bars)"
    if wrong := broken_rule(rule, n_bars != expected, lambda row: f"found {int(n_bars[row])} bars"):
        problems += wrong
        return None
    bars = column.explode()
    widths = bars.list.len().fill_null(0).to_numpy()
    rule = f"{name} must have {width} values a bar"
    if wrong := broken_rule(rule, widths != width, lambda bar: f"found {int(widths[bar])} values"):
        problems.append(replace(wrong[0], first_row=int((widths != width).argmax()) // expected))
        return None
    flat = bars.explode().fill_null(float("nan")).to_numpy()
    return flat.reshape(len(column), expected, width)


def feature_problems(features: np.ndarray | None, ohlc: np.ndarray | None) -> list[Problem]:
    """Return broken rules of features (finite, in range) and of prices (the bar rules)."""
    problems = []
    if ohlc is not None:
        n_bars = ohlc.shape[1]
        for problem in price_problems(ohlc.reshape(-1, 4)):
            bar = problem.first_row or 0
            detail = f"bar {bar % n_bars} of that window"
            problems.append(Problem(problem.rule, problem.count, bar // n_bars, detail))
        if not problems:
            problems += _jumps(ohlc)
    if features is not None:
        for column, name in enumerate(FEATURE_NAMES):
            values = features[:, :, column]
            low, high = _range_of(name)
            rule = f"{name} must be a finite number within {low:g}..{high:g}"
            problems += _broken_bars(rule, ~((values >= low) & (values <= high)), 0)
    return problems


def _broken_bars(rule: str, broken: np.ndarray, first_bar: int) -> list[Problem]:
    """Return a rule that bars `(windows, bars)` break, counted from `first_bar` on; nothing where none does."""
    if not broken.any():
        return []
    row, bar = divmod(int(broken.argmax()), broken.shape[1])
    return [Problem(rule, int(broken.sum()), row, f"bar {bar + first_bar} of that window")]


def _jumps(ohlc: np.ndarray) -> list[Problem]:
    """Prices whose log return would be out of its range."""
    most = np.exp(_range_of("log_return")[1])
    factor = ohlc[:, 1:] / ohlc[:, :-1]
    broken = ((factor > most) | (factor < 1 / most)).any(axis=2)
    return _broken_bars(f"a price must be within a factor of {most:,.0f} of the bar before", broken, 1)


def _range_of(name: str) -> tuple[float, float]:
    # A log return of 10 is a price that grew 22,000-fold in one bar: an error, not a market.
    if name.startswith("log_return"):
        return -10.0, 10.0
    return (-ZSCORE_CLIP, ZSCORE_CLIP) if name.startswith("zscore") else (0.0, 1.0 + 1e-9)


def label_problems(table: WindowTable, n_bars: int, group: np.ndarray | None) -> list[Problem]:
    """Return broken rules of pointers and labels; contradictions too where the `group` of equal bars is known."""
    problems = []
    start, end = table.expansion_start, table.expansion_end
    for name, bars in (("expansion_start", start), ("expansion_end", end)):
        rule, outside = f"{name} must be within 0..{n_bars - 1}", (bars < -1) | (bars >= n_bars)
        problems += broken_rule(rule, outside, lambda row, bars=bars: f"found {int(bars[row])}")
    problems += broken_rule("expansion_start and expansion_end must come together", (start < 0) != (end < 0))
    crossed = (start > end) & (end >= 0)
    problems += broken_rule("expansion_start must be at most expansion_end", crossed)
    empty = [isinstance(name, str) and not name.strip() for name in table.label]
    problems += broken_rule("label must be a word or missing", empty)
    return problems + (_contradictions(table, group) if group is not None and table.classes else [])


def _contradictions(table: WindowTable, group: np.ndarray) -> list[Problem]:
    """Rows with the same bars and the same pointers must have the same label."""
    seen: dict[tuple[int, int, int], int] = {}
    pairs = []
    for row, key in enumerate(
        zip(group.tolist(), table.expansion_start.tolist(), table.expansion_end.tolist(), strict=True)
    ):
        first = seen.setdefault(key, row)
        if table.label[row] != table.label[first]:
            pairs.append((first, row))
    if not pairs:
        return []
    first, row = pairs[0]
    detail = f"rows {first} ({table.label[first]}) and {row} ({table.label[row]})"
    rule = "rows with the same bars and pointers must have the same label"
    return [Problem(rule, len(pairs), first, detail)]


def pointer_warning(table: WindowTable, n_bars: int) -> str:
    """State how many pointers lie outside the inner zone; the empty string when none does."""
    first, last = inner_zone(n_bars)
    bars = np.stack([table.expansion_start, table.expansion_end])
    outside = ((bars >= 0) & ((bars < first) | (bars >= last))).any(axis=0)
    if not outside.any():
        return ""
    row = int(outside.argmax())
    return (
        f"{int(outside.sum())} of {len(table)} windows have a pointer outside the inner zone "
        f"[{first}, {last}), first at row {row} ({table.window_id[row]})."
    )


# Columns of a window file: those that older files and other tools write in other types, and our own.


def optional_column(
    frame: pl.DataFrame, name: str, dtype: type[pl.DataType], problems: list[Problem] | None = None
) -> pl.Series:
    """Return a column as this type, missing where the file has none; what does not fit is a problem."""
    if name not in frame.columns:
        return pl.Series(name, [None] * len(frame), dtype=dtype)
    column = frame[name]
    if column.dtype.is_float():
        # Other tools write a missing pointer as NaN.
        column = column.fill_nan(None)
    whole = column.cast(dtype, strict=False)
    lost = whole.is_null() & column.is_not_null()
    if column.dtype.is_float():
        lost = lost | (column != whole.cast(column.dtype)).fill_null(False)
    if problems is not None:
        problems += broken_rule(f"{name} must be whole numbers", lost)
    return whole


def times_column(frame: pl.DataFrame, name: str, problems: list[Problem]) -> np.ndarray | None:
    """Return a column of times in microseconds; `None` where the file has none."""
    if name not in frame.columns or frame[name].null_count() == len(frame):
        return None
    column = frame[name]
    rule = f"{name} must be a time in every row or in none"
    if not isinstance(column.dtype, pl.Datetime):
        problems.append(Problem(rule, len(column), 0, str(column.dtype)))
        return None
    if column.null_count():
        problems += broken_rule(rule, column.is_null())
        return None
    if column.dtype.time_zone is None:
        column = column.dt.replace_time_zone("UTC")
    return column.dt.timestamp("us").to_numpy()


def is_relative_frame(rows: pl.DataFrame, frame: pl.LazyFrame, path: Path | str) -> bool:
    """Distinguish relative windows from 4-D ones by `feature_type`, or by the width of the first window's bars."""
    if "feature_type" not in rows.columns:
        first = frame.select("features").drop_nulls().head(1).collect()["features"].to_list()
        row = first[0] if first else None
        return bool(isinstance(row, list) and row and isinstance(row[0], list) and len(row[0]) == N_FEATURES)
    # In the order of the rows, so that a message is the same each time.
    kinds = rows["feature_type"].unique(maintain_order=True).to_list()
    if kinds == ["ohlc"]:
        return False
    if kinds != [FEATURE_TYPE]:
        raise InvalidData(
            f"feature_type must be {FEATURE_TYPE} or ohlc in every row, but {path} has {kinds[:5]}. {ADVICE}"
        )
    return True


def windows_frame(table: WindowTable, whole: WindowTable) -> pl.DataFrame:
    """Lay windows out as the columns of the file; `whole` is all of them, and decides which columns there are."""
    columns: dict[str, pl.Series] = {"window_id": pl.Series(table.window_id, dtype=pl.String)}
    if whole.has_symbols:
        columns["symbol"] = pl.Series(table.symbol.tolist(), dtype=pl.String)
    if table.start_us is not None and table.end_us is not None:
        columns |= {"start_ts": utc_series(table.start_us), "end_ts": utc_series(table.end_us)}
    if whole.classes:
        columns["label"] = pl.Series(table.label.tolist(), dtype=pl.String)
    if whole.has_pointers:
        for name in ("expansion_start", "expansion_end"):
            bars = getattr(table, name)
            columns[name] = pl.Series([int(b) if b >= 0 else None for b in bars], dtype=pl.Int64)
    columns |= {name: table.extra[name] for name in table.extra.columns}
    if table.features is not None:
        columns["feature_type"] = pl.Series([FEATURE_TYPE] * len(table), dtype=pl.String)
        columns["features"] = nested_column(table.features)
        if table.ohlc is not None:
            columns["ohlc"] = nested_column(table.ohlc)
    else:
        columns["features"] = nested_column(table.values)
    return pl.DataFrame(columns)


log = logging.getLogger(__name__)
# Windows in memory at a time, and a row group: 6.5 MB with their features and prices.
PIECE_WINDOWS = 512
EXTRA_COLUMNS = ("annotator", "quality", "draw")


@dataclass(frozen=True)
class WindowFile:
    """A window file whose prices and features are read some windows at a time.

    Attributes
    ----------
    rows
        All windows with everything but prices and features.
    is_relative
        Whether the file holds relative windows.
    """

    path: Path | str
    frame: pl.LazyFrame
    window_bars: int | None
    rows: WindowTable
    is_relative: bool
    row_problems: list[Problem]

    @classmethod
    def open(cls, path: Path, window_bars: int | None = None) -> WindowFile:
        """Read everything of a file but prices and features; a file without its columns or rows is refused."""
        return cls.of_frame(scan_frame(path, "a window file", ADVICE), path, window_bars)

    @classmethod
    def of_frame(cls, frame: pl.LazyFrame, path: Path | str, window_bars: int | None = None) -> WindowFile:
        """Do the same with a table that is read as it is asked for; messages call it `path`."""
        with reading(path, "a window file", ADVICE):
            columns = frame.collect_schema().names()
            for name in ("window_id", "features"):
                if name not in columns:
                    raise InvalidData(
                        f"windows must have the columns window_id and features, but {path} lacks {name} "
                        f"(it has {', '.join(columns[:20])}). {ADVICE}"
                    )
            rows = frame.drop("features", "ohlc", strict=False).collect()
            if not len(rows):
                raise InvalidData(f"a window file must have windows, but {path} has none. {ADVICE}")
            is_relative = is_relative_frame(rows, frame, path)
        problems: list[Problem] = []
        return cls(path, frame, window_bars, _assemble(rows, problems), is_relative, problems)

    def pieces(self) -> Iterator[WindowTable]:
        """Yield the windows in order, some at a time; at the end raise with every broken rule of the whole file."""
        problems: dict[str, Problem] = {}
        hashes: list[bytes] = []
        n_rows = 0
        for frame in self._values():
            found: list[Problem] = []
            ohlc, features = self._arrays(frame, found)
            Problem.gather(problems, found, n_rows)
            values = features if ohlc is None else ohlc
            if values is not None:
                hashes += content_hashes(values)
            n_rows += len(frame)
            if not problems and not self.row_problems:
                rows = self.rows.take(np.arange(n_rows - len(frame), n_rows))
                yield replace(rows, ohlc=ohlc, features=features)
        n_bars = self.window_bars or WINDOW_BARS
        group = groups_of_equal(hashes) if len(hashes) == len(self.rows) else None
        broken = [*problems.values(), *self.row_problems, *label_problems(self.rows, n_bars, group)]
        if broken:
            raise InvalidData.from_problems(self.path, broken, ADVICE)
        if self.rows.start_us is None:
            log.warning("%s has no start_ts and end_ts: overlap between parts cannot be checked.", self.path)
        if message := pointer_warning(self.rows, n_bars):
            log.warning("%s: %s", self.path, message)

    def _values(self) -> Iterator[pl.DataFrame]:
        wanted = self.frame.select(cs.by_name("features", "ohlc", require_all=False))
        with reading(self.path, "a window file", ADVICE):
            yield from wanted.collect_batches(chunk_size=PIECE_WINDOWS, maintain_order=True)

    def _arrays(self, frame: pl.DataFrame, problems: list[Problem]) -> tuple[np.ndarray | None, np.ndarray | None]:
        width = N_FEATURES if self.is_relative else 4
        values = nested_array(frame["features"], "features", width, self.window_bars, problems)
        ohlc, features = (None, values) if self.is_relative else (values, None)
        if features is not None and "ohlc" in frame.columns:
            ohlc = nested_array(frame["ohlc"], "ohlc", 4, features.shape[1], problems)
        problems += feature_problems(features, ohlc)
        return ohlc, features


def read_windows(path: Path, window_bars: int | None = None) -> WindowTable:
    """Read windows of either kind; otherwise raise with every broken rule at once.

    `window_bars` is the length that must hold; `None` means 105.
    """
    return _whole(WindowFile.open(path, window_bars))


def recorded_window_bars(path: Path) -> int | None:
    """Return how long the first windows of a file are; None where it has none, or where they differ."""
    if not is_parquet(path):
        return None
    frame = scan_frame(path, "a window file", ADVICE)
    with reading(path, "a window file", ADVICE):
        dtype = frame.collect_schema().get("features")
        if isinstance(dtype, pl.Array):
            return dtype.size or None
        if not isinstance(dtype, pl.List):
            return None
        found = frame.select("features").head(PIECE_WINDOWS).collect()["features"]
    lengths = found.list.len().unique().to_list()
    return lengths[0] if len(lengths) == 1 and lengths[0] else None


def windows_from_frame(frame: pl.DataFrame, name: str) -> WindowTable:
    """Take windows from a table in memory by the rules of a file; all must be as long as the first."""
    column = frame["features"] if "features" in frame.columns else pl.Series()
    first = column[0] if len(column) and column.dtype.is_nested() else None
    return _whole(WindowFile.of_frame(frame.lazy(), name, len(first) if first is not None else None))


def _whole(file: WindowFile) -> WindowTable:
    pieces = list(file.pieces())
    ohlc, features = ([getattr(piece, name) for piece in pieces] for name in ("ohlc", "features"))
    return replace(file.rows, ohlc=_joined(ohlc), features=_joined(features))


def _joined(values: list[np.ndarray | None]) -> np.ndarray | None:
    known = [some for some in values if some is not None]
    return np.concatenate(known) if known else None


def piece_rows(n_windows: int) -> Iterator[np.ndarray]:
    """Yield the rows of a table some at a time; once, and none, where the table has no rows."""
    for first in range(0, max(n_windows, 1), PIECE_WINDOWS):
        yield np.arange(first, min(first + PIECE_WINDOWS, n_windows))


def _assemble(frame: pl.DataFrame, problems: list[Problem]) -> WindowTable:
    identifier = frame["window_id"].cast(pl.String)
    again = identifier.is_null() | ~identifier.is_first_distinct()

    def first_of(row: int) -> str:
        name = identifier[row]
        return "" if name is None else f"{name[:60]!r} is row {(identifier == name).arg_max()} already"

    problems += broken_rule("window_id must be there and name one row each", again, first_of)
    label = np.array(optional_column(frame, "label", pl.String).to_list(), dtype=object)
    first, last = (
        optional_column(frame, name, pl.Int64, problems).fill_null(-1).to_numpy()
        for name in ("expansion_start", "expansion_end")
    )
    start_us, end_us = (times_column(frame, name, problems) for name in ("start_ts", "end_ts"))
    if (start_us is None) != (end_us is None):
        problems.append(Problem("start_ts and end_ts must come together", 1))
    elif start_us is not None and end_us is not None:
        problems += broken_rule("end_ts must not be before start_ts", end_us < start_us)
    symbol = optional_column(frame, "symbol", pl.String).fill_null("").to_numpy().astype(object)
    extra = frame.select([name for name in EXTRA_COLUMNS if name in frame.columns])
    return WindowTable(
        identifier.fill_null("").to_list(), None, None, label, first, last, start_us, end_us, symbol, extra
    )


def write_windows(path: Path, table: WindowTable) -> None:
    """Write a window table: 4-D without features, relative (with the bars, where known) with them."""
    write_window_pieces(path, table, (table.take(rows) for rows in piece_rows(len(table))))


def write_window_pieces(path: Path, rows: WindowTable, pieces: Iterator[WindowTable]) -> None:
    """Write windows that come some at a time to the bytes that `write_windows` gives.

    `rows` is all of them, prices and features or not: it decides which columns the file has.
    """
    write_frames(path, (windows_frame(piece, rows) for piece in pieces), PIECE_WINDOWS)
