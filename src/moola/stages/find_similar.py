"""Stage `similar`: one marked span of a bar table in, the spans most similar to it out, as a file of spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.core.bars import Bars, between_text, utc_text
from moola.core.spans import Spans, place_spans
from moola.errors import WrongUsage
from moola.models.model_files import encoder_sha256, read_encoder
from moola.options.scan_options import SimilarOptions
from moola.options.table_options import SpanReading
from moola.scan.similar_spans import OnBars, SimilarSpans, similar_spans
from moola.tables.bar_table import read_bars
from moola.tables.frames import write_frame
from moola.tables.span_file import named_times, spans_frame
from moola.training.device import prepare_device


@dataclass(frozen=True)
class Found:
    """What the command found, and the bars it is in."""

    tables: list[Bars]
    at: tuple[int, int]
    spans: SimilarSpans
    result: dict[str, Any]


def find_similar(options: SimilarOptions, on_bars: OnBars | None = None) -> Found:
    """Find the spans most similar to the marked one, and write them.

    Raises
    ------
    WrongUsage
        The times are none, or mean no span of the bars that can be searched for.
    InvalidData
        A bar table breaks its contract, or is too short.
    """
    options.check()
    device = prepare_device(options.device, options.threads)
    encoder = read_encoder(options.encoder)
    tables = [read_bars(path) for path in options.bars]
    at = marked_rows(tables[0], options.at, options.symbol, options.timezone, options.bars[0])
    found = similar_spans(
        tables, at, encoder, options.n, mirror=options.mirror, folder=options.vectors, device=device, on_bars=on_bars
    )
    write_frame(options.output, similar_frame(found, tables, options.label))
    rows = [_row(found, tables, options.bars, number) for number in range(len(found))]
    result = {
        "bars": [str(path) for path in options.bars],
        "at": [utc_text(int(tables[0].start_us[row])) for row in at],
        "symbol": str(tables[0].symbol[at[0]]),
        "n_bars_marked": at[1] - at[0] + 1,
        "encoder_sha256": encoder_sha256(options.encoder),
        "n_bars": found.n_bars,
        "n_bars_unseen": found.n_bars_unseen,
        "n_tables_kept": found.n_from_folder,
        "encode_s": round(found.encode_s, 3),
        "search_s": round(found.search_s, 3),
        "output": str(options.output),
        "spans": rows,
    }
    return Found(tables, at, found, result)


def marked_rows(
    bars: Bars, times: tuple[str, ...], symbol: str | None, timezone: str, path: Path | str
) -> tuple[int, int]:
    """Return the rows of the first and last bar of a span that is given by two times.

    Raises
    ------
    WrongUsage
        The bars have several symbols and none is named, the named one is not there, or the times mean no bars.
    """
    from_us, to_us = named_times(times, SpanReading(timezone=timezone), bars, "--at")
    return rows_at(bars, int(from_us[0]), int(to_us[0]), symbol, path)


def rows_at(bars: Bars, from_us: int, to_us: int, symbol: str | None, path: Path | str) -> tuple[int, int]:
    """Return the rows of the first and last bar of a span between two moments, as `place_spans` finds them."""
    names = bars.symbols
    if symbol is None and len(names) > 1:
        raise WrongUsage(
            f"the marked span must be of one symbol, but {path} has {len(names)} ({', '.join(names[:5])}). Name it "
            "with --symbol."
        )
    if symbol is not None and symbol not in names and names != [""]:
        raise WrongUsage(
            f"--symbol must be one of {path} ({', '.join(names[:5])}), but it is {symbol!r}. Name one of these."
        )
    name = names[0] if symbol is None or names == [""] else symbol
    span_text = between_text(from_us, to_us)
    if to_us < from_us:
        raise WrongUsage(f"--at must be START END in this order, but it is {span_text}. Swap the times.")
    one = np.array([name], dtype=object)
    placed = place_spans(Spans(np.array([from_us]), np.array([to_us]), one, one, one, one, np.zeros(1, np.int64)), bars)
    if not placed.met[0]:
        mine = bars.start_us[bars.symbol == name]
        why = "reaches outside the bars" if placed.outside[0] else "meets no bar"
        raise WrongUsage(
            f"a marked span must lie within the bars of {path} ({utc_text(int(mine[0]))} to {utc_text(int(mine[-1]))}),"
            f" but the one {span_text} {why}. Check --at and --timezone."
        )
    return int(placed.first[0]), int(placed.last[0])


def similar_frame(found: SimilarSpans, tables: Sequence[Bars], label: str) -> pl.DataFrame:
    """Lay found spans out as a file of spans, with `similarity` and `mirrored` beside its columns."""
    n = len(found)
    of = [(tables[table], bar) for table, bar in zip(found.table, found.bar, strict=True)]
    notes = [
        f"similarity {value:.2f}{', upside down' if turned else ''}"
        for value, turned in zip(found.similarity, found.mirrored, strict=True)
    ]
    spans = Spans(
        np.array([bars.start_us[bar[0]] for bars, bar in of], dtype=np.int64),
        np.array([bars.start_us[bar[1]] for bars, bar in of], dtype=np.int64),
        np.full(n, label, dtype=object),
        np.array([bars.symbol[bar[0]] for bars, bar in of], dtype=object),
        np.full(n, "", dtype=object),
        np.array(notes, dtype=object),
        np.arange(n),
    )
    return spans_frame(spans).with_columns(
        similarity=pl.Series(found.similarity.round(4)), mirrored=pl.Series(found.mirrored.tolist(), dtype=pl.Boolean)
    )


def _row(found: SimilarSpans, tables: Sequence[Bars], paths: Sequence[Path], number: int) -> dict[str, Any]:
    table = int(found.table[number])
    bars, (first, last) = tables[table], found.bar[number].tolist()
    return {
        "bars": str(paths[table]),
        "symbol": str(bars.symbol[first]),
        "start": utc_text(int(bars.start_us[first])),
        "end": utc_text(int(bars.start_us[last])),
        "n_bars": last - first + 1,
        "similarity": round(float(found.similarity[number]), 4),
        "mirrored": bool(found.mirrored[number]),
    }
