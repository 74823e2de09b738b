"""Windows beyond the labelled ones: synthetic windows from training rows, and sources without labels."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from moola.augment import Made, SynthesisPlan, Window, make_windows, training_ranges, windows_of
from moola.augment.synthesis import n_variants
from moola.core.bars import upside_down
from moola.core.features import RobustScaler
from moola.core.seeds import generator
from moola.core.splits import Split
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.options.option_fields import TaskName, refuse_out_of_range
from moola.options.table_options import CpsaPreviewOptions
from moola.options.training_options import PretrainOptions, TrainOptions
from moola.provenance.learned_times import with_window_bars
from moola.tables.bar_table import read_bars
from moola.tables.cutting import WindowSource
from moola.tables.split_file import read_split, verify_split
from moola.tables.window_file import WindowTable, read_windows
from moola.training.encoder_training import ARMS, DEFAULT_ARMS, MASKED_ARMS, TakeWindows
from moola.training.loop import FitState
from moola.training.pretext_tasks import Windows

log = logging.getLogger(__name__)


def check_cpsa(options: TrainOptions) -> None:
    """Refuse stages that cannot be."""
    if len(options.cpsa_schedule) > options.epochs:
        raise WrongUsage(
            f"--cpsa-schedule must have at most one stage per epoch, but it has {len(options.cpsa_schedule)} and "
            f"--epochs is {options.epochs}. Leave some out."
        )


def synthetic_windows(options: TrainOptions, table: WindowTable, split: Split) -> WindowTable:
    """Make the synthetic windows that `train` chooses from in each epoch, and report how many were rejected."""
    made = make_synthetic(options, table, split, max(options.cpsa_schedule or (options.cpsa_ratio,)))
    log.info("%s", made.summary(len(split.train)))
    return made.table


def make_synthetic(
    options: TrainOptions | CpsaPreviewOptions, table: WindowTable, split: Split, top_ratio: float
) -> Made:
    """Make synthetic windows of train rows; bars of val and test windows are out of reach.

    Raises
    ------
    WrongUsage, InvalidData
        See `make_windows`; bars are named but the windows have no times.
    """
    plan = SynthesisPlan(options.augmentations, options.mirror_classes, n_variants(top_ratio), options.seed)
    if set(options.augmentations) == {"mirror"} or options.bars is None:
        return make_windows(table.take(split.train), plan)
    if table.start_us is None or table.end_us is None:
        raise InvalidData(
            f"--bars must be found by the windows' times, but {options.data} has no start_ts and end_ts. "
            "Cut the windows again with `moola windows`."
        )
    spans_us = np.stack([table.start_us, table.end_us], axis=1)
    held_out = np.concatenate([split.val, split.test])
    ranges_us = training_ranges(spans_us[split.train], spans_us[held_out])
    return make_windows(table.take(split.train), plan, read_bars(options.bars), ranges_us)


def preview(options: CpsaPreviewOptions) -> tuple[dict[str, Any], list[tuple[Window, Window]]]:
    """Make the synthetic windows that `train` would make; return the counts, and pairs of parent and made.

    Every chain is shown before one is shown twice, each with another parent where there are enough.
    """
    refuse_out_of_range(options)
    options = with_window_bars(options)
    table = read_windows(options.data, options.window_bars)
    split_file = read_split(options.split)
    data_sha256 = sha256_file(options.data)
    leak_proof = verify_split(split_file, options.split, table, data_sha256, options.allow_overlap)
    if leak_proof is False:
        log.warning("The split's parts overlap (--allow-overlap): made windows may resemble held-out ones.")
    split = split_file.split
    made = make_synthetic(options, table, split, options.cpsa_ratio)
    shown = _to_show(made, options.n, options.seed)
    parents, windows = windows_of(table.take(split.train[made.parent_row[shown]])), windows_of(made.table.take(shown))
    by_chain = Counter("+".join(chain) for chain in made.chains)
    by_augmentation = Counter(name for chain in made.chains for name in chain)
    result = {
        "output": str(options.output),
        "n_train": len(split.train),
        "n_made": len(made.table),
        "n_parents": len(set(made.parent_row.tolist())),
        "made": {name: by_augmentation[name] for name in dict.fromkeys(options.augmentations)},
        "made_by_chain": dict(sorted(by_chain.items())),
        "n_rejected": sum(made.rejected.values()),
        "rejected": made.rejected,
        "shown": [window.window_id for window in windows],
    }
    return result, list(zip(parents, windows, strict=True))


def _to_show(made: Made, n: int, seed: int) -> np.ndarray:
    """Choose rows of made windows: the chain shown least so far, then the parent shown least, then by lot."""
    waiting = generator(seed, "cpsa preview").permutation(len(made.table)).tolist()
    n_chain: Counter[tuple[str, ...]] = Counter()
    n_parent: Counter[int] = Counter()
    shown: list[int] = []
    for _ in range(min(n, len(waiting))):
        # A short chain shows one thing at a time, so it goes first.
        best = min(
            waiting,
            key=lambda row: (n_chain[made.chains[row]], len(made.chains[row]), n_parent[int(made.parent_row[row])]),
        )
        waiting.remove(best)
        n_chain[made.chains[best]] += 1
        n_parent[int(made.parent_row[best])] += 1
        shown.append(best)
    return np.array(shown, dtype=np.int64)


# From a source of windows to what pretraining pretext tasks read.


def resolve_arms(options: PretrainOptions, source: WindowSource) -> PretrainOptions:
    """Choose the pretext tasks and the mirror that the windows allow, where the options leave them open.

    Raises
    ------
    InvalidData
        A pretext task, or the mirror, is asked for and the windows carry no prices.
    """
    has_prices = source.ohlc(np.arange(min(len(source), 1))) is not None
    arms: tuple[TaskName, ...] = options.arms or DEFAULT_ARMS
    mirror = options.mirror_windows
    if options.arms is None:
        arms = DEFAULT_ARMS if has_prices else tuple(name for name in DEFAULT_ARMS if not ARMS[name].needs_prices)
        if not has_prices:
            log.warning("These windows carry features alone: pretraining by %s only: it pays little.", arms[0])
    reading = [name for name in arms if ARMS[name].needs_prices] + (["--mirror-windows"] if mirror else [])
    if reading and not has_prices:
        raise InvalidData(
            f"pretext tasks that read prices must have the bars of the windows, but {options.input} carries features "
            f"alone and "
            f"{', '.join(reading)} was asked for. Convert the 4-D file again (`moola convert`), or give --arms masked."
        )
    return replace(options, arms=arms, mirror_windows=has_prices if mirror is None else mirror)


def needs_masks(arms: tuple[str, ...]) -> bool:
    """Return whether a pretext task learns from hidden bars."""
    return any(name in MASKED_ARMS for name in arms)


def taker(source: WindowSource, scaler: RobustScaler, visible_bars: int | None = None) -> TakeWindows:
    """Return a function that takes windows by row, some of them upside down, with scaled features.

    With `visible_bars` these are of the first bars alone.
    """
    seen = slice(visible_bars)

    def take(rows: np.ndarray, flipped: np.ndarray) -> Windows:
        ohlc = source.ohlc(rows)
        if ohlc is None:
            return Windows(scaler.transform(source.features(rows)[:, seen]), None, source.position[rows])
        features = scaler.transform(source.features(rows, flipped)[:, seen])
        if flipped.any():
            ohlc = np.where(flipped[:, None, None], upside_down(ohlc), ohlc)
        return Windows(features, ohlc[:, seen], source.position[rows], flipped)

    return take


def by_arm(state: FitState) -> dict[str, float]:
    """Return each pretext task's validation loss at the best epoch (1.0 = uninformed baseline)."""
    best = state.history[state.best_epoch - 1]
    named = {key.removeprefix("val_").removesuffix("_loss"): value for key, value in best.items()}
    return {name: named[name] for name in ARMS if name in named}
