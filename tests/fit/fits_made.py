"""Inputs of tiny fits: 30 windows of 30 bars, an encoder that fits them, and windows without labels."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moola.core.bars import utc_text
from moola.core.splits import Split
from moola.fit.fitting import Fitted, fit_on_inputs
from moola.fit.inputs import FitInputs, Job, resolve_options
from moola.models import model_files
from moola.models.model_files import EncoderFile, write_encoder
from moola.options.training_options import TrainOptions
from moola.tables.window_file import WindowTable, write_windows
from tests.made import made_windows
from tests.networks_made import CPU, made_scaler, tiny_encoder

N_BARS = 30
SPLIT = Split(np.arange(18), np.arange(18, 24), np.arange(24, 30))
TABLE = made_windows(30, seed=4, stride=N_BARS, window_bars=N_BARS)
TINY: dict[str, Any] = {
    "data": Path("windows.parquet"),
    "split": Path("split.json"),
    "epochs": 1,
    "n_heads": 2,
    "batch_size": 8,
    "window_bars": N_BARS,
    "device": "cpu",
    "cache": False,
}


def fit_inputs_of(table: WindowTable = TABLE, split: Split = SPLIT, pretrained: bool = True) -> FitInputs:
    table = table.with_features()
    encoder = EncoderFile(tiny_encoder(2), made_scaler(), N_BARS, {}, 8) if pretrained else None
    classes = sorted(set(table.label[split.train].tolist()))
    return FitInputs(table, split, "made", classes, encoder, {}, [], True)


def fitted(inputs: FitInputs, **options: Any) -> Fitted:
    chosen = resolve_options(TrainOptions(**TINY | options), inputs.table, inputs.split, inputs.encoder)
    return fit_on_inputs(Job(chosen, inputs, CPU), lambda _row: None, None, {})


@functools.cache
def once(**options: Any) -> Fitted:
    """Return the fit of the usual windows that all tests of a process share: none may change it."""
    return fitted(fit_inputs_of(), **options)


def small_base(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Let `base` be a tiny encoder: the one in the package is large."""
    path = folder / "small_base.pt"
    write_encoder(path, tiny_encoder(7), made_scaler(), 105, {"time_range": ["2000-01-01", "2001-01-01"]})
    patch.setattr(model_files, "BASE_FILE", path)
    return path


def poisoned(rows: np.ndarray, table: WindowTable = TABLE, labels: bool = True, bars: bool = True) -> WindowTable:
    """Give rows the other class, other pointers and other bars."""
    label, ohlc, start = table.label.copy(), table.ohlc.copy(), table.expansion_start.copy()
    if labels:
        label[rows] = [{"consolidation": "retracement"}.get(name, "consolidation") for name in label[rows]]
        start[rows] = table.expansion_end[rows]
    if bars:
        other = made_windows(len(table), seed=99, stride=N_BARS, window_bars=N_BARS)
        ohlc[rows] = 3 * other.ohlc[rows]
    return replace(table, label=label, ohlc=ohlc, expansion_start=start, features=None)


def other_later(table: WindowTable, n_seen: int) -> WindowTable:
    """Keep the first bars of windows, and give them others after."""
    assert table.ohlc is not None
    ohlc = table.ohlc.copy()
    made = made_windows(len(table), seed=99, stride=N_BARS, window_bars=N_BARS).ohlc
    assert made is not None
    later = made[:, n_seen:]
    ohlc[:, n_seen:] = later * (ohlc[:, n_seen - 1, 3] / later[:, 0, 0])[:, None, None]
    return replace(table, ohlc=ohlc, features=None)


def write_split(path: Path, table: WindowTable = TABLE, split: Split = SPLIT) -> None:
    """Write a split file that says when its parts are."""
    assert table.start_us is not None
    assert table.end_us is not None
    ranges = {
        name: [utc_text(table.start_us[split.part(name)].min()), utc_text(table.end_us[split.part(name)].max())]
        for name in ("train", "val", "test")
    }
    rows = {f"{name}_indices": split.part(name).tolist() for name in ("train", "val", "test")}
    path.write_text(json.dumps({"name": "made", "purge_window": N_BARS - 1, "time_range": ranges, **rows}))


def write_unlabelled(path: Path, late: int = 0, early: int = 0) -> np.ndarray:
    """Write windows at a stride of 7 bars over the labelled ones' time, without labels; tell which are over before val.

    `late` and `early` seed other prices for the windows that are not, and for those that are.
    """
    assert TABLE.start_us is not None
    table = made_windows(100, seed=6, stride=7, window_bars=N_BARS)
    assert table.end_us is not None
    assert table.start_us is not None
    shift = int(TABLE.start_us[0] - table.start_us[0])
    table = replace(table, start_us=table.start_us + shift, end_us=table.end_us + shift)
    over = table.end_us < TABLE.start_us[SPLIT.val].min()
    ohlc = table.ohlc.copy()
    for seed, rows in ((late, ~over), (early, over)):
        if seed:
            ohlc[rows] = made_windows(100, seed=seed, stride=7, window_bars=N_BARS).ohlc[rows]
    bare = np.full(100, None, dtype=object)
    none = np.full(100, -1, dtype=np.int64)
    write_windows(path, replace(table, ohlc=ohlc, label=bare, expansion_start=none, expansion_end=none))
    return over


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)
