"""Find the spans of charts most similar to a marked one, by vectors of every bar that are kept on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from moola.core.bars import Bars, allowed_gap_s, minute_text, upside_down
from moola.core.features import relative_features
from moola.core.span_matching import MarkedSpan, Places, similar_places, span_paths, unit, without_overlaps
from moola.core.windows import inner_zone, take_windows
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file, write_atomic_by
from moola.fit.linear_heads_fit import keep_within
from moola.fit.predicting import BarVectors
from moola.models.model_files import EncoderFile, weights_digest
from moola.models.span_metric import METRIC_FILE, SpanMetric, as_span_vectors, metric_for, read_metric, write_metric

# Windows are so far apart: each bar is in the inner zone of three of 105 bars.
STRIDE = 15
# Bars whose vectors are summed at a time, so that memory does not grow with the table.
BARS_AT_A_TIME, WINDOWS_AT_A_TIME = 6_000, 256
SAMPLE_PIECES, SAMPLE_BARS = 20, 200
# The suffix is of these files alone: a folder that is named may hold others.
FORMAT, SUFFIX, MAX_BYTES = b"span vectors 2", ".span_vectors.npy", 2 << 30

log = logging.getLogger(__name__)
OnBars = Callable[[int, int], None]


@dataclass(frozen=True)
class Reader:
    """An encoder, the metric of its vectors, and the device that it runs on."""

    encoder: EncoderFile
    metric: SpanMetric
    device: torch.device

    @classmethod
    def of(cls, encoder: EncoderFile, bars: Bars, folder: Path | None, device: torch.device) -> Reader:
        """Take the metric of an encoder for these bars, from the folder where it is kept there already.

        Raises
        ------
        InvalidData
            No run of bars is as long as the encoder reads at a time.
        """
        encoder.encoder.to(device).eval()
        named = hashlib.sha256(FORMAT + weights_digest(encoder.encoder).encode() + sha256_file(METRIC_FILE).encode())
        path = None if folder is None else folder / f"{_with_bars(named, bars)}.pt"
        if path is not None and path.is_file():
            return cls(encoder, read_metric(path), device)
        metric = metric_for(encoder, _sample(encoder, bars, device))
        if path is not None:
            write_metric(path, metric, {})
        return cls(encoder, metric, device)

    def key(self, bars: Bars) -> str:
        """Name what decides the vectors of a table: encoder, metric and bars."""
        said = f"{self.metric.digest} {STRIDE} {self.encoder.window_bars}"
        return _with_bars(hashlib.sha256(FORMAT + said.encode()), bars)


def _with_bars(state: Any, bars: Bars) -> str:
    state.update(np.ascontiguousarray(bars.start_us, dtype="<i8").tobytes())
    state.update(np.ascontiguousarray(bars.ohlc, dtype="<f8").tobytes())
    state.update("\n".join(f"{name!r}" for name in bars.symbols).encode())
    return str(state.hexdigest())


def runs_of(bars: Bars, window_bars: int) -> list[tuple[int, int]]:
    """Return stretches `[first, stop)` of one symbol without a long gap, at least a window long."""
    runs = []
    for symbol in bars.symbols:
        rows = np.flatnonzero(bars.symbol == symbol)
        times = bars.start_us[rows]
        edges = np.flatnonzero(np.diff(times) > allowed_gap_s(times) * 1e6) + 1
        for first, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(rows)], strict=True):
            if stop - first >= window_bars:
                runs.append((int(rows[0]) + first, int(rows[0]) + stop))
    return runs


def window_firsts(n_bars: int, window_bars: int) -> Int[np.ndarray, " windows"]:
    """Return the first bars of a run's windows; the last window ends with the run."""
    return np.unique(np.append(np.arange(0, n_bars - window_bars + 1, STRIDE), n_bars - window_bars))


def vectors_between(
    encoder: EncoderFile,
    ohlc: Float[np.ndarray, "bars 4"],
    first: int,
    stop: int,
    device: torch.device,
    turned: bool = False,
) -> Float[np.ndarray, "between hidden"]:
    """Return the encoder's vectors of bars `[first, stop)` of a run, the means over the windows around them.

    `turned` reads the bars upside down.
    """
    n_seen = encoder.window_bars
    firsts = window_firsts(len(ohlc), n_seen)
    firsts = firsts[(firsts > first - n_seen) & (firsts < stop)]
    base, last = int(firsts[0]), int(firsts[-1]) + n_seen
    sums = BarVectors(last - base, encoder.encoder.output_dim, 1, inner_zone(n_seen))
    for begin in range(0, len(firsts), WINDOWS_AT_A_TIME):
        rows = firsts[begin : begin + WINDOWS_AT_A_TIME]
        windows = take_windows(ohlc, rows, n_seen)
        features = encoder.scaler.transform(relative_features(upside_down(windows) if turned else windows))
        with torch.inference_mode():
            found = encoder.encoder(torch.from_numpy(features).to(device)).cpu().numpy()
        sums.add(rows - base, [found])
    means, _ = sums.means()
    return means[0][first - base : stop - base]


