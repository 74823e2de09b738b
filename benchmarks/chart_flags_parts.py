"""The parts of benchmarks/chart_flags.sh that are no command of moola: files of the protocol, and the table at the end.

`cut` writes what a user would have: bars before and after the test's first moment, the last spans that end before it,
the stretch that they span, the spans that judge and the stretch that they lie in. With --shuffled the spans to learn
from are moved to random places of their stretch, lengths and classes kept: a model of them must find nothing. `table`
prints the figures that `moola eval --events` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.seeds import generator
from moola.tables.frames import write_frame

FIGURES = ("ap_iou30_class", "ap_iou50_class", "ap_iou70_class", "recall_at_1_per_1000_class", "recall", "event_ece")
HEADS = ("AP .3", "AP .5", "AP .7", "recall at 1 false", "recall of all", "ECE")


def cut(options: argparse.Namespace) -> None:
    """Write the files of one market and one number of spans."""
    bars = pl.read_parquet(options.bars)
    spans = pl.read_csv(options.spans).with_columns(
        pl.col("start", "end").str.to_datetime(time_unit="us", time_zone="UTC")
    )
    first = pl.lit(options.test_from).str.to_datetime(time_unit="us", time_zone="UTC")
    learned = spans.filter(pl.col("end") < first).tail(options.labels)
    judged = spans.filter(pl.col("start") >= first)
    before, after = (bars.filter(rule) for rule in (pl.col("timestamp") < first, pl.col("timestamp") >= first))
    stretch = learned.select(pl.col("start").min().alias("from"), pl.col("end").max().alias("to"))
    if options.shuffled:
        learned = shuffled(learned, before["timestamp"])
    whole = after.select(pl.col("timestamp").min().alias("from"), pl.col("timestamp").max().alias("to"))
    names = ("before", "after", "stretch", "judged_stretch", "spans", "judged_spans")
    for name, frame in zip(names, (before, after, stretch, whole, learned, judged), strict=True):
        write_frame(options.output / f"{name}.{'parquet' if name in names[:2] else 'csv'}", frame)
    print(f"{len(learned)} spans to learn from, {len(judged)} on {len(after):,} bars to judge on")


def shuffled(spans: pl.DataFrame, times: pl.Series) -> pl.DataFrame:
    """Move spans to random places of the stretch that they span, so that no two share a bar."""
    moment = times.dt.timestamp("us").to_numpy()
    edges = [np.searchsorted(moment, spans[name].dt.timestamp("us").to_numpy()) for name in ("start", "end")]
    length, low, high = edges[1] - edges[0] + 1, int(edges[0].min()), int(edges[1].max())
    rng = generator(0, "shuffled flags", len(spans))
    order = rng.permutation(len(spans))
    # Of the bars that no span takes, some lie before the first span, some between two, some after the last.
    gaps = np.sort(rng.integers(0, high - low + 2 - int(length.sum()), len(spans)))
    start = low + gaps + np.cumsum(length[order]) - length[order]
    moved = [times.gather(start), times.gather(start + length[order] - 1)]
    return spans[order.tolist()].with_columns(moved[0].alias("start"), moved[1].alias("end"))


def table(options: argparse.Namespace) -> None:
    """Print a row a file of figures: value, interval, and the figure of random pieces."""
    print(f"| | spans | events | {' | '.join(HEADS)} |\n|---|---:|---:|{'---|' * len(HEADS)}")
    for path in options.figures:
        content = json.loads(path.read_text())
        cells = [_cell(content["figures"][name]) for name in FIGURES]
        row = (
            f"{path.parent.parent.name}, seed {path.parent.name}",
            str(content["n_spans"]),
            str(content["n_events"]),
            *cells,
        )
        print(f"| {' | '.join(row)} |")


def _cell(figure: dict) -> str:
    if figure["value"] is None:
        return "-"
    interval = "" if figure["low"] is None else f" [{figure['low']:.2f}, {figure['high']:.2f}]"
    random = "" if figure["random"] is None else f", random {figure['random']:.3f}"
    return f"{figure['value']:.3f}{interval}{random}"


def main() -> None:
    """Cut files or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    cutting = parts.add_parser("cut")
    cutting.add_argument("--bars", type=Path, required=True)
    cutting.add_argument("--spans", type=Path, required=True)
    cutting.add_argument("--labels", type=int, required=True)
    cutting.add_argument("--output", type=Path, required=True)
    cutting.add_argument("--test-from", default="2018-01-01 00:00:00")
    cutting.add_argument("--shuffled", action="store_true")
    cutting.set_defaults(do=cut)
    showing = parts.add_parser("table")
    showing.add_argument("figures", type=Path, nargs="+")
    showing.set_defaults(do=table)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
