"""Where labelled times are in a bar table, and whether these are the bars that the labels were made on."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moola.core.bars import Bars, bar_interval_us, utc_text
from moola.core.label_rules import ChartLabels, WindowLabel
from moola.errors import InvalidData, WrongUsage
from moola.tables.bar_table import read_bars
from moola.tables.label_store import LabelStore

# Other tools keep prices in 32 bits, which is some 1e-7 of the price; another bar differs by far more.
PRICE_TOLERANCE = 1e-6


def read_named_bars(path: Path, symbol: str | None) -> Bars:
    """Read a bar table, and give bars that name no symbol the one of `--symbol`.

    Raises
    ------
    WrongUsage
        The bars name another symbol, or several.
    """
    bars = read_bars(path)
    if symbol is None:
        return bars
    if bars.symbols not in ([""], [symbol]):
        raise WrongUsage(
            f"--symbol must name bars that have no symbol, but {path} has {len(bars.symbols)}: "
            f"{', '.join(bars.symbols[:5])}. Leave --symbol out."
        )
    return replace(bars, symbol=np.full(len(bars), symbol, dtype=object))


def bars_content(start_us: np.ndarray, ohlc: np.ndarray) -> bytes:
    """Return bars as the label store keeps them: their times, then their prices."""
    return start_us.astype("<i8").tobytes() + ohlc.astype("<f8").tobytes()


def content_bars(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return times and prices of bars that the label store keeps."""
    n_bars = len(content) // 40
    return np.frombuffer(content[: 8 * n_bars], "<i8"), np.frombuffer(content[8 * n_bars :], "<f8").reshape(-1, 4)


# Of a longer span its first bars stand for all: each save keeps what is under it.
MOST_SPAN_BARS = 500


def on_bars(chart: ChartLabels, bars: Bars) -> tuple[ChartLabels, dict[str, bytes]]:
    """Tie the spans of a chart that lie on bars to these, where nothing tied them before.

    Returns
    -------
    tuple
        The chart, and the bars by the SHA-256 that its spans now have.
    """
    rows = np.flatnonzero(bars.symbol == chart.symbol)
    times, known, spans = bars.start_us[rows], {}, []
    for span in chart.spans:
        first, last = np.searchsorted(times, [span.start_us, span.end_us]).tolist()
        if not span.bars and last < len(times) and times[first] == span.start_us and times[last] == span.end_us:
            under = rows[first : min(last + 1, first + MOST_SPAN_BARS)]
            content = bars_content(bars.start_us[under], bars.ohlc[under])
            sha256 = hashlib.sha256(content).hexdigest()
            known[sha256] = content
            spans.append(replace(span, bars=sha256))
        else:
            spans.append(span)
    return replace(chart, spans=tuple(spans)), known


@dataclass(frozen=True)
class Mark:
    """One expansion as inclusive bar positions of its window."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class PlacedLabel:
    """A label with its window's first row in the bar table, and its expansions as positions, in their order."""

    label: WindowLabel
    first_row: int
    marks: tuple[Mark, ...]


