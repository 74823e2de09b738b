"""Files of spans (start, end, label) and of annotated stretches, in any layout: read, put on bars, written."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from moola.core.bars import Bars, bar_interval_us, bar_lengths_us, between_text, utc_text
from moola.core.spans import (
    ACCEPTED,
    CORRECTED,
    MARKED,
    PlacedSpans,
    Spans,
    bare_symbol,
    is_one_line,
    place_spans,
    share_bars,
    symbol_among,
)
from moola.errors import InvalidData, Problem, WrongUsage
from moola.files import read_bytes
from moola.options.table_options import SpanReading
from moola.tables import studio_file
from moola.tables.foreign.columns import day_cells
from moola.tables.foreign.importing import text_of
from moola.tables.foreign.time_texts import DAY_US
from moola.tables.frames import FEATHER, PARQUET_MAGIC, READABLE, kind_of, utc_series, write_frame
from moola.tables.frames import reading as table_reading
from moola.tables.span_rows import ADVICE, NEEDED, OTHERS, WHAT, Rows, delimited, import_options, table_rows, times_of

log = logging.getLogger(__name__)
PIECE = 1024
# Written by `labels export`; other programs mean other things by it, and then it is not read.
SOURCE, SOURCES = "source", (MARKED, ACCEPTED, CORRECTED)
# What programs write where a class is missing.
DROPPING = "--drop-outside leaves these spans out and counts them."
NOTHING = ("nan", "nat", "none", "null", "<na>", "#n/a")


def read_spans(path: Path, reading: SpanReading, bars: Bars) -> Spans:
    """Read a file of spans: a table, or a Label Studio export of long series, recognised by content.

    Times are in UTC, as the file has them; symbols are those of the bars, and spans of other symbols are passed over,
    which is reported.

    Raises
    ------
    WrongUsage
        An option names a column, a task or an annotator that the file has not.
    InvalidData
        The file is no table of spans, or rows break rules: each with its count, its first row and what stands there.
    """
    with table_reading(path, WHAT, ADVICE):
        return _read_spans(path, reading, bars)


def _read_spans(path: Path, reading: SpanReading, bars: Bars) -> Spans:
    rows = _studio_rows(path, reading, bars) or table_rows(path, reading, NEEDED, (*OTHERS, SOURCE))
    problems = rows.missing(("start", "end", "label"))
    start_us, end_us = times_of(rows, reading, path, problems, bars)
    labels = np.array([_one_line(name) for name in rows.texts("label")], dtype=object)
    symbol, annotator, note = (rows.texts(name) for name in ("symbol", "annotator", "note"))
    spans = Spans(start_us, end_us, labels, symbol, annotator, note, rows.place, rows.is_line, _sources(rows))
    if not problems:
        problems += spans.problem("a span must not end before its start", end_us < start_us)
    unfit = np.array([len(name) > 300 or not is_one_line(name) for name in labels], dtype=bool)
    found = f"found {labels[int(unfit.argmax())][:40]!a}" if unfit.any() else ""
    problems += spans.problem("a label must be one printable line of at most 300 characters", unfit, found)
    if problems:
        raise InvalidData.from_problems(path, problems, ADVICE)
    _warn_of_doubtful_classes(spans, path)
    spans, kept = _of_symbols(spans, bars, path)
    if bar_interval_us(bars.start_us) < DAY_US and reading.timestamp_unit != "bars":
        starts, ends = (day_cells(rows.frame[name]).to_numpy()[kept] for name in ("start", "end"))
        spans = _days_on_bars(spans, bars, starts, ends)
    return _of_annotator(spans, path, reading)


def _one_line(label: str) -> str:
    """Return a class in Unicode's composed form, with one plain space where any white space is."""
    return " ".join(unicodedata.normalize("NFC", label).split())


def _warn_of_doubtful_classes(spans: Spans, path: Path) -> None:
    """Warn of classes that differ in capitals, spaces or marks alone, and of one that stands for a missing value."""
    counts, like = Counter(spans.label.tolist()), defaultdict[str, list[str]](list)
    for name in sorted(counts):
        like["".join(one for one in name.casefold() if one.isalnum()) or name].append(name)
    if lost := [name for name in counts if name.lower() in NOTHING]:
        log.warning(
            "%d spans have the class %r, which programs write where one is missing: check %s.",
            sum(counts[name] for name in lost), lost[0], path,
        )  # fmt: skip
    for names in like.values():
        if len(names) > 1:
            log.warning(
                "Classes that differ in capitals, spaces or marks alone are different classes: %s (%s). Where they are "
                "one, write them alike.",
                ", ".join(f"{name} ({counts[name]})" for name in names),
                path,
            )