def _sample(encoder: EncoderFile, bars: Bars, device: torch.device) -> Float[np.ndarray, "bars hidden"]:
    """Return vectors of pieces spread evenly over the bars."""
    runs = runs_of(bars, encoder.window_bars)
    if not runs:
        raise InvalidData(too_short(bars, encoder.window_bars))
    stops = np.cumsum([stop - first for first, stop in runs])
    pieces = []
    for middle in ((np.arange(SAMPLE_PIECES) + 0.5) / SAMPLE_PIECES * stops[-1]).astype(int):
        first, stop = runs[int(np.searchsorted(stops, middle, side="right"))]
        low = max(min(int(middle) % (stop - first), stop - first - SAMPLE_BARS), 0)
        high = min(low + SAMPLE_BARS, stop - first)
        pieces.append(vectors_between(encoder, bars.ohlc[first:stop], low, high, device))
    return np.concatenate(pieces)


def too_short(bars: Bars, window_bars: int) -> str:
    """State why bars cannot be searched."""
    return (
        f"bars must hold {window_bars} in a row of one symbol, as the encoder reads them at a time, but {len(bars)} "
        f"bars of {len(bars.symbols)} symbols hold no such run without a long gap. Give more bars."
    )


def _blocks(runs: list[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    for first, stop in runs:
        for begin in range(first, stop, BARS_AT_A_TIME):
            yield first, stop, begin, min(begin + BARS_AT_A_TIME, stop)


def read_span_vectors(
    reader: Reader, bars: Bars, folder: Path | None, on_bars: OnBars | None = None
) -> tuple[Float[np.ndarray, "3 bars values"], bool]:
    """Return every bar's vectors as a start, an end and inside, and whether they came from the folder.

    They are kept in the folder, in 16 bits a value, under the hash of encoder and bars; tables unused for longest go
    beyond 2 GB. Bars in no run are zeros.
    """
    path = None if folder is None else folder / f"{reader.key(bars)}{SUFFIX}"
    shape = (3, len(bars), reader.metric.weights.shape[2])
    if path is not None and (kept := _kept(path, shape)) is not None:
        return kept, True
    found = np.zeros(shape, dtype=np.float16)
    encoder, done = reader.encoder, 0
    blocks = list(_blocks(runs_of(bars, encoder.window_bars)))
    n_all = sum(end - begin for _, _, begin, end in blocks)
    for first, stop, begin, end in blocks:
        means = vectors_between(encoder, bars.ohlc[first:stop], begin - first, end - first, reader.device)
        found[:, begin:end] = reader.metric.of(means)
        done += end - begin
        if on_bars is not None:
            on_bars(done, n_all)
    if path is not None:
        write_atomic_by(path, lambda file: _write(file, found))
        keep_within(path.parent, SUFFIX, MAX_BYTES)
    return found, False


def _write(file: IO[bytes], vectors: np.ndarray) -> None:
    """Write vectors and, behind them, a checksum of their bytes."""
    np.save(file, vectors, allow_pickle=False)
    file.write(zlib.crc32(vectors.data).to_bytes(4, "little"))


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return kept vectors; None where there are none, or the file is not as it was written."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            found, checksum = np.load(file, allow_pickle=False), file.read()
        whole = found.shape == shape and found.dtype == np.float16
        if whole and checksum == zlib.crc32(found.data).to_bytes(4, "little"):
            os.utime(path)
            return found
    except (OSError, ValueError, EOFError) as error:
        log.debug("Vectors of %s: %s", path, error)
    log.warning("%s is not as it was written: its bars are encoded again.", path)
    return None


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
        advice = "Mark more bars." if n_bars < SHORTEST_BARS else "Mark fewer, or search coarser bars."
        raise WrongUsage(
            f"a marked span must have {SHORTEST_BARS} to {most} bars (as many as the encoder reads at a time), but it "
            f"has {n_bars}. {advice}"
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
