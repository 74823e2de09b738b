"""Make `base`, the encoder inside the package: `python scripts/base/make_base.py --bars FOLDER --output base.pt`.

The folder holds hourly bars (`eurusd_1h_2007_2018.parquet` and so on). They are resampled to 2, 4 and 8 hours and days,
and only bars that are over by 2014-06-01 are seen. Pretext tasks masked, structure and moves, the last with wide
definitions. The defaults are the recipe of the shipped file, which was made on a GPU (decision 0015): run on a GPU too,
they make it again, but the same bytes are not promised, least of all on another device or build of torch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from series import TIMEFRAMES, UNTIL, Series, all_series, hourly_of
from stored import StoredPretraining, store, stored_in

from moola.core.features import N_FEATURES, RobustScaler
from moola.core.seeds import generator
from moola.core.splits import forward_chain
from moola.core.windows import WINDOW_BARS
from moola.fit.synthetic import taker
from moola.models.model_files import write_encoder
from moola.models.network import EncoderArchitecture, build_encoder
from moola.provenance.learned_times import spread, times_learned
from moola.tables.bar_table import read_bars
from moola.tables.cutting import BarSource
from moola.training.device import prepare_device, training_dtype
from moola.training.encoder_training import ARM_WEIGHTS, PretrainModule, PretrainPlan
from moola.training.loop import FitPlan, FitState, OnEpoch, fit
from moola.training.pretext_tasks import ArmSettings, MaskedArm, MaskPlan, Sizes
from moola.training.structure_tasks import MovesArm, StructureArm, WideMovesArm

LICENCE = "Apache-2.0"
VAL_FRACTION, VAL_WINDOWS, SCALER_WINDOWS, MOST_BYTES = 0.05, 2000, 5000, 4_000_000


@dataclass(frozen=True)
class Recipe:
    """What decides the encoder beside its bars."""

    hidden_dim: int = 160
    num_layers: int = 2
    epochs: int = 55
    epoch_windows: int = 60_000
    batch_size: int = 512
    learning_rate: float = 2e-3
    mask_ratio: float = 0.15
    definitions: str = "many"
    seed: int = 17


# `many` are the wide ones; `plain` are those of `pretrain-bilstm`.
ARM_OF = {"many": WideMovesArm, "plain": MovesArm}


def moves_arm(recipe: Recipe, encoded_dim: int) -> MovesArm:
    """Build the task `moves` with its definitions, which the seed decides."""
    return ARM_OF[recipe.definitions](Sizes(N_FEATURES, WINDOW_BARS, encoded_dim), recipe.seed)


def build(recipe: Recipe) -> PretrainModule:
    """Build the encoder and the heads of its tasks."""
    encoder = build_encoder(
        EncoderArchitecture("bilstm", N_FEATURES, recipe.hidden_dim, recipe.num_layers), recipe.seed
    )
    sizes = Sizes(N_FEATURES, WINDOW_BARS, encoder.output_dim)
    arms = {
        "masked": MaskedArm(sizes, recipe.seed),
        "structure": StructureArm(sizes, recipe.seed),
        "moves": moves_arm(recipe, encoder.output_dim),
    }
    for arm in arms.values():
        arm.prepare(encoder, ArmSettings())
    return PretrainModule(encoder, arms, WINDOW_BARS)


def divided(source: BarSource) -> tuple[np.ndarray, np.ndarray]:
    """Return train rows, and some of a later, purged stretch."""
    parts = forward_chain(source.intervals, VAL_FRACTION, 0.0)
    return parts.train, spread(parts.val, VAL_WINDOWS)


def scaler_of(source: BarSource, train_rows: np.ndarray) -> RobustScaler:
    """Fit the scaler on some train windows of all series."""
    return RobustScaler.fit(source.features(spread(train_rows, SCALER_WINDOWS)))


def objective_of(
    recipe: Recipe, source: BarSource, scaler: RobustScaler, folder: Path, device: torch.device
) -> StoredPretraining:
    """Put module and stored windows together."""
    module = build(recipe)
    module.encoder.training_dtype = training_dtype("auto", device)
    train_rows, val_rows = divided(source)
    masks = MaskPlan("patch", recipe.mask_ratio, 7)
    plan = PretrainPlan(masks, True, recipe.epoch_windows, recipe.batch_size, recipe.learning_rate, recipe.seed, device)
    stored = stored_in(folder, recipe.definitions, device)
    objective = StoredPretraining(module, stored, taker(source, scaler), train_rows, val_rows, plan)
    objective.fit_arms(spread(train_rows, SCALER_WINDOWS))
    return objective


def learned(objective: StoredPretraining, recipe: Recipe, on_epoch: OnEpoch) -> FitState:
    """Train; the best epoch's weights stay."""
    return fit(objective, FitPlan(recipe.epochs, 0, 0.01, recipe.seed), on_epoch)


