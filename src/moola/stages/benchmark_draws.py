"""Draws: what each fit learns from and what it is evaluated on, proved to share no bar, as files of their own."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool

from moola.core.seeds import generator
from moola.core.splits import Intervals, near_any, same_but_for_scale
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.options.option_fields import DEFAULT_SEED
from moola.options.study_options import BenchmarkOptions
from moola.options.table_options import SplitOptions
from moola.stages.make_tables import split
from moola.tables.window_file import WindowTable, read_windows, write_windows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draw:
    """Files of one draw: windows to learn from, their split into train and val, windows to be evaluated on."""

    number: int
    data: Path
    split: Path
    judged: Path
    n_train: int
    n_left_out: int
    n_judged: int
    first_judged_us: int

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file: what a fit on this draw depends on."""
        return {name: sha256_file(getattr(self, name)) for name in ("data", "split", "judged")}


def lay_out(options: BenchmarkOptions) -> tuple[list[Draw], WindowTable]:
    """Choose each draw's windows and write its files; returns the draws and all windows of --train.

    A window that shares a bar with an evaluated one is left out of the draw (`test`) or out of the evaluated windows
    (`other-draws`). Equal options and data give equal bytes, so that fits which are done stay done.

    Raises
    ------
    InvalidData
        A file has no times, windows of another length or unlabelled ones, or a draw has too few windows.
    WrongUsage
        A draw that --train has not, or --labels-per-draw below 1.
    """
    path = options.train_named()
    table = _labelled(path, options)
    test = _labelled(options.test, options) if options.judge == "test" and options.test is not None else None
    if test is not None and test.window_bars != table.window_bars:
        raise InvalidData(
            f"windows must have one length, but {path} has {table.window_bars} bars and {options.test} "
            f"{test.window_bars}. Cut them again with --window-bars."
        )
    of_draw = _draw_of(table, path)
    numbers = _chosen(options.draws, of_draw)
    if test is None and len(set(of_draw.tolist())) < 2:
        raise InvalidData(
            f"--judge other-draws must have another draw, but {path} has 1. Give windows with a column draw."
        )
    return [_lay_out_draw(options, table, of_draw, number, test) for number in numbers], table


def _labelled(path: Path, options: BenchmarkOptions) -> WindowTable:
    table = read_windows(path, options.window_bars)
    if table.start_us is None:
        raise InvalidData(
            f"windows of a benchmark must have times, but {path} has no start_ts and end_ts. "
            "Cut them again with `moola windows`."
        )
    bare = [row for row, name in enumerate(table.label) if name is None]
    if bare:
        raise InvalidData(
            f"windows of a benchmark must have a label, but {len(bare)} of {len(table)} have none ({path}, label, "
            f"first row {bare[0]}). Leave them out of the file."
        )
    return table


def _draw_of(table: WindowTable, path: Path) -> np.ndarray:
    if "draw" not in table.extra.columns:
        return np.zeros(len(table), dtype=np.int64)
    column = table.extra["draw"]
    if not column.dtype.is_integer() or column.null_count():
        raise InvalidData(
            f"draw must be a whole number in every row, but it is {column.dtype} with {column.null_count()} missing "
            f"({path}, draw). Fix the column, or take it away for one draw."
        )
    return column.to_numpy()


def _chosen(wanted: tuple[int, ...], of_draw: np.ndarray) -> list[int]:
    known = sorted(set(of_draw.tolist()))
    strange = [number for number in wanted if number not in known]
    if strange:
        raise WrongUsage(
            f"--draws must be among {', '.join(map(str, known))}, but {len(strange)} of {len(wanted)} is not: "
            f"{', '.join(map(str, strange))}. Leave --draws out for all."
        )
    return sorted(set(wanted)) or known


