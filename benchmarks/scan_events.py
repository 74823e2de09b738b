"""Precision and recall of a scan's events against the rule-labelled windows of the test period.

By public commands alone: pretrain on bars before the test, train on one draw, scan the bars of the test period in
hindsight and live. An event is right where both its pointers are within 3 bars of a labelled expansion. What is no
expansion is known only inside labelled windows: recall is over all their expansions, precision over events that lie
whole in the inner zone of one.

Usage: benchmarks/scan_events.py [BENCH_FOLDER] [BARS_FOLDER] [--plot PNG] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.seeds import generator
from moola.core.windows import inner_zone
from moola.tables.event_table import Events, read_events
from moola.tables.window_file import read_windows

TRAIN, TEST, BARS = (
    "expansions_eurusd_1m_train.parquet",
    "expansions_eurusd_1m_test.parquet",
    "eurusd_1m_2017h1.parquet",
)
TOLERANCE = 3
# Events moved by so many bars are right by chance alone.
MOVED_BARS = 37
THRESHOLDS = tuple(np.round(np.arange(0.0, 0.91, 0.05), 2).tolist())
SHOWN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
N_RESAMPLES, DAY_US = 1000, 86_400_000_000


@dataclass(frozen=True)
class Truth:
    """Labelled windows by bar of the table: inner zone, expansion, class, and the day each belongs to."""

    zone: np.ndarray
    expansion: np.ndarray
    label: np.ndarray
    day: np.ndarray


@dataclass(frozen=True)
class Matches:
    """For each event whether it lies in a labelled inner zone and is right; for each expansion, which events hit it.

    `found_prob` is the largest probability of an event that hits the expansion, -1 where none does.
    """

    prob: np.ndarray
    judged: np.ndarray
    right: np.ndarray
    right_class: np.ndarray
    event_day: np.ndarray
    found_prob: np.ndarray
    expansion_day: np.ndarray


def truth_of(path: Path, start_us: np.ndarray) -> Truth:
    """Place the labelled windows on the bars."""
    table = read_windows(path)
    first = np.searchsorted(start_us, table.start_us)
    assert (start_us[first] == table.start_us).all()
    zone_first, zone_last = inner_zone(table.window_bars)
    expansion = first[:, None] + np.stack([table.expansion_start, table.expansion_end], axis=1)
    zone = np.stack([first + zone_first, first + zone_last - 1], axis=1)
    return Truth(zone, expansion, table.label, table.start_us // DAY_US)


def match(events: Events, bar: np.ndarray, start_us: np.ndarray, truth: Truth) -> Matches:
    """Compare every event with every labelled window."""
    said = np.array(events.class_names, dtype=object)[events.class_prob.argmax(axis=1)]
    n = len(bar)
    judged, right, right_class = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    found = np.full(len(truth.label), -1.0)
    for row in range(len(truth.label)):
        near = np.flatnonzero(
            (bar[:, 0] >= truth.zone[row, 0] - 2 * TOLERANCE) & (bar[:, 1] <= truth.zone[row, 1] + 2 * TOLERANCE)
        )
        inside = near[(bar[near, 0] >= truth.zone[row, 0]) & (bar[near, 1] <= truth.zone[row, 1])]
        hits = near[(np.abs(bar[near] - truth.expansion[row]) <= TOLERANCE).all(axis=1)]
        judged[inside] = True
        judged[hits] = right[hits] = True
        right_class[hits] |= said[hits] == truth.label[row]
        if len(hits):
            found[row] = events.event_prob[hits].max()
    _, alone = np.unique(truth.expansion, axis=0, return_index=True)
    day = start_us[np.clip(bar[:, 0], 0, len(start_us) - 1)] // DAY_US
    return Matches(events.event_prob, judged, right, right_class, day, found[alone], truth.day[alone])


def figures(found: Matches, threshold: float) -> dict[str, float | int | list[float]]:
    """Precision, recall and the share of right classes at a threshold, each with a 95 % interval over days."""
    told = found.judged & (found.prob >= threshold)
    reached = found.found_prob >= threshold
    days = np.unique(np.concatenate([found.event_day, found.expansion_day]))
    weights = generator(0, "scan events", 1).multinomial(len(days), np.full(len(days), 1 / len(days)), N_RESAMPLES)
    at_event = weights[:, np.searchsorted(days, found.event_day)]
    at_expansion = weights[:, np.searchsorted(days, found.expansion_day)]

    def share(hit: np.ndarray, of: np.ndarray, weight: np.ndarray) -> tuple[float, list[float]]:
        if not of.any():
            return float("nan"), [float("nan")] * 2
        drawn = (weight @ (hit & of)) / np.maximum(weight @ of, 1e-9)
        return float((hit & of).sum() / of.sum()), np.quantile(drawn, [0.025, 0.975]).tolist()

    precision, recall = (
        share(found.right, told, at_event),
        share(reached, np.ones(len(reached), dtype=bool), at_expansion),
    )
    of_class = share(found.right_class, told & found.right, at_event)
    return {
        "threshold": threshold,
        "n_events": int((found.prob >= threshold).sum()),
        "n_judged": int(told.sum()),
        "mean_prob": float(found.prob[told].mean()) if told.any() else float("nan"),
        "precision": precision[0],
        "precision_95": precision[1],
        "recall": recall[0],
        "recall_95": recall[1],
        "class_accuracy": of_class[0],
    }


def run(*arguments: str, folder: Path) -> str:
    """Run a command of moola in the work folder and return its last line."""
    command = [sys.executable, "-m", "moola.cli", *arguments]
    done = subprocess.run(command, check=True, cwd=folder, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def scanned(bench: Path, bars: Path, folder: Path) -> dict[str, Path]:
    """Train and scan by public commands; a folder in which that is done is not worked on again."""
    before, after = folder / "before.parquet", folder / "after.parquet"
    if not (folder / "live_75.parquet").is_file():
        table, first = pl.read_parquet(bars / BARS), pl.read_parquet(bench / TEST)["start_ts"].min()
        table.filter(pl.col("timestamp") < first).write_parquet(before)
        table.filter(pl.col("timestamp") >= first).write_parquet(after)
        pl.read_parquet(bench / TRAIN).filter(pl.col("draw") == 0).write_parquet(folder / "draw.parquet")
        run("split", "--data", "draw.parquet", "--output", "split.json", "--test", "0", folder=folder)
        run("pretrain-bilstm", "--input", "before.parquet", "--stride", "5", "--output", "encoder.pt", folder=folder)
        known = ["--data", "draw.parquet", "--split", "split.json", "--pretrained-encoder", "encoder.pt"]
        for name, more in (("105", []), ("75", ["--visible-bars", "75"])):
            model = f"artifacts/runs/{run('train', *known, *more, folder=folder)}/model.pkl"
            given = ["--model", model, "--bars", "after.parquet", "--min-prob", "0"]
            if name == "105":
                run("scan", *given, "--output", "hindsight.parquet", folder=folder)
            run("scan", *given, "--live", "--output", f"live_{name}.parquet", folder=folder)
    return {
        "in hindsight": folder / "hindsight.parquet",
        "live, 105 bars seen": folder / "live_105.parquet",
        "live, 75 bars seen": folder / "live_75.parquet",
    }


def plot(path: Path, rows: dict[str, list[dict]]) -> None:
    """Draw precision, recall and how sure the events are of themselves, by threshold."""
    from matplotlib import pyplot as plt

    from moola.reports.png_charts import save_figure

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
    colours = ("#1f6f8b", "#b5502b", "#7a4fb5", "#8a979e")
    for colour, (name, each) in zip(colours, rows.items(), strict=True):
        some = [row for row in each if row["n_judged"] >= 20]
        at = [row["threshold"] for row in some]
        for axis, what in zip(axes[:2], ("precision", "recall"), strict=True):
            axis.plot(at, [row[what] for row in some], color=colour, label=name)
            low, high = zip(*(row[f"{what}_95"] for row in some), strict=True)
            axis.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
            axis.set(title=f"{what} at +-{TOLERANCE} bars", xlabel="least probability of an event")
        axes[2].plot([row["recall"] for row in some], [row["precision"] for row in some], color=colour, label=name)
    axes[2].set(title="precision by recall", xlabel="recall", ylabel="precision")
    for axis in axes:
        axis.set(ylim=(0, 1))
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=8)
    save_figure(path, figure)


def main() -> None:
    """Train, scan, compare, print a table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", type=Path, nargs="?", default=Path("../shared/bench"))
    parser.add_argument("bars", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--work", type=Path, help="keep models and events here; a second call goes on from them")
    options = parser.parse_args()
    if not ((options.bench / TEST).is_file() and (options.bars / BARS).is_file()):
        print(f"scan_events: skipped, there is no {options.bench / TEST} or no {options.bars / BARS}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        paths = scanned(options.bench.resolve(), options.bars.resolve(), folder.resolve())
        start_us = pl.read_parquet(folder / "after.parquet")["timestamp"].dt.timestamp("us").to_numpy()
        truth = truth_of(options.bench / TEST, start_us)
        rows: dict[str, list[dict]] = {}
        for told, path in paths.items():
            events = read_events(path)
            bar = np.searchsorted(start_us, events.time_us)
            rows[told] = [figures(match(events, bar, start_us, truth), at) for at in THRESHOLDS]
            if told == "in hindsight":
                moved = match(events, bar + MOVED_BARS, start_us, truth)
                chance = [figures(moved, at) for at in THRESHOLDS]
            else:
                late = events.n_after[events.event_prob >= 0.3]
                rows[told][0]["bars_after"] = np.quantile(late, [0.25, 0.5, 0.75]).tolist()
        rows[f"chance: moved by {MOVED_BARS} bars"] = chance
    for told, each in rows.items():
        print(f"{told} (bars after the end, quartiles at 0.3: {each[0].get('bars_after', '-')})")
        print("  least prob.  events  judged  mean prob.  precision [95 %]    recall [95 %]       class right")
        for row in (row for row in each if row["threshold"] in SHOWN):
            precision, recall = row["precision_95"], row["recall_95"]
            print(
                f"  {row['threshold']:11.2f}  {row['n_events']:6d}  {row['n_judged']:6d}  {row['mean_prob']:10.2f}  "
                f"{row['precision']:.2f} [{precision[0]:.2f}, {precision[1]:.2f}]  "
                f"{row['recall']:.2f} [{recall[0]:.2f}, {recall[1]:.2f}]  {row['class_accuracy']:.2f}"
            )
    if options.plot:
        plot(options.plot, rows)
    print(json.dumps(rows, sort_keys=True), file=sys.stderr)


if __name__ == "__main__":
    main()
