"""Linear heads on a frozen encoder: windows encoded once and kept on disk, heads at their one optimum, a temperature
out of fold."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.core.expansions import NO_POINTER
from moola.core.features import RobustScaler, mirrored_features
from moola.core.likeness import Likeness, fit_likeness
from moola.errors import OperationFailed
from moola.evaluation.calibration import fit_temperature
from moola.files import write_atomic
from moola.models.head_prior import prior_of
from moola.models.model_files import weights_digest
from moola.models.network import Encoder, EnhancedSimpleLSTM
from moola.tables.window_file import WindowTable
from moola.training.finetune import run_encoder
from moola.training.linear_fit import EncodedWindows, LinearFit, LinearPlan, fit_linear_heads, time_blocks

log = logging.getLogger(__name__)
CACHE_ROOT = Path("artifacts/cache/vectors")
MAX_BYTES = 512 << 20
MAGIC, KEY_BYTES, SUFFIX = b"moola-vectors-1\n", 32, ".vectors"
# Hash of what follows it, then windows, bars and values of a bar's vector.
HEAD = struct.Struct("<32s3q")
Vectors = dict[bytes, np.ndarray]


def stored_vectors(kind: bytes, wanted: set[bytes]) -> Vectors:
    """Return those of the wanted windows that are on disk, each `(bars, hidden)`.

    `kind` is what all windows of a file have in common (the encoder): files of another are not opened.
    """
    found: Vectors = {}
    for path in sorted(CACHE_ROOT.glob(f"{kind.hex()[:16]}-*{SUFFIX}")):
        with contextlib.suppress(OSError):
            if wanted - found.keys() and wanted & set(_keys(path)):
                found |= {name: one for name, one in _read(path).items() if name in wanted}
    return found


def store_vectors(kind: bytes, vectors: Vectors) -> None:
    """Put windows on disk and keep the folder within its bound; a folder that cannot be written to changes nothing."""
    if not vectors:
        return
    names = sorted(vectors)
    stacked = np.stack([vectors[name] for name in names]).astype("<f4")
    body = b"".join(names) + stacked.tobytes()
    if len(body) > MAX_BYTES // 2:
        return
    sizes = struct.pack("<3q", *stacked.shape)
    digest = hashlib.sha256(sizes + body).digest()
    path = CACHE_ROOT / f"{kind.hex()[:16]}-{hashlib.sha256(b''.join(names)).hexdigest()[:16]}{SUFFIX}"
    try:
        write_atomic(path, MAGIC + digest + sizes + body)
        keep_within(CACHE_ROOT, SUFFIX, MAX_BYTES)
    except (OSError, OperationFailed) as error:
        log.debug("Encoded windows are not kept: %s", error)


def _head(content: bytes) -> tuple[bytes, tuple[int, ...]]:
    if not content.startswith(MAGIC) or len(content) < len(MAGIC) + HEAD.size:
        return b"", (0, 0, 0)
    digest, *shape = HEAD.unpack_from(content, len(MAGIC))
    return digest, tuple(shape) if min(shape) > 0 else (0, 0, 0)


def _keys(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        _, (n_windows, _, _) = _head(file.read(len(MAGIC) + HEAD.size))
        listed = file.read(min(n_windows * KEY_BYTES, path.stat().st_size))
    return [listed[i : i + KEY_BYTES] for i in range(0, len(listed), KEY_BYTES)]


def _read(path: Path) -> Vectors:
    """Return a file's windows after checking every byte of it; one that is not whole is removed."""
    content = path.read_bytes()
    digest, shape = _head(content)
    n_windows, n_bars, n_hidden = shape
    first = len(MAGIC) + HEAD.size + n_windows * KEY_BYTES
    whole = hashlib.sha256(content[len(MAGIC) + 32 :]).digest() == digest
    if not whole or len(content) != first + 4 * n_windows * n_bars * n_hidden:
        log.warning("%s is not as it was written: its windows are encoded again.", path)
        path.unlink()
        return {}
    os.utime(path)
    vectors = np.frombuffer(content, "<f4", offset=first).reshape(shape)
    listed = content[first - n_windows * KEY_BYTES : first]
    names = [listed[i : i + KEY_BYTES] for i in range(0, len(listed), KEY_BYTES)]
    return dict(zip(names, vectors, strict=True))


def keep_within(folder: Path, suffix: str, max_bytes: int) -> None:
    """Remove a folder's files of this suffix, those unused for longest first, until the rest are within `max_bytes`."""
    files = [(path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob(f"*{suffix}")]
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size


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
        prior_of(network.encoder),
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
