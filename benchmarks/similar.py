"""How well `moola similar` finds spans of the same class, beside matching of prices, and how fast.

    python benchmarks/similar.py --windows expansions_eurusd_1m_train.parquet --bars eurusd_1m_2017h1.parquet
    python benchmarks/similar.py --million

Each query is the expansion of a labelled window. The whole chart is searched, places that share a bar with a stronger
one are left out, and each place counts for the labelled window that has its start in the inner zone and its end inside,
once a window; windows that share bars with the query's are left out. Of the first ten: the share of the query's class
(precision at 10), and of those whose start and end are both within 3 bars of the window's own (hit@3 of both).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, rfft

from moola.core.bars import Bars
from moola.core.seeds import generator
from moola.core.span_matching import Places, dtw_squared, without_overlaps, z_normalised
from moola.core.windows import inner_zone
from moola.files import json_bytes, write_atomic
from moola.models.model_files import read_encoder
from moola.scan import similar_spans as spans
from moola.scan.similar_spans import Reader, read_span_vectors, runs_of
from moola.tables.bar_table import read_bars
from moola.tables.window_file import WindowTable, read_windows

TOP, NEAR_BARS, N_PLACES = 10, 3, 150
# Bars that prices are matched on before and after the span, the best of those tried on train windows.
BEFORE, AFTER = 20, 5
DTW_BAND = 3
MILLION = 1_000_000

Matcher = Callable[[tuple[int, int]], Places]


@dataclass(frozen=True)
class Labelled:
    """Labelled windows on the bars of their chart."""

    bars: Bars
    at: np.ndarray
    bar: np.ndarray
    label: np.ndarray
    window_bars: int


def labelled_on(bars: Bars, windows: WindowTable) -> Labelled:
    """Find the windows' bars."""
    at = np.searchsorted(bars.start_us, windows.start_us)
    if not (bars.start_us[at] == windows.start_us).all():
        raise SystemExit("The windows were not cut from these bars. Give the bars that they were labelled on.")
    pointers = np.stack([windows.expansion_start, windows.expansion_end], axis=1)
    return Labelled(bars, at, at[:, None] + pointers, windows.label, windows.window_bars)


def figures_of_query(known: Labelled, row: int, places: Places) -> tuple[float, float]:
    """Return precision at 10 and hit@3 of both of one query's places, strongest first."""
    first, last = inner_zone(known.window_bars)
    far = np.abs(known.at - known.at[row]) >= known.window_bars
    used, same, hit = np.zeros(len(known.at), dtype=bool), [], []
    for start, end in places.bar.tolist():
        inside = (start >= known.at + first) & (start < known.at + last) & (end < known.at + known.window_bars)
        fitting = np.flatnonzero(inside & far & ~used)
        if not len(fitting):
            continue
        off = np.abs(known.bar[fitting] - [start, end]).max(axis=1)
        window = fitting[off.argmin()]
        used[window] = True
        same.append(known.label[window] == known.label[row])
        hit.append(off.min() <= NEAR_BARS)
        if len(same) == TOP:
            break
    return float(np.mean(same)), float(np.mean(hit))


def kept(places: Places, n_bars: int, at: tuple[int, int]) -> Places:
    """Return the places that share no bar with a stronger one or with the query."""
    return places.take(without_overlaps(places, n_bars, N_PLACES, [at]))


def moola_matcher(bars: Bars, folder: Path | None) -> Matcher:
    """Match by the vectors of `base`, as `moola similar` does."""
    encoder = read_encoder(Path("base"))
    reader = Reader.of(encoder, bars, folder, torch.device("cpu"))
    vectors, _ = read_span_vectors(reader, bars, folder)
    runs = runs_of(bars, encoder.window_bars)
    chart = spans.SearchedChart(bars, vectors, runs)

    def match(at: tuple[int, int]) -> Places:
        home = next(run for run in runs if run[0] <= at[0] < run[1])
        ways = spans.read_marked(reader, chart, home, at, True)
        _, bar, similarity, mirrored = spans.search([chart], ways, at, N_PLACES)
        return Places(bar, similarity, mirrored)

    return match


def mass_matcher(bars: Bars) -> Matcher:
    """Match z-normalised log closes of the span and the bars around it, both ways up (Mueen et al.)."""
    logs = np.log(bars.ohlc[:, 3])

    def match(at: tuple[int, int]) -> Places:
        n_bars = at[1] - at[0] + 1
        first, last = max(at[0] - BEFORE, 0), min(at[1] + AFTER, len(logs) - 1)
        return _of_starts(mass(logs, logs[first : last + 1]), at, at[0] - first, n_bars, len(logs))

    return match


def _of_starts(alike: np.ndarray, at: tuple[int, int], before: int, n_bars: int, n_all: int) -> Places:
    order = np.argsort(-np.abs(alike), kind="stable")
    bar = np.stack([order + before, order + before + n_bars - 1], axis=1)
    return kept(Places(bar, np.abs(alike)[order], alike[order] < 0), n_all, at)