def _days_on_bars(spans: Spans, bars: Bars, starts: np.ndarray, ends: np.ndarray) -> Spans:
    """Return spans whose days without a time of day begin with the first bar of that day, or end with the last one.

    Those that hold no bar stay as they are, and meet none.
    """
    start_us, end_us = spans.start_us.copy(), spans.end_us.copy()
    for symbol in bars.symbols:
        times = bars.start_us[bars.symbol == symbol]
        first, stop = np.searchsorted(times, start_us), np.searchsorted(times, end_us, side="right")
        mine = (spans.symbol == symbol) & (first < stop)
        from_day, to_day = mine & starts, mine & ends
        start_us[from_day], end_us[to_day] = times[first[from_day]], times[stop[to_day] - 1]
    if ends.any():
        log.info(
            "%d of %d spans end with a day without a time of day, and mean its last bar.", int(ends.sum()), len(spans)
        )
    return replace(spans, start_us=start_us, end_us=end_us)


def _sources(rows: Rows) -> np.ndarray | None:
    found = rows.texts(SOURCE)
    return found if SOURCE in rows.frame.columns and set(found.tolist()) <= {"", *SOURCES} else None


def _of_symbols(spans: Spans, bars: Bars, path: Path) -> tuple[Spans, np.ndarray]:
    """Return the spans of the bars' symbols, named as the bars name them, and which of all they are."""
    of_bars = bars.symbols
    named = [name for name in spans.symbols if name]
    means = {name: symbol_among(name, of_bars) for name in named}
    if of_bars == [""]:
        if len(named) > 1:
            raise WrongUsage(
                f"spans of {len(named)} symbols ({', '.join(named[:5])}) need bars with a symbol, but the "
                f"bars name none ({path}). Name them with --symbol."
            )
        # Of one symbol both are, so that a store keeps them apart from others.
        means = {name: name for name in named}
    means[""] = of_bars[0] if len(of_bars) == 1 else None
    if means[""] is None and (spans.symbol == "").any():
        raise WrongUsage(
            f"every span must have a symbol where bars have several ({', '.join(of_bars[:5])}), but "
            f"{int((spans.symbol == '').sum())} of {path} have none. Add a column symbol."
        )
    if of_bars == [""] and named:
        means[""] = named[0]
    symbol = np.array([means[name] for name in spans.symbol], dtype=object)
    kept = np.flatnonzero([name is not None for name in symbol])
    if not len(kept):
        raise InvalidData(
            f"spans must be of the bars' symbols ({', '.join(of_bars[:5])}), but {path} has {', '.join(named[:5])} "
            f"alone. Give the bars that the spans were marked on; bars that name no symbol take --symbol {named[0]}."
        )
    other_names = [
        f"{name} as {of}" for name, of in means.items() if of and name and bare_symbol(name) != bare_symbol(of)
    ]
    if other_names:
        log.info("Symbols of spans are taken as those of the bars: %s.", ", ".join(other_names[:5]))
    if len(kept) < len(spans):
        others = sorted(set(spans.symbol.tolist()) - {name for name, known in means.items() if known is not None})
        log.info("%d spans of other symbols are passed over: %s.", len(spans) - len(kept), ", ".join(others[:5]))
    return replace(spans, symbol=symbol).take(kept), kept


def _of_annotator(spans: Spans, path: Path, reading: SpanReading) -> Spans:
    if reading.annotator is None:
        return spans
    named = [name for name in spans.annotators if name]
    if reading.annotator in named:
        return spans.take(np.flatnonzero(spans.annotator == reading.annotator))
    if len(named) > 1:
        raise WrongUsage(
            f"--annotator must be one of the {len(named)} of {path} ({', '.join(named[:10])}), but it is "
            f"{reading.annotator!r}. Name one of these, or leave it out."
        )
    return replace(spans, annotator=np.full(len(spans), reading.annotator, dtype=object))


# Spans on bars.