class BarPlaces:
    """Rows of a bar table by symbol and time.

    Parameters
    ----------
    bars
        Bars that obey the contract, symbol by symbol.
    window_bars
        Bars per window.
    """

    def __init__(self, bars: Bars, window_bars: int) -> None:
        self.bars, self.window_bars = bars, window_bars
        self._apart: set[str] = set()
        self._rows = {symbol: np.flatnonzero(bars.symbol == symbol) for symbol in bars.symbols}
        self._times = {symbol: bars.start_us[rows] for symbol, rows in self._rows.items()}
        self._interval_us = {symbol: bar_interval_us(times) for symbol, times in self._times.items()}

    def known_symbol(self, symbol: str) -> str | None:
        """Return the bar table's name of a symbol; where either side names none, its only one. None if unknown."""
        if symbol in self._times:
            return symbol
        if symbol in self._apart:
            return None
        only = next(iter(self._times)) if len(self._times) == 1 else None
        return only if only is not None and "" in (symbol, only) else None

    def row(self, symbol: str, time_us: int) -> int | None:
        """Return the row of the bar that starts at a time, None where there is no such bar."""
        row = int(self.found(symbol, np.array([time_us]))[0])
        return None if row < 0 else row

    def keep_apart(self, symbol: str) -> None:
        """Let a symbol that the bar table does not name be none of its own: the prices showed that it is another."""
        self._apart.add(symbol)

    def interval_us(self, symbol: str) -> int:
        """Return the usual time of a bar of a symbol that the bar table knows; 0 where it has one bar."""
        known = self.known_symbol(symbol)
        return 0 if known is None else self._interval_us[known]

    def found(self, symbol: str, time_us: np.ndarray) -> np.ndarray:
        """Return the row of the bar of each time, -1 where there is none."""
        known = self.known_symbol(symbol)
        rows = np.full(len(time_us), -1, dtype=np.int64)
        if known is None:
            return rows
        at = np.searchsorted(self._times[known], time_us).clip(max=len(self._times[known]) - 1)
        here = self._times[known][at] == time_us
        rows[here] = self._rows[known][at[here]]
        return rows

    def content(self, symbol: str, start_us: int, end_us: int) -> bytes | None:
        """Return the bars from one time to another as the label store keeps them; None where either is not a bar's."""
        first, last = self.row(symbol, start_us), self.row(symbol, end_us)
        if first is None or last is None:
            return None
        return bars_content(self.bars.start_us[first : last + 1], self.bars.ohlc[first : last + 1])

    def row_around(self, symbol: str, time_us: int) -> int | None:
        """Return the row of the bar during which an instant falls: the last one that started by then.

        None where that bar had ended before (by the usual time of a bar), as in a gap.
        """
        known = self.known_symbol(symbol)
        if known is None:
            return None
        at = int(np.searchsorted(self._times[known], time_us, side="right")) - 1
        if at < 0 or time_us - self._times[known][at] >= max(self._interval_us[known], 1):
            return None
        return int(self._rows[known][at])

    def window(self, symbol: str, start_us: int, end_us: int) -> int | str:
        """Return the row of a window's first bar, or the reason why the bar table does not have the window."""
        if self.known_symbol(symbol) is None:
            return f"its symbol {symbol!r} is not in the bars file"
        first, last = self.row(symbol, start_us), self.row(symbol, end_us)
        if first is None or last is None:
            lost = "first" if first is None else "last"
            return f"its {lost} bar {utc_text(start_us if first is None else end_us)} is not in the bars file"
        n_bars = last - first + 1
        if n_bars != self.window_bars:
            return f"it must have {self.window_bars} bars, but the bars file has {n_bars} between its ends"
        return first

    def place(self, label: WindowLabel) -> PlacedLabel | str:
        """Turn a label's times to positions, or explain why that cannot be done."""
        first = self.window(label.symbol, label.start_us, label.end_us)
        if isinstance(first, str):
            return first
        marks = []
        for expansion in label.expansions:
            rows = [self.row(label.symbol, time) for time in (expansion.start_us, expansion.end_us)]
            if rows[0] is None or rows[1] is None:
                time_us = expansion.start_us if rows[0] is None else expansion.end_us
                return f"its pointer {utc_text(time_us)} is not in the bars file"
            marks.append(Mark(rows[0] - first, rows[1] - first, expansion.label))
        return PlacedLabel(label, first, tuple(marks))


# Whether bars are those that the labels of a store were made on: asked before the two are joined.


log = logging.getLogger(__name__)
NAME_THEM = (
    "Give the bars that the labels were made on; or name the symbol of these (--symbol NAME here, or in the file with "
    "`moola bars import --symbol NAME`), or keep their labels in another --store"
)


@dataclass(frozen=True)
class _Compared:
    """Bars that labels of one symbol are on, looked up in a bar table."""

    n_labels: int
    n_found: int
    n_differ: int
    n_windows_differ: int


