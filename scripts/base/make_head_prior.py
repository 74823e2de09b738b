"""Make the head prior of `base`: `make_head_prior.py --bars eurusd_1h.parquet xauusd_1h.parquet ... --output prior.pt`.

Linear heads are fitted, as `train` fits them, to random definitions of moves (decision 0009: never a rule that labels)
on windows among those that `base` learned from, over by 2014-06-01. The classes of a fit are whether a state around a
move, such as the range before it, is large or small, cut at a place that is drawn too, which way the move points, or
both at once. Kept are the directions in which the weights of pointers, of large against small, and of up against down
vary most.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from series import UNTIL, all_series, hourly_of

from moola.core.features import mirrored_features, relative_features
from moola.core.move_finders import STATES, log_prices, states
from moola.core.seeds import generator
from moola.core.splits import Intervals
from moola.core.wide_definitions import WIDE_FINDERS, draw_wide
from moola.core.windows import WINDOW_BARS, take_windows
from moola.models.head_prior import HeadPrior, write_prior
from moola.models.model_files import read_encoder, weights_digest
from moola.tables.bar_table import read_bars
from moola.training.finetune import run_encoder
from moola.training.linear_fit import EncodedWindows, LinearPlan, fit_linear_heads

N_DEFINITIONS, N_STATES, N_WINDOWS, N_EACH = 100, 2, 4000, 500
# The penalties of a fit to 600 windows; nothing is chosen by folds, whose fits would only cost time.
PLAN = LinearPlan(pointer_penalties=(0.02,), class_penalties=(0.1,), n_blocks=1, tolerance=3e-3)
CUTS, LEAST_CLASS_SHARE = (0.3, 0.7), 0.1
POINTER_DIRECTIONS, CLASS_DIRECTIONS = 64, 96


@dataclass(frozen=True)
class Encoded:
    """Windows of bars, encoded both ways."""

    ohlc: np.ndarray
    upright: np.ndarray
    turned: np.ndarray


def encode(ohlc: np.ndarray) -> Encoded:
    """Encode windows by `base`."""
    file, device = read_encoder(Path("base")), torch.device("cpu")
    features = relative_features(ohlc)
    ways = (
        run_encoder(file.encoder.eval(), file.scaler.transform(one), device)
        for one in (features, mirrored_features(features))
    )
    return Encoded(ohlc, *ways)


@dataclass(frozen=True)
class Weights:
    """Weights of all fits: of the start, of the end, of large against small and of up against down."""

    start: list[np.ndarray]
    end: list[np.ndarray]
    size: list[np.ndarray]
    side: list[np.ndarray]


def fitted(windows: EncodedWindows) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the weights of both pointers, and those of the second class against the first; None where one is rare."""
    if not LEAST_CLASS_SHARE < windows.class_index.mean() < 1 - LEAST_CLASS_SHARE:
        return np.zeros((2, 0)), None
    heads, _ = fit_linear_heads(windows, 2, PLAN)
    assert heads.pointer_head is not None
    first, second = heads.class_head.weight.detach().double().numpy()
    return heads.pointer_head.weight.detach().double().numpy(), second - first


def weights_of(windows: Encoded, n_definitions: int, n_each: int, seed: int) -> Weights:
    """Fit heads to every definition."""
    prices, rng, found = log_prices(windows.ohlc), generator(seed, "head prior"), Weights([], [], [], [])
    for number, definition in enumerate(draw_wide(n_definitions, windows.ohlc.shape[1], seed)):
        pointers = WIDE_FINDERS[definition.family](prices, definition)
        state = states(prices, pointers, definition.look_bars)
        rows = np.flatnonzero(pointers[:, 0] >= 0)
        if len(rows) < n_each:
            continue
        rows = np.sort(rng.choice(rows, n_each, replace=False))
        windows_of = EncodedWindows(
            windows.upright[rows],
            windows.turned[rows],
            (state[rows, 0] > 0).astype(np.int64),
            pointers[rows],
            Intervals(None, None, np.arange(n_each)),
            [1, 0],
        )
        pointing, way = fitted(windows_of)
        if way is None:
            continue
        found.start.append(pointing[0])
        found.end.append(pointing[1])
        found.side.append(way)
        is_up = windows_of.class_index
        for which in rng.choice(np.arange(1, len(STATES)), N_STATES, replace=False):
            is_large = (state[rows, which] > np.quantile(state[rows, which], rng.uniform(*CUTS))).astype(np.int64)
            _, size = fitted(replace(windows_of, class_index=is_large, class_mirror=[0, 1]))
            # Large and up, or small and down: upside down it is the other. Of a drift, the way of the drift.
            _, way = fitted(replace(windows_of, class_index=1 - (is_large ^ is_up)))
            found.size.extend([] if size is None else [size])
            found.side.extend([] if way is None else [way])
        if (number + 1) % 10 == 0:
            print(json.dumps({"definition": number + 1, "fits": len(found.size)}), flush=True)
    return found


def factor_of(groups: list[list[np.ndarray]], n_directions: int) -> np.ndarray:
    """Return a factor of the covariance of weights, `(values, directions)`, to which each group adds as much."""
    stacked = [np.stack(one) for one in groups]
    even = np.concatenate([one / np.sqrt((one**2).sum()) for one in stacked])
    _, size, axes = np.linalg.svd(even, full_matrices=False)
    return np.asarray((axes * size[:, None])[:n_directions].T)


def main() -> None:
    """Learn the prior and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, nargs="+", required=True, help="hourly bars, a file for each symbol")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--definitions", type=int, default=N_DEFINITIONS)
    parser.add_argument("--windows", type=int, default=N_WINDOWS)
    parser.add_argument("--seed", type=int, default=23)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # That no block of time is held out is meant.
    logging.disable(logging.WARNING)
    begun = time.monotonic()
    series = all_series([hourly_of(path, read_bars(path)) for path in options.bars])
    chosen = generator(options.seed, "windows of the prior").choice(series.source.first_bar, options.windows, False)
    windows = encode(take_windows(series.bars.ohlc, np.sort(chosen), WINDOW_BARS))
    found = weights_of(windows, options.definitions, N_EACH, options.seed)
    prior = HeadPrior(
        weights_digest(read_encoder(Path("base")).encoder),
        (factor_of([found.start], POINTER_DIRECTIONS), factor_of([found.end], POINTER_DIRECTIONS)),
        factor_of([found.size, found.side], CLASS_DIRECTIONS),
    )
    record = {
        "bars": [path.name for path in options.bars],
        "until": UNTIL,
        "definitions": options.definitions,
        "windows": options.windows,
        "fits": len(found.size),
        "seed": options.seed,
    }
    write_prior(options.output, prior, record)
    print(json.dumps({**record, "seconds": round(time.monotonic() - begun), "bytes": options.output.stat().st_size}))


if __name__ == "__main__":
    main()