def bars_of(spans: Spans, bars: Bars) -> Bars:
    """Return bars that name no symbol under the one that their spans name."""
    named = [name for name in spans.symbols if name]
    if bars.symbols != [""] or not named:
        return bars
    log.info("The bars name no symbol and are taken as %s.", named[0])
    return replace(bars, symbol=np.full(len(bars), named[0], dtype=object))


def spans_on_bars(spans: Spans, bars: Bars, path: Path | str, drop_outside: bool) -> tuple[Spans, dict[str, Any]]:
    """Return spans with the times of their bars, and how they met them.

    Returns
    -------
    tuple
        Spans that begin and end with starts of bars, without exact repeats; and `n_exact`, `n_moved`,
        `usual_move_s` and `longest_move_s` of those moved, `n_in_gaps` (of those moved, by a bar or more: an end lies
        where the bars rest), `n_over_gaps` (a bar is missing inside), `n_none` (met no bar), `n_repeated`,
        `n_overlapping` and `n_disagreeing` (spans that share bars with those of another annotator, and of those the
        ones that share bars with a span of another class).

    Raises
    ------
    InvalidData
        Spans meet no bar and `drop_outside` is not asked for, or all do; or one annotator gave one piece two classes.
    """
    placed = place_spans(spans, bars)
    lost = ~placed.met
    if lost.any() and (not drop_outside or lost.all()):
        check = "Check --bars and --timezone"
        advice = f"{check}: no span is on these bars." if lost.all() else f"{check}; {DROPPING}"
        raise InvalidData.from_problems(path, _met_none(spans, placed, bars), advice)
    kept = np.flatnonzero(placed.met)
    spans, placed = spans.take(kept), placed.take(kept)
    moves = placed.moved_us[~placed.exact] / 1e6
    known = spans.on_bars(bars, placed)
    once, repeated = _once(known, path)
    n_in_gaps = tell_moved(placed, bars)
    elapsed = bars.start_us[placed.last] - bars.start_us[placed.first]
    counts = {
        "n_spans": len(once),
        "n_exact": int(placed.exact.sum()),
        "n_moved": len(moves),
        "usual_move_s": float(np.median(moves)) if len(moves) else 0.0,
        "longest_move_s": float(moves.max()) if len(moves) else 0.0,
        "n_in_gaps": n_in_gaps,
        "n_none": int(lost.sum()),
        "n_repeated": repeated,
        "n_over_gaps": int((elapsed > bar_lengths_us(bars)[placed.first] * (placed.last - placed.first)).sum()),
    }
    return known.take(once), counts | _overlaps(known.take(once), placed.take(once))


def tell_moved(placed: PlacedSpans, bars: Bars) -> int:
    """Warn of spans that begin or end where the bars rest, and return how many.

    Warn too where bars are days that begin at another time than the days of most spans: these are read a bar early.
    """
    length_us = bar_lengths_us(bars)[placed.first]
    n_in_gaps = int((placed.moved_us >= length_us).sum())
    if n_in_gaps:
        log.warning(
            "%d of %d spans begin or end where the bars rest, and were moved to the next bar: check --timezone.",
            n_in_gaps, len(length_us),
        )  # fmt: skip
    off = (length_us == DAY_US) & ~placed.exact & (placed.moved_us < DAY_US)
    if 2 * int(off.sum()) > len(off):
        log.warning(
            "%d of %d spans begin or end at another time of day than the daily bars, as of %s UTC: their days may be "
            "read as those before. --timezone names the zone in which these bars begin at midnight.",
            int(off.sum()),
            len(off),
            utc_text(bars.start_us[placed.first[off][0]])[11:16],
        )
    return n_in_gaps


def _met_none(spans: Spans, placed: PlacedSpans, bars: Bars) -> list[Problem]:
    problems = []
    rules = {
        "a span must lie within the bars": ~placed.met & placed.outside,
        "a span must meet a bar": ~placed.met & ~placed.outside,
    }
    for rule, broken in rules.items():
        at = int(broken.argmax())
        nearest = f"; the nearest bar is {utc_text(bars.start_us[placed.nearest[at]])}"
        problems += spans.problem(rule, broken, between_text(spans.start_us[at], spans.end_us[at]) + nearest)
    return problems


