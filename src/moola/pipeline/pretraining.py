"""Stage `pretrain-bilstm`: from windows or bars without labels to an encoder file."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from moola.config.options import PretrainOptions
from moola.core.features import N_FEATURES
from moola.core.scaling import RobustScaler
from moola.core.splits import PARTS, Intervals, forward_chain, index_problems
from moola.data.contracts.frames import rows_of
from moola.data.contracts.split_file import SplitFile, read_split, utc_text
from moola.data.sources import TableSource, WindowSource, open_source
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.models.encoder import EncoderArchitecture, build_encoder
from moola.models.files import write_encoder
from moola.models.masked_autoencoder import build_masked_autoencoder
from moola.training.device import prepare_device
from moola.training.loop import FitPlan, OnEpoch, fit
from moola.training.pretrain import MaskedReconstruction, MaskPlan, loss_of_the_mean

log = logging.getLogger(__name__)
SCALER_WINDOWS = 5000
# Options that do not change the result of an epoch, so that a resumed command may differ in them.
NOT_IN_DIGEST = ("resume", "output")


def pretrain(options: PretrainOptions, on_epoch: OnEpoch) -> dict[str, Any]:
    """Learn to reconstruct masked bars; keep the encoder of the best validation epoch."""
    started = time.monotonic()
    require_input_dim(options.input_dim)
    _check_options(options)
    source = open_source(options.input, options.stride, options.max_gap_hours * 3600, options.window_bars)
    input_sha256 = sha256_file(options.input)
    usable, held_out = _usable_rows(options, source, input_sha256)
    train_rows, val_rows = _later_stretch(source.intervals, usable, options.val_fraction)
    scaler = RobustScaler.fit(source.features(_spread(train_rows, SCALER_WINDOWS)))
    device = prepare_device(options.device, options.threads)
    architecture = EncoderArchitecture("bilstm", N_FEATURES, options.hidden_dim, options.num_layers)
    module = build_masked_autoencoder(build_encoder(architecture, options.seed), options.seed).to(device)
    objective = MaskedReconstruction(
        module,
        lambda rows: scaler.transform(source.features(rows)),
        train_rows,
        val_rows,
        MaskPlan(options.mask_strategy, options.mask_ratio, options.patch_size),
        options.batch_size,
        options.learning_rate,
        options.seed,
        device,
    )
    mean_loss = loss_of_the_mean(objective)
    deciding = {key: str(value) for key, value in asdict(options).items() if key not in NOT_IN_DIGEST}
    split_sha256 = sha256_file(options.split) if options.split else None
    deciding |= {"input_sha256": input_sha256, "split_sha256": str(split_sha256), "device": device.type}
    checkpoint = checkpoint_of(options.output)
    plan = FitPlan(options.epochs, options.patience, 0.01, options.seed, checkpoint, options.resume, deciding)
    state = fit(objective, plan, on_epoch)
    record = {
        "method": f"masked_autoencoder_{options.mask_strategy}",
        "mask_ratio": options.mask_ratio,
        "input_sha256": input_sha256,
        "split_sha256": split_sha256,
        "time_range": _seen(source.intervals, np.concatenate([train_rows, val_rows])),
        "n_train_windows": len(train_rows),
        "n_val_windows": len(val_rows),
        "best_epoch": state.best_epoch,
        "val_loss": state.best_loss,
        "val_loss_of_the_mean": mean_loss,
        "seed": options.seed,
    }
    write_encoder(options.output, module.encoder.cpu(), scaler, source.window_bars, record)
    checkpoint.unlink(missing_ok=True)
    n_left_out = len(source) - len(usable)
    return {
        "output": str(options.output),
        "encoder_sha256": sha256_file(options.output),
        "device": device.type,
        "n_windows": len(source),
        "n_held_out": n_left_out,
        "held_out_reason": held_out,
        "epochs_run": state.epoch,
        "seconds": time.monotonic() - started,
        **record,
    }


def require_input_dim(input_dim: int | None) -> None:
    """Refuse an input width that the data does not have."""
    if input_dim not in (None, N_FEATURES):
        raise WrongUsage(
            f"--input-dim must agree with the data, but it is {input_dim} and networks read the {N_FEATURES} "
            "relative features. Leave it out."
        )


def _check_options(options: PretrainOptions) -> None:
    shares = {"--mask-ratio": options.mask_ratio, "--val-fraction": options.val_fraction}
    for name, share in shares.items():
        if not 0 < share < 1:
            raise WrongUsage(f"{name} must be between 0 and 1, but it is {share}. Give a share such as 0.15.")
    counts = {"--epochs": options.epochs, "--batch-size": options.batch_size, "--stride": options.stride}
    counts |= {
        "--patch-size": options.patch_size,
        "--hidden-dim": options.hidden_dim,
        "--num-layers": options.num_layers,
    }
    for name, count in counts.items():
        if count < 1:
            raise WrongUsage(f"{name} must be at least 1, but it is {count}.")


def _usable_rows(options: PretrainOptions, source: WindowSource, input_sha256: str) -> tuple[np.ndarray, str]:
    """Rows that may be seen: all, or those over before the split's val and test begin."""
    everything = np.arange(len(source))
    if options.split is None:
        if isinstance(source, TableSource) and source.table.classes:
            log.warning(
                "Without --split all %d labelled windows are seen, also those that a split holds out: "
                "runs that use this encoder will be marked as not leak-proof where it saw their bars.",
                len(source),
            )
        return everything, ""
    file = read_split(options.split)
    intervals = source.intervals
    boundary = _first_held_out_us(file, source, input_sha256)
    if boundary is None or intervals.end_us is None:
        if file.data_sha256 not in (None, input_sha256):
            raise InvalidData(
                f"--split must tell which times it holds out, but {options.split} and {options.input} do not both have "
                "times. Write the split anew with `moola split`, on windows with start_ts and end_ts."
            )
        if problems := index_problems(file.split, len(source)):
            raise InvalidData.from_problems(options.split, problems, "Write the split anew with `moola split`.")
        return file.split.train, "the split's train rows alone"
    boundary -= _embargo_us(file, intervals, source.window_bars)
    rows = everything[intervals.end_us < boundary]
    if not len(rows):
        raise InvalidData(
            f"some windows must end before the split's val and test begin ({utc_text(boundary)}), but none of "
            f"{len(source)} does. Give earlier bars."
        )
    return rows, f"windows that run into or follow {utc_text(boundary)}, where the split's val and test begin"


