"""Find the spans of charts that are most similar to one marked span."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from moola.core.bars import Bars
from moola.core.span_matching import MarkedSpan, Places, similar_places, span_paths, unit, without_overlaps
from moola.core.utc_times import minute_text
from moola.errors import InvalidData, WrongUsage
from moola.models.model_files import EncoderFile
from moola.models.span_metric import as_span_vectors
from moola.scan.span_vectors import (
    OnBars,
    Reader,
    read_span_vectors,
    runs_of,
    too_short,
    vectors_between,
)

# Places of each run that are compared by their paths, at least and for each span that is wanted.
LEAST_PLACES, PLACES_A_SPAN = 5_000, 100
SHORTEST_BARS = 2


@dataclass(frozen=True)
class SimilarSpans:
    """What was found in one or more bar tables, most similar first.

    Attributes
    ----------
    table
        Which of the bar tables each span is in.
    bar
        Rows of its first and last bar there, both inclusive.
    similarity
        1 for the marked span itself, and lower the less alike; not a probability.
    mirrored
        Whether it is alike upside down.
    n_bars, n_bars_unseen
        Bars searched, and bars in no run that is long enough to be read.
    encode_s, search_s
        Seconds that reading and searching took.
    n_from_folder
        Tables whose vectors were there already.
    """

    table: Int[np.ndarray, " spans"]
    bar: Int[np.ndarray, "spans 2"]
    similarity: Float[np.ndarray, " spans"]
    mirrored: Bool[np.ndarray, " spans"]
    n_bars: int
    n_bars_unseen: int
    encode_s: float
    search_s: float
    n_from_folder: int

    def __len__(self) -> int:
        return len(self.bar)


@dataclass(frozen=True)
class SearchedChart:
    """One table with its vectors, and the stretches of it that are searched."""

    bars: Bars
    vectors: Float[np.ndarray, "3 bars values"]
    runs: list[tuple[int, int]] = field(default_factory=list)


def similar_spans(
    bars: Bars | Sequence[Bars],
    at: tuple[int, int],
    encoder: EncoderFile,
    n: int = 20,
    *,
    mirror: bool = True,
    folder: Path | None = None,
    device: torch.device | None = None,
    on_bars: OnBars | None = None,
) -> SimilarSpans:
    """Return the spans most similar to a marked one, none of which shares a bar with it or with another.

    Parameters
    ----------
    bars
        Bar tables to search; the marked span is in the first.
    at
        Rows of the span's first and last bar, both inclusive, in the first table.
    encoder
        What reads the bars: `read_encoder(Path("base"))`, or another encoder file.
    n
        Most spans to find.
    mirror
        Whether spans that are alike upside down count too.
    folder
        Where vectors of bars are kept, so that another search of the same bars need not read them; None keeps none.
    on_bars
        Called with the bars read so far, and all of a table.

    Raises
    ------
    WrongUsage
        The span is not within bars of one run, or has fewer than 2 bars, or more than the encoder reads at a time.
    InvalidData
        A table holds no run of bars as long as the encoder reads.
    """
    tables = [bars] if isinstance(bars, Bars) else list(bars)
    begun = time.monotonic()
    home = _run_of(tables[0], at, encoder)
    reader = Reader.of(encoder, tables[0], folder, torch.device("cpu") if device is None else device)
    charts, n_kept = [], 0
    for table in tables:
        runs = runs_of(table, encoder.window_bars)
        if not runs:
            raise InvalidData(too_short(table, encoder.window_bars))
        vectors, was_kept = read_span_vectors(reader, table, folder, on_bars)
        n_kept += was_kept
        charts.append(SearchedChart(table, vectors, runs))
    ways = read_marked(reader, charts[0], home, at, mirror)
    read = time.monotonic()
    found = search(charts, ways, at, n)
    n_seen = sum(stop - first for chart in charts for first, stop in chart.runs)
    n_unseen = sum(len(table) for table in tables) - n_seen
    return SimilarSpans(*found, n_seen, n_unseen, read - begun, time.monotonic() - read, n_kept)


def _run_of(bars: Bars, at: tuple[int, int], encoder: EncoderFile) -> tuple[int, int]:
    first, last = at
    n_bars, most = last - first + 1, encoder.window_bars
    if first < 0 or last >= len(bars):
        raise WrongUsage(
            f"a marked span must lie within the bars, but rows {first} to {last} are not among the {len(bars)}. "
            "Give rows of its first and last bar."
        )
    if not SHORTEST_BARS <= n_bars <= most:
        way_on = "Mark more bars." if n_bars < SHORTEST_BARS else "Mark fewer, or search coarser bars."
        raise WrongUsage(
            f"a marked span must have {SHORTEST_BARS} to {most} bars (as many as the encoder reads at a time), but it "
            f"has {n_bars}. {way_on}"
        )
    runs = runs_of(bars, most)
    home = next((run for run in runs if run[0] <= first and last < run[1]), None)
    if home is None:
        raise WrongUsage(
            f"a marked span must lie in {most} bars or more of one symbol in a row, but the one from "
            f"{minute_text(int(bars.start_us[first]))} to {minute_text(int(bars.start_us[last]))} UTC does not "
            "(there are too few bars, or there is a long gap). Mark another, or give more bars."
        )
    return home


def read_marked(
    reader: Reader, chart: SearchedChart, home: tuple[int, int], at: tuple[int, int], mirror: bool
) -> list[MarkedSpan]:
    """Read the marked span upright and, where asked, upside down."""
    first, last = at
    path = span_paths(chart.bars.ohlc[home[0] : home[1], 3], np.array([[first - home[0], last - home[0]]]))[0]
    upright = chart.vectors[:, first : last + 1].astype(np.float32)
    read = [(upright, 1)]
    if mirror:
        run = chart.bars.ohlc[home[0] : home[1]]
        turned = vectors_between(reader.encoder, run, first - home[0], last + 1 - home[0], reader.device, turned=True)
        read.append((reader.metric.of(turned).astype(np.float32), -1))
    return [
        MarkedSpan(one[0, 0], one[1, -1], unit(one[2].mean(axis=0)), path, sign, last - first + 1) for one, sign in read
    ]


def search(
    charts: Sequence[SearchedChart], ways: Sequence[MarkedSpan], at: tuple[int, int], n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return table, bars, similarity and mirroring of the spans most similar over all charts."""
    kept: list[Places] = []
    table: list[np.ndarray] = []
    for number, chart in enumerate(charts):
        for first, stop in chart.runs:
            vectors = as_span_vectors(chart.vectors[:, first:stop])
            n_most = max(LEAST_PLACES, PLACES_A_SPAN * n)
            places = similar_places(vectors, chart.bars.ohlc[first:stop, 3], ways, n_most)
            taken = [(at[0] - first, at[1] - first)] if number == 0 and first <= at[0] < stop else []
            chosen = places.take(without_overlaps(places, stop - first, n, taken))
            kept.append(Places(chosen.bar + first, chosen.similarity, chosen.mirrored))
            table.append(np.full(len(chosen), number))
    every, of = Places.joined(kept), np.concatenate(table)
    order = np.lexsort((every.bar[:, 0], of, -every.similarity))[:n]
    return of[order], every.bar[order], every.similarity[order], every.mirrored[order]
