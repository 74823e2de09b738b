"""Stage `pretrain-bilstm`: from windows or bars without labels to an encoder file."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.core.bars import window_bar_interval_s
from moola.core.features import N_FEATURES, RobustScaler, require_input_dim
from moola.core.splits import Intervals, forward_chain
from moola.core.windows import rows_of
from moola.errors import InvalidData, WrongUsage
from moola.files import remove_leftovers, sha256_file
from moola.fit.synthetic import by_arm, needs_masks, resolve_arms, taker
from moola.locks import alone, lock_beside
from moola.models.model_files import EncoderFile, encoder_sha256, read_encoder, write_encoder
from moola.models.network import EncoderArchitecture, build_encoder
from moola.options.option_fields import refuse_out_of_range
from moola.options.training_options import PretrainOptions
from moola.provenance.learned_times import seen_times, spread, times_learned, usable_rows, with_window_bars
from moola.tables.cutting import WindowSource, open_source
from moola.training.device import ALONE, ProcessGroup, prepare_device, training_dtype
from moola.training.encoder_training import Pretraining, PretrainPlan, build_pretraining
from moola.training.loop import FitPlan, OnEpoch, fit
from moola.training.pretext_tasks import ArmSettings, MaskPlan

log = logging.getLogger(__name__)
SCALER_WINDOWS = 5000
# Neighbouring windows say the same, so that more of them would only take longer.
VAL_WINDOWS = 2000
# Options that do not change the result of an epoch, so that a resumed command may differ in them.
NOT_IN_DIGEST = ("resume", "output", "input", "split", "start_from")
SCRATCH_HIDDEN, SCRATCH_LAYERS = 128, 2


def pretrain(options: PretrainOptions, on_epoch: OnEpoch, team: ProcessGroup = ALONE) -> dict[str, Any]:
    """Learn the pretext tasks on windows without labels; keep the encoder of the best validation epoch.

    Every process of a team calls this with the same options; the first one writes.
    """
    _check_options(options)
    lock = alone(lock_beside(options.output), f"pretrain into {options.output}")
    with lock if team.leads else contextlib.nullcontext():
        return _pretrain(options, on_epoch, team)


def check_inputs(options: PretrainOptions) -> None:
    """Refuse options and an input that no process could learn from."""
    _check_options(options)
    _opened(options)


def _opened(options: PretrainOptions) -> tuple[PretrainOptions, WindowSource]:
    """Open the input, and choose what it allows where the options leave that open."""
    max_gap_s = None if options.max_gap_hours is None else options.max_gap_hours * 3600
    options = with_window_bars(options)
    source = open_source(options.input, options.stride, max_gap_s, options.window_bars)
    return resolve_arms(options, source), source


def _pretrain(options: PretrainOptions, on_epoch: OnEpoch, team: ProcessGroup) -> dict[str, Any]:
    started = time.monotonic()
    if team.leads:
        remove_leftovers(options.output, checkpoint_of(options.output))
    options, source = _opened(options)
    input_sha256 = sha256_file(options.input)
    usable, held_out = usable_rows(options.split, options.input, source, input_sha256)
    train_rows, val_rows = _later_stretch(source.intervals, usable, options.val_fraction)
    val_rows = spread(val_rows, VAL_WINDOWS)
    start = _start(options)
    # Weights that go on from others keep the scaler that those were learned behind.
    scaler = start.scaler if start else RobustScaler.fit(source.features(spread(train_rows, SCALER_WINDOWS)))
    options = _with_sizes(options, start)
    assert options.arms is not None
    device = prepare_device(options.device, options.threads)
    objective = _objective(options, source, scaler, start, (train_rows, val_rows), device, team)
    deciding = {key: str(value) for key, value in asdict(options).items() if key not in NOT_IN_DIGEST}
    split_sha256 = sha256_file(options.split) if options.split else None
    deciding |= {"input_sha256": input_sha256, "split_sha256": str(split_sha256), "device": device.type}
    deciding["devices"] = str(team.size)
    if options.start_from is not None:
        deciding["start_sha256"] = str(encoder_sha256(options.start_from))
    checkpoint = checkpoint_of(options.output)
    fit_plan = FitPlan(
        options.epochs, options.patience, 0.01, options.seed, checkpoint, options.resume, deciding, team=team
    )
    state = fit(objective, fit_plan, on_epoch)
    learned = np.concatenate([train_rows, val_rows])
    record = {
        "arms": list(options.arms),
        "mask": f"{objective.plan.masks.strategy} {objective.plan.masks.mask_ratio:g}",
        "mirror_windows": objective.plan.mirror,
        "input_sha256": input_sha256,
        "split_sha256": split_sha256,
        **times_learned(rows_of(source.intervals.start_us, learned), rows_of(source.intervals.end_us, learned)),
        "bar_interval_s": window_bar_interval_s(source.intervals.start_us, source.intervals.end_us, source.window_bars),
        "n_train_windows": len(train_rows),
        "n_val_windows": len(val_rows),
        "best_epoch": state.best_epoch,
        "val_loss": state.best_loss,
        "val_loss_by_arm": by_arm(state),
        "seed": options.seed,
        **_series(source),
        **_continued_from(options, start),
    }
    if team.leads:
        write_encoder(options.output, objective.module.encoder.cpu(), scaler, source.window_bars, record)
        checkpoint.unlink(missing_ok=True)
    n_left_out = len(source) - len(usable)
    return {
        "output": str(options.output),
        "encoder_sha256": sha256_file(options.output) if team.leads else None,
        "device": device.type,
        "n_windows": len(source),
        "n_held_out": n_left_out,
        "held_out_reason": held_out,
        "epochs_run": state.epoch,
        "seconds": time.monotonic() - started,
        **record,
    }


def _objective(
    options: PretrainOptions,
    source: WindowSource,
    scaler: RobustScaler,
    start: EncoderFile | None,
    rows: tuple[np.ndarray, np.ndarray],
    device: torch.device,
    team: ProcessGroup,
) -> Pretraining:
    """Return what the loop is to make small: the pretext tasks' losses on train rows, evaluated on val rows."""
    assert options.arms is not None
    train_rows, val_rows = rows
    assert options.hidden_dim is not None
    assert options.num_layers is not None
    architecture = EncoderArchitecture("bilstm", N_FEATURES, options.hidden_dim, options.num_layers)
    encoder = build_encoder(architecture, options.seed)
    if start is not None:
        encoder.load_state_dict(start.encoder.state_dict(), strict=True)
    encoder.training_dtype = training_dtype(options.precision, device)
    settings = ArmSettings(options.soft_tau, options.soft_tau_windows)
    module = build_pretraining(encoder, options.arms, source.window_bars, options.seed, settings)
    mask_ratio = options.mask_ratio if needs_masks(options.arms) else 0.0
    masks = MaskPlan(options.mask_strategy, mask_ratio, options.patch_size)
    mirror = bool(options.mirror_windows)
    plan = PretrainPlan(
        masks, mirror, options.epoch_windows, options.batch_size, options.learning_rate, options.seed, device, team
    )
    objective = Pretraining(module, taker(source, scaler), train_rows, val_rows, plan)
    objective.fit_arms(spread(train_rows, SCALER_WINDOWS))
    return objective


