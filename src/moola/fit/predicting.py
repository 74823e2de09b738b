"""What a model makes of windows (stage `predict`) and of a chart (one vector a bar), with a warning of bars unlike
those that calibrated it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moola.core.bars import Bars
from moola.core.expansions import best_pair, mass_around, mass_near
from moola.core.features import mirrored_features, relative_features
from moola.core.likeness import Compared, compare_with
from moola.core.windows import cut_windows, inner_zone, take_windows
from moola.errors import InvalidData
from moola.evaluation.calibration import calibrated
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.models.model_files import ModelFile, read_model
from moola.options.training_options import PredictOptions
from moola.provenance.learned_times import agreed_window_bars, compare_bar_intervals, seen_among, spread
from moola.tables.bar_table import LaidOutBars, symbol_gap_s
from moola.tables.prediction_table import Predictions, write_predictions
from moola.tables.window_file import WindowTable, read_windows
from moola.training.device import prepare_device
from moola.training.finetune import run_encoder, run_network

log = logging.getLogger(__name__)
# Evenly spread windows without a common bar, of all that are read: more would take longer and say little more.
MOST_WINDOWS = 200


def compare_windows(
    model: ModelFile, table: WindowTable, device: torch.device, warn: Callable[[str], None] = log.warning
) -> dict[str, Any]:
    """Warn where windows of a table are unlike those that calibrated the model; a model of before gives no warning.

    Returns
    -------
    dict
        `likeness`: what was found (`Compared.as_dict`); None where the model or too few windows give no result.
    """
    if model.likeness is None:
        return {"likeness": None}
    rows = spread(_apart(table), MOST_WINDOWS)
    return _likeness_record(_compared(model, table.take(rows).all_features, device), warn)


def compare_bars(
    model: ModelFile,
    bars: LaidOutBars,
    max_gap_hours: float | None,
    device: torch.device,
    warn: Callable[[str], None] = log.warning,
) -> dict[str, Any]:
    """Do the same with windows of bars that are laid out, symbol by symbol."""
    if model.likeness is None:
        return {"likeness": None}
    n_bars, total = model.n_seen_bars, max(sum(bars.n_bars), 1)
    found = [np.zeros((0, n_bars, 4))]
    for symbol, n_own in enumerate(bars.n_bars):
        n_asked = -(-MOST_WINDOWS * n_own // total)
        places = spread(np.arange(0, n_own - n_bars + 1, n_bars), n_asked)
        limit_s = symbol_gap_s(bars, symbol, max_gap_hours)
        found += [_window(bars.read(symbol, int(first), int(first) + n_bars), n_bars, limit_s) for first in places]
    return _likeness_record(_compared(model, relative_features(np.concatenate(found)), device), warn)


def _window(bars: Bars, n_bars: int, limit_s: float) -> Float[np.ndarray, "windows bars 4"]:
    """Return the one window of so many bars; none where a gap is too long."""
    return take_windows(bars.ohlc, cut_windows(bars, 1, n_bars, limit_s).first_bar, n_bars)


def _apart(table: WindowTable) -> np.ndarray:
    """Rows in order of time of which none shares a bar with another; without times, those of different bars."""
    if table.start_us is None or table.close_us is None:
        return np.sort(np.unique(table.intervals().group, return_index=True)[1])
    kept: list[int] = []
    over: dict[str, int] = {}
    for row in np.lexsort([table.close_us, table.start_us]).tolist():
        if table.start_us[row] >= over.get(table.symbol[row], table.start_us[row]):
            kept.append(row)
            over[table.symbol[row]] = table.close_us[row]
    return np.array(kept, dtype=np.int64)


def _compared(
    model: ModelFile, features: Float[np.ndarray, "windows bars 11"], device: torch.device
) -> Compared | None:
    assert model.likeness is not None
    seen = features[:, : model.n_seen_bars]
    if not len(seen):
        return None
    pooled = run_encoder(model.network.encoder, model.scaler.transform(seen), device).mean(axis=1)
    return compare_with(model.likeness, pooled, seen)


def _likeness_record(found: Compared | None, warn: Callable[[str], None]) -> dict[str, Any]:
    if found is not None and found.unlike:
        warn(found.sentence())
    return {"likeness": None if found is None else found.as_dict()}


# Of bars with the same mass around them, the likeliest itself.
PEAK_SHARE = 0.01


def predict_windows(
    model: ModelFile, table: WindowTable, rows: np.ndarray, part: np.ndarray, device: torch.device
) -> Predictions:
    """Predict some rows of a table; truth is copied beside the prediction where the table has it.

    Raises
    ------
    InvalidData
        The windows have another length than the model's.
    """
    if table.window_bars != model.window_bars:
        raise InvalidData(
            f"windows must have the model's {model.window_bars} bars, but these have {table.window_bars}. "
            "Cut them again with --window-bars."
        )
    chosen = table.take(rows)
    logits, curves = read_windows_both_ways(model, chosen.all_features, device)
    number = {name: i for i, name in enumerate(model.class_names)}
    predicted, pointer_prob = decode(curves, len(rows), model.length_weight)
    return Predictions(
        chosen.window_id,
        rows.astype(np.int64),
        part,
        chosen.start_us,
        chosen.end_us,
        list(model.class_names),
        np.array([number.get(name, -1) for name in chosen.label], dtype=np.int64),
        calibrated(logits, model.temperature),
        np.stack([chosen.expansion_start, chosen.expansion_end], axis=1),
        predicted,
        pointer_prob,
        curves,
        chosen.annotator,
        chosen.shared_bars,
    ).decoded_with(model.length_weight)


def read_windows_both_ways(
    model: ModelFile, features: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return class logits and pointer curves, averaged over a window and its mirror where classes allow it.

    A state that means the same upside down must be predicted the same: the mean of both readings errs less.
    A model of visible bars is shown no others; its curves are 0 there.
    """
    n_bars, features = features.shape[1], features[:, : model.n_seen_bars]
    upright = model.scaler.transform(features)
    if model.mirror is None:
        logits, curves = run_network(model.network, upright, device)
        return logits, _as_long(curves, n_bars)
    turned = model.scaler.transform(mirrored_features(features))
    if model.network.head_kind == "linear":
        logits, curves = run_network(model.network, upright, device, turned=turned, class_mirror=model.mirror)
        return logits, _as_long(curves, n_bars)
    logits, curves = run_network(model.network, upright, device)
    logits_turned, curves_turned = run_network(model.network, turned, device)
    logits = (logits + logits_turned[:, model.mirror]) / 2
    if curves is None or curves_turned is None:
        return logits, None
    return logits, _as_long((curves + curves_turned) / 2, n_bars)