def _once(spans: Spans, path: Path | str) -> tuple[np.ndarray, int]:
    """Return the rows without exact repeats, and how many repeats there were; two classes of one piece are refused."""
    seen: dict[tuple[Any, ...], int] = {}
    kept, clashes = [], []
    for row, key in enumerate(zip(spans.symbol, spans.annotator, spans.start_us, spans.end_us, strict=True)):
        first = seen.setdefault(key, row)
        if first == row:
            kept.append(row)
        elif spans.label[first] != spans.label[row]:
            clashes.append((first, row))
    if clashes:
        first, row = clashes[0]
        detail = f"{spans.label[first]} and {spans.label[row]}, on the bars from {utc_text(spans.start_us[row])}"
        clashing = np.isin(np.arange(len(spans)), [row for _, row in clashes])
        problems = spans.problem("one annotator must give the same bars one class", clashing, detail)
        raise InvalidData.from_problems(path, problems, ADVICE)
    return np.array(kept, dtype=np.int64), len(spans) - len(kept)


def _overlaps(spans: Spans, placed: PlacedSpans) -> dict[str, int]:
    found, disagree = np.zeros(len(spans), dtype=bool), np.zeros(len(spans), dtype=bool)
    for who in spans.annotators:
        other = np.flatnonzero(spans.annotator != who)
        # Some at a time, for the table of pairs grows with the square.
        for first in range(0, len(spans), PIECE) if len(other) else ():
            mine = first + np.flatnonzero(spans.annotator[first : first + PIECE] == who)
            shared = share_bars(placed.first[mine], placed.last[mine], placed.first[other], placed.last[other])
            found[mine] = shared.any(axis=1)
            disagree[mine] = (shared & (spans.label[mine][:, None] != spans.label[other][None, :])).any(axis=1)
    return {"n_overlapping": int(found.sum()), "n_disagreeing": int(disagree.sum())}


# Annotated stretches: from one moment to another a person looked at all bars.


@dataclass(frozen=True)
class Stretches:
    """Stretches of charts that a person looked at, first and last moment included.

    An empty symbol is that of bars without one; an empty annotator is whoever marked spans there.
    """

    from_us: np.ndarray
    to_us: np.ndarray
    symbol: np.ndarray
    annotator: np.ndarray

    def __len__(self) -> int:
        return len(self.from_us)

    @property
    def annotators(self) -> list[str]:
        """People whom the stretches name, sorted."""
        return sorted({name for name in self.annotator.tolist() if name})

    def take(self, rows: np.ndarray) -> Stretches:
        """Return some stretches, by their numbers or a mask."""
        return Stretches(self.from_us[rows], self.to_us[rows], self.symbol[rows], self.annotator[rows])

    @staticmethod
    def joined(several: list[Stretches]) -> Stretches:
        """Return all stretches of several, each once, in order."""
        columns = ("symbol", "from_us", "to_us", "annotator")
        known = {key for one in several for key in zip(*(getattr(one, name).tolist() for name in columns), strict=True)}
        symbol, from_us, to_us, people = zip(*sorted(known), strict=True) if known else ((), (), (), ())
        times = [np.array(values, dtype=np.int64) for values in (from_us, to_us)]
        return Stretches(times[0], times[1], np.array(symbol, dtype=object), np.array(people, dtype=object))

    @staticmethod
    def on_bars(bars: Bars, masks: dict[str, np.ndarray]) -> Stretches:
        """Return the stretches of the bars that each person looked at, as `bars_looked_at` does."""
        pieces = []
        new = np.concatenate([[True], bars.symbol[1:] != bars.symbol[:-1]])
        for name, seen in masks.items():
            begins = np.flatnonzero(seen & (new | ~np.concatenate([[False], seen[:-1]])))
            ends = np.flatnonzero(seen & np.concatenate([new[1:] | ~seen[1:], [True]]))
            names = np.full(len(begins), name, dtype=object)
            pieces.append(Stretches(bars.start_us[begins], bars.start_us[ends], bars.symbol[begins], names))
        return Stretches.joined(pieces)


def read_stretches(path: Path, reading: SpanReading, bars: Bars) -> Stretches:
    """Read annotated stretches: a table of `from`, `to` and, where known, `symbol` and `annotator`.

    With `annotator` those of other people are left out; those that name nobody stay.

    Raises
    ------
    InvalidData
        The file is no such table, a stretch ends before it begins or holds no bar, or none is of the annotator.
    """
    with table_reading(path, "a file of annotated stretches", ADVICE):
        return _read_stretches(path, reading, bars)