def _embargo_us(file: SplitFile, intervals: Intervals, window_bars: int) -> int:
    """Return the time of the bars that the split purges beyond one window, at the usual bar interval."""
    if intervals.start_us is None or intervals.end_us is None or window_bars < 2:
        return 0
    usual = float(np.median(intervals.end_us - intervals.start_us)) / (window_bars - 1)
    return round(max(file.purge_window - (window_bars - 1), 0) * usual)


def _first_held_out_us(file: SplitFile, source: WindowSource, input_sha256: str) -> int | None:
    """Return when the first held-out bar is, from the split's record or from the windows it divides."""
    starts = [file.time_range_us[part][0] for part in PARTS[1:] if part in file.time_range_us]
    if starts:
        return min(starts)
    start_us = source.intervals.start_us
    held_out = np.concatenate([file.split.val, file.split.test])
    fits = file.data_sha256 in (None, input_sha256) and len(held_out) and held_out.max() < len(source)
    return int(start_us[held_out].min()) if fits and start_us is not None else None


def _later_stretch(intervals: Intervals, usable: np.ndarray, val_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide usable rows into train and a later, purged validation stretch."""
    _, group = np.unique(intervals.group[usable], return_inverse=True)
    mine = Intervals(rows_of(intervals.start_us, usable), rows_of(intervals.end_us, usable), group)
    divided = forward_chain(mine, val_fraction, 0.0)
    if not len(divided.train) or not len(divided.val):
        raise InvalidData(
            f"pretraining must have train and validation windows, but {len(usable)} windows leave "
            f"{len(divided.train)} and {len(divided.val)} after the purge. Give more bars or change --val-fraction."
        )
    return usable[divided.train], usable[divided.val]


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most this many rows, evenly spread, for statistics of the scaler."""
    if len(rows) <= most:
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
    return chosen


def _seen(intervals: Intervals, rows: np.ndarray) -> list[str] | None:
    if intervals.start_us is None or intervals.end_us is None:
        return None
    return [utc_text(intervals.start_us[rows].min()), utc_text(intervals.end_us[rows].max())]


def checkpoint_of(output: Path) -> Path:
    """Return where an interrupted pretraining keeps its last finished epoch."""
    return output.with_name(output.name + ".checkpoint")