def _as_long(curves: np.ndarray | None, n_bars: int) -> np.ndarray | None:
    """Give bars that were not seen a probability of 0."""
    if curves is None or curves.shape[1] == n_bars:
        return curves
    return np.pad(curves, ((0, 0), (0, n_bars - curves.shape[1]), (0, 0)))


def decode(
    curves: np.ndarray | None, n_windows: int, length_weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Turn curves into the pair most likely to be within 3 bars, and the probability that each pointer is.

    `length_weight` is that of the model which gave the curves (`ModelFile.length_weight`), or `(windows, bars)`.
    """
    if curves is None:
        return np.full((n_windows, 2), -1), np.zeros((n_windows, 2))
    around = [mass_around(curves[..., i], HIT_BARS) + PEAK_SHARE * curves[..., i] for i in (0, 1)]
    start, end = best_pair(around[0], around[1], length_weight)
    sure = [mass_near(curves[..., i], bar, HIT_BARS) for i, bar in enumerate((start, end))]
    return np.stack([start, end], axis=1), np.stack(sure, axis=1)


def average_pointers(members: Sequence[Predictions]) -> Predictions:
    """Average the pointers of predictions of the same windows: the mean of their curves, decoded again.

    Lengths count by the mean of the members' weights; members without curves are left out. A single member, and the
    first of several without any curves, points where it did.

    Returns
    -------
    Predictions
        The first member with the common curves and pointers.
    """
    first, pointing = members[0], [(one.curves, one.length_weight) for one in members if one.curves is not None]
    if len(members) == 1 or not pointing:
        return first
    curves = np.mean([given for given, _ in pointing], axis=0)
    weight = np.mean([np.ones(given.shape[:2]) if by is None else by for given, by in pointing], axis=0)
    predicted, pointer_prob = decode(curves, len(first), weight)
    return replace(first, curves=curves, predicted_bar=predicted, pointer_prob=pointer_prob, length_weight=weight)


def predict(options: PredictOptions) -> dict[str, Any]:
    """Predict every window of a file with a model file."""
    device = prepare_device(options.device, options.threads)
    model = read_model(options.model)
    table = read_windows(options.data, agreed_window_bars(options.window_bars, {options.model: model.window_bars}))
    predictions, alike = predict_new(model, table, device)
    write_predictions(options.output, predictions)
    names = np.array(model.class_names)[predictions.class_prob.argmax(axis=1)]
    seen = seen_among(model.training, table.start_us, table.close_us)
    return {
        "output": str(options.output),
        "n_windows": len(table),
        "predicted": dict(sorted(Counter(names.tolist()).items())),
        "learned_time_range": model.training.get("time_range"),
        "n_learned": None if seen is None else int(seen.sum()),
        "labelled_by": model.training.get("annotators"),
        **alike,
    }


def predict_new(
    model: ModelFile, table: WindowTable, device: torch.device, warn: Callable[[str], None] = log.warning
) -> tuple[Predictions, dict[str, Any]]:
    """Predict every window of a table; returns also what was found of windows unlike those learned from, and warns."""
    rows = np.arange(len(table))
    predictions = predict_windows(model, table, rows, np.full(len(rows), "new", dtype=object), device)
    intervals = compare_bar_intervals(model, table.start_us, table.end_us, warn)
    return predictions, intervals | compare_windows(model, table, device, warn)


Vectors = Float[np.ndarray, "windows bars hidden"]


@contextmanager
def recorded_vectors(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Keep the encoder's output while a network reads windows, so that it need not read them twice."""
    vectors: list[Tensor] = []
    handle = encoder.register_forward_hook(lambda _module, _inputs, output: vectors.append(output.cpu()))
    try:
        yield vectors
    finally:
        handle.remove()


def vectors_each_way(
    model: ModelFile, features: Float[np.ndarray, "windows bars features"], device: torch.device
) -> list[Vectors]:
    """Return the same vectors of windows each way, without what heads make of them."""
    ways = [features] if model.mirror is None else [features, mirrored_features(features)]
    return [run_encoder(model.network.encoder, model.scaler.transform(way), device) for way in ways]


def vectors_by_orientation(vectors: list[Tensor], n_windows: int, model: ModelFile) -> list[Vectors]:
    """Return the vectors of windows each way, from the passes in which they were read.

    Linear heads read a pass of windows both ways before the next pass; others read all windows one way, then the other.
    """
    ways = n_ways(model)
    by_way = len(vectors) // ways
    if model.network.head_kind == "linear":
        pieces = [vectors[way::ways] for way in range(ways)]
    else:
        pieces = [vectors[way * by_way : (way + 1) * by_way] for way in range(ways)]
    return [torch.cat(piece)[:n_windows].numpy() for piece in pieces]


class BarVectors:
    """Sums of vectors over windows, bar by bar, added in the order of the windows.

    A bar that no window has in its zone has the mean over all windows that have it; where `zone_alone`, none.
    """

    def __init__(
        self, n_bars: int, n_hidden: int, n_ways: int, zone: tuple[int, int], zone_alone: bool = False
    ) -> None:
        self.zone, self.zone_alone = zone, zone_alone
        self.inner = np.zeros((n_ways, n_bars, n_hidden), dtype=np.float32)
        self.whole = np.zeros((n_ways, n_bars, n_hidden), dtype=np.float32)
        self.n_inner, self.n_whole = np.zeros(n_bars, dtype=np.int64), np.zeros(n_bars, dtype=np.int64)

    def add(self, first_bar: Int[np.ndarray, " windows"], by_way: list[Vectors]) -> None:
        """Add windows, which begin at these bars of the chart."""
        n_seen = by_way[0].shape[1]
        first, last = self.zone
        for row, start in enumerate(first_bar):
            for way, vectors in enumerate(by_way):
                self.inner[way, start + first : start + last] += vectors[row, first:last]
                self.whole[way, start : start + n_seen] += vectors[row]
            self.n_inner[start + first : start + last] += 1
            self.n_whole[start : start + n_seen] += 1

    def means(self) -> tuple[tuple[Float[np.ndarray, "bars hidden"], ...], Bool[np.ndarray, " bars"]]:
        """Return the mean vectors each way, and which bars a window has."""
        if self.zone_alone:
            count = np.maximum(self.n_inner, 1)[:, None].astype(np.float32)
            return tuple(inner / count for inner in self.inner), self.n_inner > 0
        is_inner = (self.n_inner > 0)[:, None]
        count = np.maximum(np.where(self.n_inner > 0, self.n_inner, self.n_whole), 1)[:, None].astype(np.float32)
        found = tuple(
            np.where(is_inner, inner, whole) / count for inner, whole in zip(self.inner, self.whole, strict=True)
        )
        return found, self.n_whole > 0


def trusted_zone(model: ModelFile) -> tuple[int, int]:
    """Bars of a window in which a model is trusted: the inner zone, as far as the model sees it."""
    first, last = inner_zone(model.window_bars)
    return first, min(last, model.n_seen_bars)


def sums_for(model: ModelFile, n_bars: int, ahead: int | None) -> BarVectors:
    """Return where vectors of a chart are added up; no vector depends on more than `ahead` bars after its bar."""
    hidden, ways, n_seen = model.network.encoder.output_dim, n_ways(model), model.n_seen_bars
    if ahead is None:
        return BarVectors(n_bars, hidden, ways, trusted_zone(model))
    return BarVectors(n_bars, hidden, ways, (n_seen - 1 - ahead, n_seen), zone_alone=True)


def n_ways(model: ModelFile) -> int:
    """Count the ways in which windows are read: upside down too where it is known what each class becomes."""
    return 1 if model.mirror is None else 2