def _start(options: PretrainOptions) -> EncoderFile | None:
    """Read the encoder to go on from; it may have learned on windows of another length, which its LSTM reads as well.

    Raises
    ------
    WrongUsage
        A size of the encoder is asked for that it has not.
    """
    if options.start_from is None:
        return None
    start = read_encoder(options.start_from)
    for name in ("hidden_dim", "num_layers"):
        asked, stored = getattr(options, name), getattr(start.encoder.architecture, name)
        if asked not in (None, stored):
            raise WrongUsage(
                f"--{name.replace('_', '-')} must agree with the encoder of --start-from, but it is {asked} and "
                f"{options.start_from} has {stored}. Leave it out."
            )
    n = start.n_tensors
    log.info("Encoder: %d of %d tensors taken from %s; it goes on from there.", n, n, options.start_from)
    if times := seen_times(start.pretraining):
        log.info("It has seen %s: that counts as seen by the new encoder too.", times)
    return start


def _with_sizes(options: PretrainOptions, start: EncoderFile | None) -> PretrainOptions:
    if start is not None:
        sizes = start.encoder.architecture
        assert isinstance(sizes, EncoderArchitecture)
        return replace(options, hidden_dim=sizes.hidden_dim, num_layers=sizes.num_layers)
    hidden_dim, num_layers = options.hidden_dim or SCRATCH_HIDDEN, options.num_layers or SCRATCH_LAYERS
    return replace(options, hidden_dim=hidden_dim, num_layers=num_layers)


def _series(source: WindowSource) -> dict[str, Any]:
    """Return which symbols were learned from and how long their bars are, as far as the input says."""
    # These windows end when their last bar is over, one interval after it began.
    interval_s = window_bar_interval_s(source.intervals.start_us, source.intervals.end_us, source.window_bars + 1)
    return {"symbols": source.symbols, "timeframes": [] if interval_s is None else [_timeframe(interval_s)]}


def _timeframe(interval_s: float) -> str:
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if interval_s >= seconds and interval_s % seconds == 0:
            return f"{interval_s / seconds:g}{unit}"
    return f"{interval_s:g}s"


def _continued_from(options: PretrainOptions, start: EncoderFile | None) -> dict[str, Any]:
    """Return what the record has of the encoder before: its hash, and its own record with all that it has seen."""
    if start is None:
        return {}
    return {
        "start": str(options.start_from),
        "start_sha256": encoder_sha256(options.start_from),
        "also_learned": [start.pretraining],
    }


def _check_options(options: PretrainOptions) -> None:
    refuse_out_of_range(options)
    require_input_dim(options.input_dim)
    if options.output.is_dir():
        raise WrongUsage(f"--output must name a file, but {options.output} is a folder. Name a file in it.")
    if options.arms is not None and not options.arms:
        raise WrongUsage(
            "--arms must name at least one pretext task, but it names none. Leave it out for the default ones."
        )


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


def checkpoint_of(output: Path) -> Path:
    """Return where an interrupted pretraining keeps its last finished epoch."""
    return output.parent / f"{output.name}.checkpoint"