def require_same_bars(store: LabelStore, places: BarPlaces, path: Path, adds: Collection[str] = ()) -> None:
    """Refuse bars that a store's labels were not made on, and report what was corrected; nothing is written.

    Bars are compared by time and price (within 1e-6 of the price) under every label of their symbol. They may have
    grown, lack what is older, or differ in a few prices: the last is reported and counted. Labels of the first version
    of the store have no bars until `learn_bars` gives them some.

    Parameters
    ----------
    store
        Open store.
    places
        The bars.
    path
        Names them in messages.
    adds
        Symbols that labels are to be added under. Without a symbol nothing but the prices shows the instrument: bars
        without one must then meet those of the labels that stand. Where either side names no symbol, labels of other
        symbols that lie on other prices are another instrument's, and kept apart.

    Raises
    ------
    InvalidData
        The bars have another length, most of their prices differ, or nothing shows that they are the same.
    """
    known, lengths = store.bars(), store.instruments()
    by_symbol: dict[str, list[bytes]] = defaultdict(list)
    for label in store.all():
        if places.known_symbol(label.symbol) is not None:
            under = known.get((label.window_id, label.annotator))
            by_symbol[label.symbol] += [] if under is None else [under]
    for symbol, contents in store.span_bars().items():
        if places.known_symbol(symbol) is not None:
            by_symbol[symbol] += contents
    own = set(places.bars.symbols)
    # With nothing to add and no label under the bars' own symbol, the labels that are there are meant.
    separable = bool(adds) or any(symbol in own for symbol in by_symbol)
    corrected: list[_Compared] = []
    for symbol, found in by_symbol.items():
        compared = _compare(symbol, found, places)
        others = 2 * compared.n_differ > compared.n_found
        if others and separable and symbol not in own and symbol not in adds:
            places.keep_apart(symbol)
            continue
        _same_length(symbol, lengths.get(symbol, 0), places, path)
        if others:
            raise InvalidData(
                f"bars must be those that the labels of {store.path} were made on, but under {compared.n_labels} "
                f"labels of {_name(symbol)} {compared.n_differ} of {compared.n_found} bars have other prices ({path}). "
                f"{NAME_THEM}."
            )
        if "" in adds and symbol == "" and compared.n_labels and not compared.n_found:
            raise InvalidData(
                f"bars without a symbol must be those that the labels of {store.path} were made on, but none of the "
                f"bars under {compared.n_labels} labels is in {path}, so that nothing shows it. {NAME_THEM}."
            )
        if compared.n_differ:
            corrected.append(compared)
    if corrected:
        log.warning(
            "%d labelled windows or spans are on bars that were corrected since: %d bars of %s have other prices now.",
            sum(one.n_windows_differ for one in corrected), sum(one.n_differ for one in corrected), path,
        )  # fmt: skip


def _name(symbol: str) -> str:
    return repr(symbol) if symbol else "no symbol"


def _same_length(symbol: str, known_us: int, places: BarPlaces, path: Path) -> None:
    given_us = places.interval_us(symbol)
    if known_us and given_us and known_us != given_us:
        raise InvalidData(
            f"bars must have the length of those that were labelled, {known_us / 1e6:g} s for {_name(symbol)}, but "
            f"they have {given_us / 1e6:g} s ({path}). Give the bars that the labels were made on, or another --store."
        )


def _compare(symbol: str, contents: list[bytes], places: BarPlaces) -> _Compared:
    """Compare each bar under labels once; windows and spans are counted where any of their bars differs."""
    differ: set[int] = set()
    found: set[int] = set()
    windows: set[bytes] = set()
    for content in set(contents):
        times, ohlc = content_bars(content)
        rows = places.found(symbol, times)
        here = rows >= 0
        other = ~np.isclose(places.bars.ohlc[rows[here]], ohlc[here], rtol=PRICE_TOLERANCE, atol=0.0).all(axis=1)
        found.update(times[here].tolist())
        differ.update(times[here][other].tolist())
        if other.any():
            windows.add(content)
    return _Compared(len(contents), len(found), len(differ), len(windows))


def learn_bars(store: LabelStore, places: BarPlaces, path: Path) -> None:
    """Tie labels of the first version of the store, which record no bars, to the bars given; this is reported.

    Called where all else went well: a command that fails changes nothing.
    """
    labels, known, lengths = store.all(), store.bars(), store.instruments()
    learned: dict[tuple[str, int, int], bytes] = {}
    n_labels = 0
    for label in labels:
        if (label.window_id, label.annotator) in known:
            continue
        content = places.content(label.symbol, label.start_us, label.end_us)
        if content is not None:
            n_labels += 1
            learned[label.symbol, label.start_us, label.end_us] = content
    bar_us = {symbol: places.interval_us(symbol) for symbol in {label.symbol for label in labels}}
    bar_us = {symbol: length for symbol, length in bar_us.items() if length and symbol not in lengths}
    if learned or bar_us:
        store.learn(learned, bar_us)
    if learned:
        log.warning(
            "%d labels of %s were not yet tied to bars: from now on they belong to %s, and other bars are refused.",
            n_labels, store.path, path,
        )  # fmt: skip
