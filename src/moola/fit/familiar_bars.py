"""Whether a model reads bars like those that calibrated it, by some windows of them; a warning where not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from moola.core.bars import Bars
from moola.core.features import relative_features
from moola.core.likeness import Compared, compare_with
from moola.core.windows import cut_windows, take_windows
from moola.models.model_files import ModelFile
from moola.provenance.learned_times import spread
from moola.tables.bar_spool import LaidOutBars, symbol_gap_s
from moola.tables.window_file import WindowTable
from moola.training.finetune import run_encoder

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
        `likeness`: what was found (`Compared.as_dict`); None where the model or too few windows have nothing to tell.
    """
    if model.likeness is None:
        return {"likeness": None}
    rows = spread(_apart(table), MOST_WINDOWS)
    features = table.take(rows).with_features().features
    assert features is not None
    return _told(_compared(model, features, device), warn)


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
    return _told(_compared(model, relative_features(np.concatenate(found)), device), warn)


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


def _told(found: Compared | None, warn: Callable[[str], None]) -> dict[str, Any]:
    if found is not None and found.unlike:
        warn(found.sentence())
    return {"likeness": None if found is None else found.as_dict()}
