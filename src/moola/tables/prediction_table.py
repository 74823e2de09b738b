"""The prediction table of a run: one row per window of val and test, with truth beside prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import polars as pl

from moola.core.bars import closing_us
from moola.core.windows import rows_of
from moola.errors import InvalidData
from moola.files import json_bytes, sha256_bytes
from moola.tables.frames import read_frame, utc_series, write_frame

ADVICE = "Train the run again."
POINTER_COLUMNS = ("predicted_start", "predicted_end", "start_prob", "end_prob")


@dataclass(frozen=True)
class Predictions:
    """What was predicted for some windows, and what was true.

    Attributes
    ----------
    class_index
        True class as a position in `class_names`; -1 where the window has no label.
    class_prob
        Calibrated probabilities `(windows, classes)`.
    true_bar, predicted_bar
        Start and end pointers `(windows, 2)`; -1 where there is none.
    pointer_prob
        Probability that the predicted pointer is within 3 bars, `(windows, 2)`.
    curves
        Start and end probability of each bar `(windows, bars, 2)`, where kept.
    annotator
        Who gave the true label, a person or a rule, where known.
    shared_bars
        Hash of the window's bars where several rows have these bars (expansions of one window), else empty. In the file
        only where there are such rows.
    length_weight
        How much each `end - start` counts where a window's curves are decoded, `(windows, bars)`; None counts all
        alike. In memory alone: no column of the file.
    """

    window_id: list[str]
    row: np.ndarray
    part: np.ndarray
    start_us: np.ndarray | None
    end_us: np.ndarray | None
    class_names: list[str]
    class_index: np.ndarray
    class_prob: np.ndarray
    true_bar: np.ndarray
    predicted_bar: np.ndarray
    pointer_prob: np.ndarray
    curves: np.ndarray | None = None
    annotator: np.ndarray | None = None
    shared_bars: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=object))
    length_weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.shared_bars):
            object.__setattr__(self, "shared_bars", np.full(len(self.window_id), "", dtype=object))

    def __len__(self) -> int:
        return len(self.window_id)

    @property
    def predicts_pointers(self) -> bool:
        """Return whether any pointer was predicted."""
        return bool((self.predicted_bar >= 0).any())

    def close_us(self, window_bars: int) -> np.ndarray | None:
        """When the last bar of each window is over, from the times of windows of that length; None without times."""
        if self.start_us is None or self.end_us is None:
            return None
        return closing_us(self.start_us, self.end_us, window_bars)

    def decoded_with(self, length_weight: Sequence[float] | np.ndarray | None) -> Predictions:
        """Return the table with the weights of lengths, one per bar of the window, that decoded it."""
        if length_weight is None:
            return replace(self, length_weight=None)
        weight = np.asarray(length_weight, dtype=np.float64)
        return replace(self, length_weight=np.broadcast_to(weight, (len(self), len(weight))))

    def joined(self, other: Predictions) -> Predictions:
        """Return both tables, one behind the other; columns that one lacks are left out."""
        joined = {}
        for column in fields(self):
            mine, theirs = getattr(self, column.name), getattr(other, column.name)
            if column.name == "class_names":
                joined[column.name] = mine
            elif mine is None or theirs is None:
                joined[column.name] = None
            else:
                joined[column.name] = mine + theirs if isinstance(mine, list) else np.concatenate([mine, theirs])
        return Predictions(**joined)

    def take(self, rows: np.ndarray) -> Predictions:
        """Return some rows, in this order."""
        return replace(
            self,
            window_id=[self.window_id[i] for i in rows],
            row=self.row[rows],
            part=self.part[rows],
            start_us=rows_of(self.start_us, rows),
            end_us=rows_of(self.end_us, rows),
            class_index=self.class_index[rows],
            class_prob=self.class_prob[rows],
            true_bar=self.true_bar[rows],
            predicted_bar=self.predicted_bar[rows],
            pointer_prob=self.pointer_prob[rows],
            curves=rows_of(self.curves, rows),
            annotator=rows_of(self.annotator, rows),
            shared_bars=self.shared_bars[rows],
            length_weight=rows_of(self.length_weight, rows),
        )

    def is_of_windows_of(self, other: Predictions) -> bool:
        """Return whether both are of the same windows in the same order, with the same labels and classes."""
        return (
            self.window_id == other.window_id
            and self.class_names == other.class_names
            and np.array_equal(self.class_index, other.class_index)
        )

    def of_part(self, part: str) -> Predictions:
        """Return the rows of one part, in time order (row order where there are not times)."""
        return self.take(np.flatnonzero(self.part == part)).in_time_order()

    @property
    def windows_sha256(self) -> str:
        """SHA-256 of which windows these are: names and times, whatever was predicted and in whatever order."""
        times = [[None] * len(self) if one is None else one.tolist() for one in (self.start_us, self.end_us)]
        return sha256_bytes(json_bytes(sorted(map(str, zip(self.window_id, *times, strict=True)))))

    def in_time_order(self) -> Predictions:
        """Return all rows in time order (row order where there are not times)."""
        key = self.row if self.start_us is None else self.start_us
        return self.take(np.argsort(key, kind="stable"))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a prediction table; CSV has no curves, which are lists."""
    if path.suffix == ".csv":
        predictions = replace(predictions, curves=None)
    write_frame(path, predictions_frame(predictions))