def _read_stretches(path: Path, reading: SpanReading, bars: Bars) -> Stretches:
    plain = replace(reading, columns=())
    rows = table_rows(path, plain, ("start", "end"), ("symbol", "annotator"), "a file of annotated stretches")
    problems = rows.missing(("start", "end"))
    from_us, to_us = times_of(rows, reading, path, problems, bars)
    nothing, (symbol, annotator) = (rows.texts(""), (rows.texts(name) for name in ("symbol", "annotator")))
    spans = Spans(from_us, to_us, nothing, symbol, annotator, nothing, rows.place, rows.is_line)
    if not problems:
        problems += spans.problem("an annotated stretch must not end before it begins", to_us < from_us)
    if problems:
        raise InvalidData.from_problems(path, problems, ADVICE)
    spans, _ = _of_symbols(spans, bars, path)
    if bars.symbols == [""]:
        spans = replace(spans, symbol=np.full(len(spans), "", dtype=object))
    found = Stretches(spans.start_us, spans.end_us, spans.symbol, spans.annotator)
    if reading.annotator is not None:
        own = np.isin(found.annotator.astype(str), ["", reading.annotator])
        if not own.any():
            raise InvalidData(
                f"annotated stretches must be of {reading.annotator} (--annotator) or name nobody, but all "
                f"{len(found)} of {path} are of {', '.join(found.annotators[:5])}. Add what {reading.annotator} saw."
            )
        found, spans = found.take(own), spans.take(np.flatnonzero(own))
    return _with_bars(found, bars, path, spans.place if spans.is_line else None)


def named_stretches(words: tuple[str, ...], reading: SpanReading, bars: Bars) -> Stretches:
    """Read the stretches of `--annotated FROM TO`, which hold for every symbol of the bars; further pairs may follow.

    Raises
    ------
    WrongUsage
        They are no pairs of times.
    """
    from_us, to_us = named_times(words, reading, bars, "--annotated")
    symbols = np.array(bars.symbols, dtype=object)
    n = len(from_us)
    nobody = np.full(n * len(symbols), "", dtype=object)
    found = Stretches(from_us.repeat(len(symbols)), to_us.repeat(len(symbols)), np.tile(symbols, n), nobody)
    return _with_bars(found, bars, "--annotated")