def mass(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the correlation of a query with every run of its length, by the Fourier transform."""
    n, m = len(values), len(query)
    query = (query - query.mean()) / max(query.std(), 1e-12)
    centred = values - values.mean()
    size = n + m
    dots = irfft(rfft(centred, size) * rfft(query[::-1], size), size)[m - 1 : n]
    sums, squares = (np.concatenate([[0.0], np.cumsum(one)]) for one in (centred, centred**2))
    mean = (sums[m:] - sums[:-m]) / m
    spread = np.sqrt(np.maximum((squares[m:] - squares[:-m]) / m - mean**2, 0.0))
    return np.divide(dots, m * spread, out=np.zeros_like(dots), where=spread > 1e-9)


def dtw_matcher(bars: Bars) -> Matcher:
    """Match the same z-normalised closes by dynamic time warping in a band of 3 bars, both ways up."""
    logs = np.log(bars.ohlc[:, 3])

    def match(at: tuple[int, int]) -> Places:
        n_bars = at[1] - at[0] + 1
        first, last = max(at[0] - BEFORE, 0), min(at[1] + AFTER, len(logs) - 1)
        query = z_normalised(logs[first : last + 1])
        pieces = z_normalised(sliding_window_view(logs, len(query)))
        ways = np.stack([dtw_squared(pieces, query, DTW_BAND), dtw_squared(pieces, -query, DTW_BAND)])
        found = -ways.min(axis=0)
        order = np.argsort(-found, kind="stable")
        start = order + at[0] - first
        bar = np.stack([start, start + n_bars - 1], axis=1)
        return kept(Places(bar, found[order], ways.argmin(axis=0)[order] == 1), len(logs), at)

    return match


MATCHERS: dict[str, Callable[[Bars, Path | None], Matcher]] = {
    "moola": moola_matcher,
    "mass": lambda bars, _folder: mass_matcher(bars),
    "dtw": lambda bars, _folder: dtw_matcher(bars),
}


def judged(known: Labelled, match: Matcher, rows: np.ndarray) -> dict[str, float]:
    """Return the mean figures over queries with the standard error of the precision."""
    begun = time.monotonic()
    found = np.array(
        [figures_of_query(known, row, match((int(known.bar[row, 0]), int(known.bar[row, 1])))) for row in rows]
    )
    spent = time.monotonic() - begun
    return {
        "precision_at_10": float(found[:, 0].mean()),
        "standard_error": float(found[:, 0].std(ddof=1) / np.sqrt(len(rows))),
        "hit_at_pm3_both": float(found[:, 1].mean()),
        "s_a_query": spent / len(rows),
    }


def quality(options: argparse.Namespace) -> dict[str, object]:
    """Judge every matcher by the same queries."""
    bars, windows = read_bars(options.bars), read_windows(options.windows)
    assert windows.start_us is not None
    assert windows.end_us is not None
    # What comes after the windows is no part of the chart: nothing is known of it.
    bars = bars.take(bars.start_us <= windows.end_us.max())
    known = labelled_on(bars, windows)
    rows = np.sort(generator(options.seed, "queries").permutation(len(windows))[: options.queries])
    told: dict[str, object] = {"windows": str(options.windows), "n_queries": len(rows), "n_bars": len(bars)}
    for name in options.matchers:
        told[name] = judged(known, MATCHERS[name](bars, options.vectors), rows)
        print(name, json.dumps(told[name]), flush=True)
    return told


def speed(options: argparse.Namespace) -> dict[str, object]:
    """Time a search of a million made bars: vectors drawn at random, as of bars that were read before."""
    rng = generator(options.seed, "a million bars")
    close = np.exp(np.cumsum(rng.normal(scale=1e-4, size=MILLION)))
    spread = np.exp(np.abs(rng.normal(scale=1e-4, size=MILLION)))
    ohlc = np.stack([close, close * spread, close / spread, close], axis=1)
    bars = Bars(np.arange(MILLION) * 60_000_000, ohlc, np.full(MILLION, "", dtype=object))
    encoder = read_encoder(Path("base"))
    few = bars.take(slice(0, 20_000))
    reader = Reader.of(encoder, few, None, torch.device("cpu"))
    begun = time.monotonic()
    kept_few, _ = read_span_vectors(reader, few, None)
    encode_s = (time.monotonic() - begun) * MILLION / len(few)
    # Vectors of the same few bars again and again: what a search costs does not depend on them.
    vectors = np.tile(kept_few, (1, MILLION // len(few), 1))
    chart = spans.SearchedChart(bars, vectors, [(0, MILLION)])
    told: dict[str, object] = {"n_bars": MILLION, "encode_s": encode_s}
    for n_bars in (6, 24, 96):
        at = (500, 500 + n_bars - 1)
        ways = spans.read_marked(reader, chart, (0, len(few)), at, True)
        begun = time.monotonic()
        spans.search([chart], ways, at, 20)
        told[f"search_s_{n_bars}_bars"] = time.monotonic() - begun
        begun = time.monotonic()
        mass(np.log(close), np.log(close[at[0] - BEFORE : at[1] + AFTER + 1]))
        told[f"mass_s_{n_bars}_bars"] = time.monotonic() - begun
    naive = 20_000
    begun = time.monotonic()
    query = z_normalised(np.log(close[480:530]))
    for start in range(naive):
        float(z_normalised(np.log(close[start : start + len(query)])) @ query)
    told["naive_s"] = (time.monotonic() - begun) * MILLION / naive
    print(json.dumps(told), flush=True)
    return told


def main() -> None:
    """Judge quality where windows are named, speed where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=Path, help="labelled windows of a benchmark")
    parser.add_argument("--bars", type=Path, help="the bars that they were cut from")
    parser.add_argument("--queries", type=int, default=174, help="how many windows are asked for, drawn by the seed")
    parser.add_argument("--matchers", nargs="+", default=list(MATCHERS), choices=list(MATCHERS))
    parser.add_argument("--vectors", type=Path, help="folder where vectors of bars are kept")
    parser.add_argument("--million", action="store_true", help="time a search of a million bars")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    if (options.windows is None) != (options.bars is None) or not (options.windows or options.million):
        parser.error("give --windows with --bars, or --million, or all")
    torch.set_num_threads(1)
    told: dict[str, object] = {}
    if options.windows is not None:
        told |= quality(options)
    if options.million:
        told["million"] = speed(options)
    if options.output is not None:
        write_atomic(options.output, json_bytes(told))


if __name__ == "__main__":
    main()
