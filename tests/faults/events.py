"""Events and the spans that judge them: cut off, foreign, of other bars, or with nothing to judge on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from moola.core.bars import Bars
from tests.charts_made import write_events, write_spans
from tests.faults.bars import cut_in_half
from tests.faults.fault import fault
from tests.made import random_walk_bars
from tests.slow_spans import SlowPiece

CLASSES = ["down", "up"]
SPANS = [SlowPiece(200 * k, 200 * k + 9, k % 2) for k in range(1, 12)]
EVENTS = [replace(one, prob=0.5 + 0.03 * k) for k, one in enumerate(SPANS)]
EVAL = "eval --events events.parquet --truth spans.csv --bars bars.parquet"
GATE = "gate --events events.parquet --baseline-events base.parquet --truth spans.csv --bars bars.parquet"


def made(change: Callable[[Bars], object] = lambda _bars: None) -> Callable[[object], None]:
    """Make events.parquet, base.parquet and spans.csv of the world's bars, then change one."""

    def make(_patch: object) -> None:
        bars = random_walk_bars(3000)
        write_events(Path("events.parquet"), bars, EVENTS, CLASSES)
        write_events(Path("base.parquet"), bars, EVENTS[:4], CLASSES)
        write_spans(Path("spans.csv"), bars, SPANS, CLASSES)
        change(bars)

    return make


def frame(change: Callable[[pl.DataFrame], pl.DataFrame], name: str = "events.parquet") -> Callable[[object], None]:
    return made(lambda _bars: change(pl.read_parquet(name)).write_parquet(name))


def halved(name: str) -> Callable[[object], None]:
    def change(_bars: Bars) -> None:
        content = bytearray(Path(name).read_bytes())
        cut_in_half(content)
        Path(name).write_bytes(content)

    return made(change)


def later(bars: Bars) -> None:
    write_events(Path("events.parquet"), replace(bars, start_us=bars.start_us + 900_000_000), EVENTS, CLASSES)


def before_all_bars(bars: Bars) -> None:
    old = replace(bars, start_us=bars.start_us - 10**15)
    write_spans(Path("spans.csv"), old, SPANS, CLASSES)


EVENT_TABLES = [
    fault(EVAL.replace("events.p", "no.p"), "events-missing | no event table there | 1 | no.parquet", made()),
    fault(EVAL, "events-cut-off | half an event table | 3 | events.parquet", halved("events.parquet")),
    fault(EVAL.replace("events.p", "bars.p"), "events-foreign | bars in place of events | 3 | lacks symbol", made()),
    fault(
        EVAL,
        "events-prob-above-1 | an `event_prob` of 1.5 | 3 | "
        "event_prob must be in [0, 1], but 11 do not, first at row 0",
        frame(lambda found: found.with_columns(event_prob=pl.lit(1.5))),
    ),
    fault(
        EVAL,
        "events-prob-nan | an `event_prob` of NaN | 3 | event_prob must be in [0, 1]",
        frame(lambda found: found.with_columns(event_prob=pl.lit(float("nan")))),
    ),
    fault(
        EVAL,
        "events-other-bars | events of bars that begin at other minutes | 3 | "
        "an event must begin and end with bars of --bars, but 11 do not",
        made(later),
    ),
    fault(EVAL.replace("spans.csv", "no.csv"), "events-no-truth-there | no file of spans there | 1 | no.csv", made()),
    fault(
        EVAL,
        "events-truth-no-columns | a file of spans without labels | 3 | spans.csv names no label",
        made(lambda _bars: Path("spans.csv").write_text("start,end\n2020-01-01,2020-01-02\n")),
    ),
    fault(
        EVAL,
        "events-truth-elsewhere | spans that all end before the first bar | 3 | "
        "lies between the first and the last span",
        made(before_all_bars),
    ),
    fault(
        f"{EVAL} --annotated 2020-02-01 2020-01-01",
        "events-stretch-backward | a stretch that ends before it begins | 3 | an annotated stretch must hold bars",
        made(),
    ),
    fault(
        "eval --events events.parquet --truth spans.csv",
        "events-no-bars-one-event | a single event of one bar, and no `--bars` | 3 | "
        "Give --bars, the bars that were scanned",
        made(lambda bars: write_events(Path("events.parquet"), bars, [SlowPiece(20, 20, 0, 0.5)], CLASSES)),
    ),
    fault(GATE, "events-baseline-cut-off | half an event table to beat | 3 | base.parquet", halved("base.parquet")),
    fault(
        GATE.replace("--baseline-events base.parquet ", ""),
        "events-gate-no-baseline | a gate of events without events to beat | 2 | "
        "must be compared with --baseline-events",
        made(),
    ),
    fault(f"{EVAL} --run {{run}}", "events-with-a-run | a run and events at once | 2 | but both are", made()),
    fault(
        "eval --run {run} --truth spans.csv",
        "events-truth-for-a-run | spans for a run's figures | 2 | --truth must come with the events of a scan",
        made(),
    ),
]