def named_times(
    words: tuple[str, ...], reading: SpanReading, bars: Bars, option: str
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Read pairs of times that an option names, as microseconds since 1970 in UTC.

    Raises
    ------
    WrongUsage
        They are no pairs of times.
    """
    problems: list[Problem] = []
    if len(words) % 2:
        raise WrongUsage(f"{option} must be pairs FROM TO, but it has {len(words)} times. Give one more.")
    n = len(words) // 2
    rows = Rows(pl.DataFrame({"start": words[::2], "end": words[1::2]}), np.arange(n), False)
    from_us, to_us = times_of(rows, reading, Path(option), problems, bars)
    if problems:
        reasons = "; ".join(problem.detail or problem.rule for problem in problems)
        raise WrongUsage(f"{option} must be two times, but {' '.join(words)!r} is not ({reasons}). Write them again.")
    return from_us, to_us


def _with_bars(stretches: Stretches, bars: Bars, path: Path | str, lines: np.ndarray | None = None) -> Stretches:
    """Return stretches as they are; each must hold a bar."""
    held = [len(stretch_rows(stretches, row, bars)) for row in range(len(stretches))]
    if 0 in held:
        row = held.index(0)
        detail = between_text(stretches.from_us[row], stretches.to_us[row])
        line = None if lines is None else int(lines[row])
        problem = Problem("an annotated stretch must hold bars", held.count(0), row, detail, line)
        raise InvalidData.from_problems(path, [problem], "Check --bars and --timezone.")
    return stretches


def stretch_rows(stretches: Stretches, row: int, bars: Bars) -> np.ndarray:
    """Return the rows of the bars that begin within a stretch."""
    mine = bars.symbol == stretches.symbol[row]
    return np.flatnonzero(mine & (bars.start_us >= stretches.from_us[row]) & (bars.start_us <= stretches.to_us[row]))


def bars_looked_at(stretches: Stretches, bars: Bars, annotator: str | None = None) -> Bool[np.ndarray, " bars"]:
    """Tell which bars lie in a stretch that a person looked at; without a name, that anybody did.

    Stretches that name nobody are everybody's.
    """
    seen = np.zeros(len(bars), dtype=bool)
    for row in range(len(stretches)):
        if not annotator or stretches.annotator[row] in ("", annotator):
            seen[stretch_rows(stretches, row, bars)] = True
    return seen


# Rows of Label Studio exports, and both kinds of files written.


def _studio_rows(path: Path, reading: SpanReading, bars: Bars) -> Rows | None:
    """Return the regions of a Label Studio export as rows; None where the file is none."""
    content = read_bytes(path, WHAT, "Check the path.", studio_file.MAX_BYTES)
    kind = kind_of(content)
    if content.startswith(PARQUET_MAGIC) or kind is FEATHER or kind not in (None, *READABLE):
        return None
    text = text_of(content, import_options(path, reading))
    tasks = studio_file.tasks_of(text, path, lambda: delimited(text, path))
    if tasks is None:
        if reading.task:
            raise WrongUsage(f"--task must name tasks of a Label Studio export, but {path} is none. Leave it out.")
        return None
    groups = studio_file.chosen(tasks, reading.task, bars.symbols, path)
    if len(groups) > 1:
        groups = [group for group in groups if _on_bars(_rows_of_tasks(group, path), reading, path, bars)]
    if len(groups) != 1:
        raise WrongUsage(
            f"tasks of several series must be distinguishable, but the spans of {len(groups) or 'none'} of them fit "
            f"these bars ({', '.join(dict.fromkeys(task.name for task in tasks))[:300]}, in {path}). Name them with "
            "--task, or the bars with --symbol."
        )
    files = {(task.folder, task.file): task.name for task in groups[0] if task.marks and task.file}
    if reading.timestamp_unit == "bars" and len(files) > 1:
        raise WrongUsage(
            f"--timestamp-unit bars must count the bars of one series, but the tasks of {path} are of {len(files)} "
            f"files ({', '.join(files.values())[:300]}), each with a bar 0 of its own. Name one with --task, and give "
            "its bars."
        )
    return _rows_of_tasks(groups[0], path)


def _on_bars(rows: Rows, reading: SpanReading, path: Path, bars: Bars) -> bool:
    """Return whether all spans of a series lie on the bars."""
    problems: list[Problem] = []
    start_us, end_us = times_of(rows, reading, path, problems, bars)
    symbol = np.full(len(start_us), bars.symbols[0], dtype=object)
    # Where one ends before its start, that is told of the series that was chosen.
    low, high = np.minimum(start_us, end_us), np.maximum(start_us, end_us)
    spans = Spans(low, high, symbol, symbol, symbol, symbol, rows.place)
    return not problems and len(bars.symbols) == 1 and bool(place_spans(spans, bars).met.all())


def _rows_of_tasks(tasks: list[studio_file.Task], path: Path) -> Rows:
    regions, problems = studio_file.regions(tasks, path)
    if problems:
        raise InvalidData.from_problems(path, problems, "Fix these regions in Label Studio, and export again.")
    names = (*NEEDED, *OTHERS)
    cells = [{name: getattr(one, name) for name in names} for one in regions]
    frame = pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String))
    return Rows(frame, np.array([one.place for one in regions], dtype=np.int64), tasks[0].is_line)


def spans_frame(spans: Spans) -> pl.DataFrame:
    """Lay spans out as the columns of the file, those without any content left out."""
    columns = {
        "symbol": spans.symbol, "start": spans.start_us, "end": spans.end_us, "label": spans.label,
        "annotator": spans.annotator, "note": spans.note,
    }  # fmt: skip
    return _laid_out(columns if spans.source is None else columns | {SOURCE: spans.source})


def _laid_out(columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """Return columns of texts, those without any left out, and of times."""
    kept = {name: values for name, values in columns.items() if values.dtype != object or (values != "").any()}
    return pl.DataFrame(
        {
            name: pl.Series(values.tolist(), dtype=pl.String) if values.dtype == object else utc_series(values)
            for name, values in kept.items()
        }
    )


def write_spans(path: Path, spans: Spans) -> None:
    """Write spans as a table (.parquet, else CSV) that `read_spans` reads to the same."""
    write_frame(path, spans_frame(spans))


def write_stretches(path: Path, stretches: Stretches) -> None:
    """Write annotated stretches as a table that `read_stretches` reads to the same."""
    columns = {"symbol": stretches.symbol, "from": stretches.from_us, "to": stretches.to_us}
    write_frame(path, _laid_out(columns | {"annotator": stretches.annotator}))
