"""Whether bars are those that the labels of a store were made on: asked before the two are joined."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moola.data.contracts.label_store import LabelStore, WindowLabel
from moola.errors import InvalidData
from moola.pipeline.labels.places import PRICE_TOLERANCE, BarPlaces, content_bars

log = logging.getLogger(__name__)
NAME_THEM = (
    "Give the bars that the labels were made on; or name the symbol of these (--symbol NAME here, or in the file with "
    "`moola bars import --symbol NAME`), or keep their labels in another --store"
)


@dataclass(frozen=True)
class _Compared:
    """Bars that labels of one symbol lie on, looked up in a bar table."""

    n_labels: int
    n_found: int
    n_differ: int
    n_windows_differ: int


def require_same_bars(store: LabelStore, places: BarPlaces, path: Path, adds: Collection[str] = ()) -> None:
    """Refuse bars that a store's labels were not made on, and say what was corrected; nothing is written.

    Bars are compared by time and price (within 1e-6 of the price) under every label of their symbol. They may have
    grown, lack what is older, or differ in a few prices: the last is said with its count. Labels of the first version
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
    labels = store.all()
    known, lengths = store.bars(), store.instruments()
    by_symbol: dict[str, list[WindowLabel]] = defaultdict(list)
    for label in labels:
        if places.known_symbol(label.symbol) is not None:
            by_symbol[label.symbol].append(label)
    own = set(places.bars.symbols)
    # With nothing to add and no label under the bars' own symbol, whoever gave them means the labels that are there.
    separable = bool(adds) or any(symbol in own for symbol in by_symbol)
    corrected: list[_Compared] = []
    for symbol, found in by_symbol.items():
        compared = _compare(symbol, found, known, places)
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
            "%d labelled windows lie on bars that were corrected since: %d bars of %s have other prices now.",
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


def _compare(
    symbol: str, labels: list[WindowLabel], known: Mapping[tuple[str, str], bytes], places: BarPlaces
) -> _Compared:
    """Compare each bar under the labels once; windows are counted where any of their bars differs."""
    contents = [known[key] for label in labels if (key := (label.window_id, label.annotator)) in known]
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
    """Let labels that know no bars, those of the first version of the store, learn the ones that are given; said.

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
            "%d labels of %s did not know their bars yet: from now on they are those of %s, and others are refused.",
            n_labels, store.path, path,
        )  # fmt: skip