def record_of(recipe: Recipe, series: Series, state: FitState, seconds: float, device: torch.device) -> dict[str, Any]:
    """Say what was learned from: markets, timeframes, times, hours, licence, and how."""
    train_rows, val_rows = divided(series.source)
    rows = np.concatenate([train_rows, val_rows])
    intervals = series.source.intervals
    assert intervals.start_us is not None
    assert intervals.end_us is not None
    told = series.told()
    hours = np.unique(series.bars.start_us // TIMEFRAMES["1h"] % 24).tolist()
    return {
        "name": "base",
        "arms": ["masked", "structure", "moves"],
        "mask": f"patch {recipe.mask_ratio:g}",
        "mirror_windows": True,
        **times_learned(intervals.start_us[rows], intervals.end_us[rows]),
        # Of several lengths: no one says how far these bars stand apart.
        "bar_interval_s": None,
        "symbols": list(dict.fromkeys(row["symbol"] for row in told)),
        "timeframes": list(TIMEFRAMES),
        "series": told,
        "hours_utc": hours,
        "until": UNTIL,
        "licence": LICENCE,
        "input_sha256": None,
        "split_sha256": None,
        "n_train_windows": len(train_rows),
        "n_val_windows": len(val_rows),
        "best_epoch": state.best_epoch,
        "val_loss": state.best_loss,
        "seed": recipe.seed,
        "moves_weight": ARM_WEIGHTS["moves"],
        "recipe": asdict(recipe),
        "made_on": device.type,
        "seconds": round(seconds),
    }


def read_folder(folder: Path) -> Series:
    """Read the hourly bars of a folder; files that begin after the last moment give none."""
    hourly = [hourly_of(path, read_bars(path)) for path in sorted(folder.glob("*_1h_*.parquet"))]
    return all_series([bars for bars in hourly if len(bars)])


def thinned(series: Series, most: int, seed: int) -> Series:
    """Keep so many windows, drawn by the seed; 0 keeps all."""
    first = series.source.first_bar
    if not 0 < most < len(first):
        return series
    kept = np.sort(generator(seed, "base windows").permutation(len(first))[:most])
    return Series(series.bars, BarSource(series.bars, first[kept], WINDOW_BARS))


def make(
    series: Series, recipe: Recipe, output: Path, device: torch.device, n_workers: int, say: Callable[[str], None]
) -> None:
    """Store windows and targets, train, write the encoder file."""
    begun = time.monotonic()
    scaler = scaler_of(series.source, divided(series.source)[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store(folder, series.source, scaler, {recipe.definitions: moves_arm(recipe, 2)}, n_workers)
        say(f"{len(series.source)} windows of {len(series.bars)} bars stored after {time.monotonic() - begun:.0f} s")
        objective = objective_of(recipe, series.source, scaler, folder, device)
        state = learned(objective, recipe, lambda row: say(_line(row, begun)))
    record = record_of(recipe, series, state, time.monotonic() - begun, device)
    data = write_encoder(output, objective.module.encoder.cpu(), scaler, WINDOW_BARS, record)
    say(f"{output}: {len(data)} bytes")
    if len(data) >= MOST_BYTES:
        raise SystemExit(f"base must be under {MOST_BYTES} bytes, but it has {len(data)}. Lower --hidden-dim.")


def _line(row: dict[str, Any], begun: float) -> str:
    losses = ", ".join(f"{key[4:]} {value:.4f}" for key, value in row.items() if key.startswith("val_"))
    return f"epoch {row['epoch']}: {losses} ({time.monotonic() - begun:.0f} s)"


def main() -> None:
    """Make the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, required=True, help="folder with hourly bars, SYMBOL_1h_*.parquet")
    parser.add_argument("--output", type=Path, required=True, help="encoder file to write")
    for name, value in asdict(Recipe()).items():
        choices = list(ARM_OF) if name == "definitions" else None
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, choices=choices)
    parser.add_argument("--windows", type=int, default=0, help="windows to learn from, drawn by the seed; 0 takes all")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--workers", type=int, default=1, help="processes that make targets")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads that learn")
    given = parser.parse_args()
    recipe = Recipe(**{name: getattr(given, name) for name in asdict(Recipe())})
    series = thinned(read_folder(given.bars), given.windows, recipe.seed)
    make(series, recipe, given.output, prepare_device(given.device, given.threads), given.workers, print)


if __name__ == "__main__":
    main()
