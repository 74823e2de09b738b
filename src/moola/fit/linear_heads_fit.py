"""Linear heads on a frozen encoder: windows encoded once, heads at their one optimum, a temperature out of fold."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from moola.core.expansions import NO_POINTER
from moola.core.features import RobustScaler, mirrored_features
from moola.core.likeness import Likeness, fit_likeness
from moola.evaluation.calibration import fit_temperature
from moola.fit.vector_cache import store_vectors, stored_vectors
from moola.models.model_files import weights_digest
from moola.models.network import Encoder, EnhancedSimpleLSTM
from moola.tables.window_file import WindowTable
from moola.training.finetune import run_encoder
from moola.training.linear_fit import EncodedWindows, LinearFit, LinearPlan, fit_linear_heads, time_blocks

# Vectors of windows that this process has encoded, the latest ones; a fold or a second fit starts at once with them.
N_BLOCKS = LinearPlan().n_blocks
CACHE_BYTES = 1 << 30
_cached: OrderedDict[bytes, np.ndarray] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class LinearResult:
    """What a fit of linear heads leaves.

    Attributes
    ----------
    network
        The encoder as it came, with the heads on it.
    temperature
        Fitted to the out-of-fold logits of the fit; 1 where no block of time could be held out.
    likeness
        What the windows were like, for a warning where other bars are not.
    """

    network: EnhancedSimpleLSTM
    temperature: float
    fit: LinearFit
    likeness: Likeness | None

    def history_row(self, stage: str) -> dict[str, Any]:
        """Return the one line of history: out-of-fold log-losses at the penalties that were chosen."""
        fit = self.fit
        row: dict[str, Any] = {"stage": stage, "epoch": 1, "best": True, "class_penalty": fit.class_penalty}
        row["by_blocks"] = bool(fit.class_loss)
        if fit.class_loss:
            row["out_of_fold_class_loss"] = float(min(fit.class_loss))
        if fit.pointer_penalty is not None:
            row["pointer_penalty"] = list(fit.pointer_penalty)
        return row


def fit_on_windows(
    network: EnhancedSimpleLSTM,
    table: WindowTable,
    classes: list[str],
    scaler: RobustScaler,
    mirror: list[int] | None,
    visible_bars: int | None,
    device: torch.device,
    on_disk: bool = False,
) -> LinearResult:
    """Fit linear heads to every window of a table, on the network's encoder.

    `mirror` is the class that each class becomes upside down; `None` reads windows one way only. `on_disk` keeps
    encoded windows for other processes too (`vector_cache`).
    """
    features = table.features
    assert features is not None
    n_seen = table.window_bars if visible_bars is None else visible_bars
    seen = features[:, :n_seen]
    upright = encoded(network.encoder, scaler.transform(seen), device, on_disk)
    turned = (
        None if mirror is None else encoded(network.encoder, scaler.transform(mirrored_features(seen)), device, on_disk)
    )
    bars = np.stack([table.expansion_start, table.expansion_end], axis=1)
    class_index = np.array([classes.index(name) for name in table.label], dtype=np.int64)
    windows = EncodedWindows(
        upright,
        turned,
        class_index,
        np.where((bars < n_seen).all(axis=1, keepdims=True), bars, NO_POINTER),
        table.intervals(),
        mirror,
    )
    if not network.predict_pointers:
        windows = replace(windows, pointers=np.full_like(windows.pointers, NO_POINTER))
    heads, fit = fit_linear_heads(windows, len(classes))
    judged = fit.judged
    temperature = fit_temperature(fit.out_of_fold_logits[judged], class_index[judged]) if judged.any() else 1.0
    likeness = fit_likeness(upright.mean(axis=1), seen, time_blocks(windows.intervals, N_BLOCKS))
    return LinearResult(EnhancedSimpleLSTM(network.encoder, [heads]).eval(), temperature, fit, likeness)


def encoded(encoder: Encoder, scaled: np.ndarray, device: torch.device, on_disk: bool = False) -> np.ndarray:
    """Return the encoder's vectors `(windows, bars, hidden)` of scaled features; those known already are not made."""
    # The last digits of a vector depend on the threads, and on what multiplies.
    made_by = f"{device.type} {torch.get_num_threads()} {torch.__version__}".encode()
    key = hashlib.sha256(bytes.fromhex(weights_digest(encoder)) + made_by).digest()
    keys = [hashlib.sha256(key + window.tobytes()).digest() for window in scaled]
    with _lock:
        known = {name: _cached[name] for name in keys if name in _cached}
    if on_disk and (wanted := set(keys) - known.keys()):
        known |= stored_vectors(key, wanted)
    new = [row for row, name in enumerate(keys) if name not in known]
    if new:
        made = dict(zip([keys[row] for row in new], run_encoder(encoder, scaled[new], device), strict=True))
        known |= made
        if on_disk:
            store_vectors(key, made)
    out = np.stack([known[name] for name in keys])
    with _lock:
        for name in keys:
            _cached[name] = known[name]
            _cached.move_to_end(name)
        while len(_cached) * out[0].nbytes > CACHE_BYTES:
            _cached.popitem(last=False)
    return out