def predictions_frame(predictions: Predictions) -> pl.DataFrame:
    """Lay predictions out as the columns of the file."""
    names = np.array([*predictions.class_names, None], dtype=object)
    columns: dict[str, pl.Series] = {
        "window_id": pl.Series(predictions.window_id, dtype=pl.String),
        "row": pl.Series(predictions.row, dtype=pl.Int64),
        "part": pl.Series(predictions.part.tolist(), dtype=pl.String),
    }
    if predictions.start_us is not None and predictions.end_us is not None:
        columns |= {"start_ts": utc_series(predictions.start_us), "end_ts": utc_series(predictions.end_us)}
    columns["label"] = pl.Series(names[predictions.class_index].tolist(), dtype=pl.String)
    if predictions.annotator is not None:
        columns["annotator"] = pl.Series(predictions.annotator.tolist(), dtype=pl.String)
    if (predictions.shared_bars != "").any():
        columns["shared_bars"] = pl.Series(predictions.shared_bars.tolist(), dtype=pl.String)
    for i, name in enumerate(("expansion_start", "expansion_end")):
        columns[name] = _bar_column(predictions.true_bar[:, i])
    for i, name in enumerate(predictions.class_names):
        columns[f"prob_{name}"] = pl.Series(predictions.class_prob[:, i])
    columns["predicted_label"] = pl.Series(names[predictions.class_prob.argmax(axis=1)].tolist(), dtype=pl.String)
    if predictions.predicts_pointers:
        for i, end in enumerate(("start", "end")):
            columns[f"predicted_{end}"] = _bar_column(predictions.predicted_bar[:, i])
            columns[f"{end}_prob"] = pl.Series(predictions.pointer_prob[:, i])
            if predictions.curves is not None:
                curve = pl.Series(predictions.curves[:, :, i], dtype=pl.Array(pl.Float64, predictions.curves.shape[1]))
                columns[f"{end}_curve"] = curve.cast(pl.List(pl.Float64))
    return pl.DataFrame(columns)


def _bar_column(bars: np.ndarray) -> pl.Series:
    return pl.Series([int(bar) if bar >= 0 else None for bar in bars], dtype=pl.Int64)


def read_predictions(path: Path) -> Predictions:
    """Read a prediction table."""
    return predictions_from_frame(read_frame(path, "a prediction table", ADVICE), path)


def predictions_from_frame(frame: pl.DataFrame, path: Path | str) -> Predictions:
    """Take predictions from the columns of the file; messages call the table `path`."""
    names = [column.removeprefix("prob_") for column in frame.columns if column.startswith("prob_")]
    needed = ["window_id", "row", "part", "label", "expansion_start", "expansion_end"]
    for pair in (("start_ts", "end_ts"), POINTER_COLUMNS):
        needed += pair if any(name in frame.columns for name in pair) else []
    missing = [name for name in needed if name not in frame.columns]
    if missing or not names:
        raise InvalidData(
            f"predictions must have window_id, row, part, label and prob_<class>, but {path} lacks "
            f"{', '.join(missing) or 'class probabilities'}. {ADVICE}"
        )
    _check_numbers(frame, names, path)
    number = {name: i for i, name in enumerate(names)}
    n = len(frame)
    has_times = "start_ts" in frame.columns
    curve_columns = [name for name in ("start_curve", "end_curve") if name in frame.columns]
    has_pointers = set(POINTER_COLUMNS) <= set(frame.columns)
    none_shared = np.full(n, "", dtype=object)
    return Predictions(
        frame["window_id"].to_list(),
        frame["row"].to_numpy(),
        frame["part"].to_numpy().astype(object),
        frame["start_ts"].dt.timestamp("us").to_numpy() if has_times else None,
        frame["end_ts"].dt.timestamp("us").to_numpy() if has_times else None,
        names,
        np.array([number.get(name, -1) for name in frame["label"].to_list()], dtype=np.int64),
        frame.select([f"prob_{name}" for name in names]).to_numpy(),
        _pair(frame, ("expansion_start", "expansion_end")),
        _pair(frame, POINTER_COLUMNS[:2]) if has_pointers else np.full((n, 2), -1),
        frame.select(POINTER_COLUMNS[2:]).to_numpy() if has_pointers else np.zeros((n, 2)),
        np.stack([np.array(frame[name].to_list()) for name in curve_columns], axis=-1)
        if len(curve_columns) == 2
        else None,
        frame["annotator"].to_numpy().astype(object) if "annotator" in frame.columns else None,
        frame["shared_bars"].fill_null("").to_numpy().astype(object) if "shared_bars" in frame.columns else none_shared,
    )


def _check_numbers(frame: pl.DataFrame, names: list[str], path: Path | str) -> None:
    """Refuse probabilities that are none: a NaN would stand for an answer in whatever is made of them."""
    columns = [f"prob_{name}" for name in names]
    columns += [name for name in POINTER_COLUMNS[2:] if name in frame.columns]
    for name in columns:
        values = frame[name]
        bad = pl.repeat(True, len(frame), eager=True)
        if values.dtype.is_numeric():
            bad = ~values.is_between(0, 1).fill_null(False)
        if bad.any():
            raise InvalidData(
                f"probabilities must be numbers from 0 to 1, but {bad.sum()} of {len(frame)} are not ({path}, column "
                f"{name}, first at row {bad.arg_max()}). {ADVICE}"
            )


def _pair(frame: pl.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    return frame.select([pl.col(name).fill_null(-1) for name in names]).to_numpy()