def sharing(one: WindowTable, other: WindowTable) -> Bool[np.ndarray, " one"]:
    """Return which windows of one table share a bar with a window of another: by time in any symbol, or by content."""
    group = same_but_for_scale(np.concatenate([table.all_features for table in (one, other)]))
    start, end = (
        np.concatenate([values for table in (one, other) if (values := getattr(table, name)) is not None])
        for name in ("start_us", "close_us")
    )
    rows = np.arange(len(group))
    return near_any(Intervals(start, end, group), rows[: len(one)], rows[len(one) :], 0)


def _lay_out_draw(
    options: BenchmarkOptions, table: WindowTable, of_draw: np.ndarray, number: int, test: WindowTable | None
) -> Draw:
    mine = table.take(np.flatnonzero(of_draw == number))
    n_left_out = 0
    if test is not None:
        near = sharing(mine, test)
        n_left_out = int(near.sum())
        if n_left_out:
            log.warning("Draw %d: %d windows left out that share a bar with a test window.", number, n_left_out)
        mine = mine.take(np.flatnonzero(~near))
    mine = _fewer(mine, options, number)
    judged = test
    if judged is None:
        others = table.take(np.flatnonzero(of_draw != number))
        judged = others.take(np.flatnonzero(~sharing(others, mine)))
    if not len(judged):
        raise InvalidData(f"every draw must have windows to evaluate on, but draw {number} has none. Give more draws.")
    _require_classes(mine, judged, number)
    return _write(options, number, mine, judged, n_left_out)


def _fewer(mine: WindowTable, options: BenchmarkOptions, number: int) -> WindowTable:
    """Keep as many windows as --labels-per-draw asks, in an order that neither seeds nor models change."""
    wanted = options.labels_per_draw
    if wanted is None:
        return mine
    if wanted > len(mine):
        raise InvalidData(
            f"--labels-per-draw must be at most the windows of each draw, but it is {wanted} and draw {number} has "
            f"{len(mine)} ({options.train_named()}). Lower it."
        )
    order = generator(DEFAULT_SEED, "labels of a draw", number).permutation(len(mine))
    return mine.take(np.sort(order[:wanted]))


def _require_classes(mine: WindowTable, judged: WindowTable, number: int) -> None:
    strange = sorted(set(judged.classes) - set(mine.classes))
    if len(mine.classes) < 2 or strange:
        what = f"evaluated windows are {', '.join(strange)} too" if strange else "there is no other"
        raise InvalidData(
            f"every draw must have at least two classes, among them all that it is evaluated on, but draw {number} has "
            f"{', '.join(mine.classes) or 'none'} and {what}. Raise --labels-per-draw or change the draws."
        )


def _write(options: BenchmarkOptions, number: int, mine: WindowTable, judged: WindowTable, n_left_out: int) -> Draw:
    size = "all" if options.labels_per_draw is None else str(options.labels_per_draw)
    folder = options.output / "draws" / f"{options.judge}-{size}"
    data, judged_path = folder / f"draw-{number}.parquet", folder / f"judged-{number}.parquet"
    if options.judge == "test":
        judged_path = folder / "judged.parquet"
    write_windows(data, replace(mine, extra=_annotator(mine)))
    write_windows(judged_path, replace(judged, extra=_annotator(judged)))
    split_path = folder / f"draw-{number}.json"
    share = SplitOptions(data=data, output=split_path, val=options.val_fraction, test=0.0, window_bars=mine.window_bars)
    split(share)
    first_us = int(judged.times_us[0].min())
    if options.judge == "test" and mine.start_us is not None and (n_late := int((mine.start_us >= first_us).sum())):
        log.warning(
            "Draw %d: %d windows begin after the first test window: figures are not of what was known then.",
            number,
            n_late,
        )
    return Draw(number, data, split_path, judged_path, len(mine), n_left_out, len(judged), first_us)


def _annotator(table: WindowTable) -> pl.DataFrame:
    """Keep who labelled; the draw itself is the file's name."""
    return table.extra.select([name for name in table.extra.columns if name != "draw"])
