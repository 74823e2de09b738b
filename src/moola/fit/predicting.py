"""Stage `predict`: a model file and windows in, a table of predictions out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from moola.core.expansions import best_pair, mass_around, mass_near
from moola.core.features import mirrored_features
from moola.errors import InvalidData
from moola.evaluation.calibration import calibrated
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.fit.familiar_bars import compare_windows
from moola.models.model_files import ModelFile, read_model
from moola.options.training_options import PredictOptions
from moola.provenance.learned_times import agreed_window_bars, compare_bar_intervals, seen_among
from moola.tables.prediction_table import Predictions, write_predictions
from moola.tables.window_file import WindowTable, read_windows
from moola.training.device import prepare_device
from moola.training.finetune import run_network

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
    chosen = table.take(rows).with_features()
    assert chosen.features is not None
    logits, curves = read_windows_both_ways(model, chosen.features, device)
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

    A state that means the same upside down must be told the same: the mean of both readings errs less.
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


def pointing_together(members: Sequence[Predictions]) -> Predictions:
    """Let predictions of the same windows point together: the mean of their curves, decoded again.

    Lengths count by the mean of the members' weights; members without curves have no say. A single member, and the
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
    intervals = compare_bar_intervals(model, table.start_us, table.end_us)
    rows = np.arange(len(table))
    predictions = predict_windows(model, table, rows, np.full(len(rows), "new", dtype=object), device)
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
        **intervals,
        **compare_windows(model, table, device),
    }
