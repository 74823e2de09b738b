"""The event table of a scan: one row an event, with UTC times taken from the bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents
from moola.core.expansions import ENDS
from moola.errors import InvalidData
from moola.files import read_bytes, write_atomic_pieces
from moola.tables.frames import read_frame, utc_series, write_frames

ADVICE = "Write it again with `moola scan`."
TIMES = ("start_ts", "end_ts", "start_low_ts", "start_high_ts", "end_low_ts", "end_high_ts", "known_ts")
COLUMNS = ("symbol", *TIMES, "predicted_label", "event_prob", "start_prob", "end_prob")
COUNTS = ("n_windows_agree", "n_windows_saw", "longest_gap_hours", "cut", "n_bars_after")
HINDSIGHT = -1
UTC_US = pl.Datetime("us", "UTC")
# Events that are one group of parquet.
GROUP_EVENTS = 65_536
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.6fZ"


@dataclass(frozen=True)
class Events:
    """Events with the times of their bars.

    Attributes
    ----------
    symbol
        Empty where the bars name none.
    time_us, low_us, high_us
        Start of the first and of the last bar `(events, 2)`, and of the bars between which each pointer
        is with 80 %.
    pointer_prob, event_prob
        Probability that each pointer, and both, are within 3 bars.
    n_agree, n_saw
        Windows that decode to the event, of those that saw it.
    longest_gap_us
        Longest time from one bar of the event to the next; 0 for an event of one bar.
    cut
        No window has the whole event in its inner zone.
    known_us, n_after
        Start of the last bar that the event was reported from, and how many bars that is after its end; -1 in
        hindsight, which is no time.
    """

    symbol: list[str]
    time_us: np.ndarray
    low_us: np.ndarray
    high_us: np.ndarray
    class_names: list[str]
    class_prob: np.ndarray
    pointer_prob: np.ndarray
    event_prob: np.ndarray
    n_agree: np.ndarray
    n_saw: np.ndarray
    longest_gap_us: np.ndarray
    cut: np.ndarray
    known_us: np.ndarray
    n_after: np.ndarray

    def __len__(self) -> int:
        return len(self.symbol)


def events_of(merged: MergedEvents, bars: Bars, class_names: list[str], first_bar: int = 0) -> Events:
    """Put times and symbols in place of rows, in the same order; `bars` begin at the row `first_bar`."""
    row, low, high = (edge - first_bar for edge in (merged.bar, merged.low, merged.high))
    gaps = [int(np.diff(bars.start_us[first : last + 1]).max(initial=0)) for first, last in zip(*row.T, strict=True)]
    is_live = merged.known_bar != HINDSIGHT
    known = np.where(is_live, merged.known_bar - first_bar, row[:, 1])
    return Events(
        bars.symbol[row[:, 0]].tolist(),
        bars.start_us[row],
        bars.start_us[low],
        bars.start_us[high],
        list(class_names),
        merged.class_prob,
        merged.pointer_prob,
        merged.event_prob,
        merged.n_agree,
        merged.n_saw,
        np.array(gaps, dtype=np.int64),
        merged.cut,
        np.where(is_live, bars.start_us[known], HINDSIGHT),
        np.where(is_live, known - row[:, 1], HINDSIGHT),
    )


def events_frame(events: Events) -> pl.DataFrame:
    """Lay events out as the columns of the file."""
    names = np.array(events.class_names, dtype=object)
    columns = {"symbol": pl.Series(events.symbol, dtype=pl.String)}
    times = [events.time_us[:, i] for i in (0, 1)]
    times += [edge[:, i] for i in (0, 1) for edge in (events.low_us, events.high_us)]
    columns |= {name: utc_series(time) for name, time in zip(TIMES[:-1], times, strict=True)}
    columns["predicted_label"] = pl.Series(names[events.class_prob.argmax(axis=1)].tolist(), dtype=pl.String)
    for i, name in enumerate(events.class_names):
        columns[f"prob_{name}"] = pl.Series(events.class_prob[:, i])
    columns["event_prob"] = pl.Series(events.event_prob)
    columns |= {f"{end}_prob": pl.Series(events.pointer_prob[:, i]) for i, end in enumerate(ENDS)}
    columns["n_windows_agree"] = pl.Series(events.n_agree, dtype=pl.Int64)
    columns["n_windows_saw"] = pl.Series(events.n_saw, dtype=pl.Int64)
    columns["longest_gap_hours"] = pl.Series(events.longest_gap_us / 3.6e9, dtype=pl.Float64)
    columns["cut"] = pl.Series(events.cut, dtype=pl.Boolean)
    is_live = pl.Series(events.n_after != HINDSIGHT, dtype=pl.Boolean)
    columns["known_ts"] = utc_series(events.known_us).zip_with(is_live, pl.Series([None], dtype=UTC_US))
    columns["n_bars_after"] = pl.Series(events.n_after, dtype=pl.Int64).replace(HINDSIGHT, None)
    return pl.DataFrame(columns)


def frame_text(frame: pl.DataFrame, suffix: str, is_first: bool) -> bytes:
    """Return laid out events as .csv (with its header where they are the first) or .jsonl, one JSON object a line."""
    frame = frame.with_columns(pl.col(name).dt.strftime(TIME_FORMAT) for name in TIMES)
    text = frame.write_ndjson() if suffix == ".jsonl" else frame.write_csv(include_header=is_first)
    return text.encode()


def write_event_pieces(path: Path, pieces: Iterator[Events], class_names: list[str]) -> None:
    """Write events that come in pieces, never all in memory, to the bytes that all at once would give."""
    nothing = events_of(MergedEvents.none(len(class_names)), Bars.none(), class_names)
    frames = (events_frame(piece) for piece in _or(pieces, nothing))
    if path.suffix == ".parquet":
        write_frames(path, frames, GROUP_EVENTS)
    else:
        texts = (frame_text(frame, path.suffix, number == 0) for number, frame in enumerate(frames))
        write_atomic_pieces(path, texts)


def _or(pieces: Iterator[Events], nothing: Events) -> Iterator[Events]:
    yield next(pieces, nothing)
    yield from pieces


def read_events(path: Path) -> Events:
    """Read events of any of the three forms, distinguished by content; no rows in JSON lines name no classes."""
    content = read_bytes(path, "an event table", ADVICE)
    if not content and path.suffix == ".jsonl":
        return _from_frame(pl.DataFrame({name: [] for name in (*COLUMNS, *COUNTS)}))
    if content.startswith(b"{"):
        try:
            frame = pl.read_ndjson(content, infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            raise InvalidData(f"an event table must be JSON lines, but {path} is not ({error}). {ADVICE}") from error
    else:
        frame = read_frame(path, "an event table", ADVICE)
    missing = [name for name in (*COLUMNS, *COUNTS) if name not in frame.columns]
    if missing:
        raise InvalidData(f"an event table must have its columns, but {path} lacks {', '.join(missing)}. {ADVICE}")
    return _from_frame(frame)


def _from_frame(frame: pl.DataFrame) -> Events:
    names = [name.removeprefix("prob_") for name in frame.columns if name.startswith("prob_")]
    frame = frame.with_columns(pl.col("known_ts").cast(pl.String)) if frame["known_ts"].dtype == pl.Null else frame
    texts = [name for name in TIMES if frame.schema[name] == pl.String]
    frame = frame.with_columns(pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC") for name in texts)
    frame = frame.with_columns(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in TIMES)
    frame = frame.with_columns(pl.col("symbol").cast(pl.String).fill_null(""))
    time = {name: frame[name].dt.timestamp("us").fill_null(HINDSIGHT).to_numpy() for name in TIMES}
    bar, low, high = (np.stack([time[f"{end}{edge}_ts"] for end in ENDS], axis=1) for edge in ("", "_low", "_high"))
    return Events(
        frame["symbol"].to_list(),
        bar,
        low,
        high,
        names,
        frame.select([f"prob_{name}" for name in names]).to_numpy().reshape(len(frame), len(names)),
        frame.select("start_prob", "end_prob").cast(pl.Float64).to_numpy(),
        frame["event_prob"].cast(pl.Float64).to_numpy(),
        frame["n_windows_agree"].cast(pl.Int64).to_numpy(),
        frame["n_windows_saw"].cast(pl.Int64).to_numpy(),
        np.round(frame["longest_gap_hours"].cast(pl.Float64).to_numpy() * 3.6e9).astype(np.int64),
        frame["cut"].cast(pl.Boolean).to_numpy(),
        time["known_ts"],
        frame["n_bars_after"].cast(pl.Int64).fill_null(HINDSIGHT).to_numpy(),
    )
