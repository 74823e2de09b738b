"""From a source of windows to what pretraining arms read."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from moola.config.options import ArmName
from moola.config.pretrain_options import PretrainOptions
from moola.core.bars import upside_down
from moola.core.scaling import RobustScaler
from moola.data.sources import WindowSource
from moola.errors import InvalidData
from moola.training.arms import ARMS, DEFAULT_ARMS, MASKED_ARMS
from moola.training.arms.arm import Windows
from moola.training.loop import FitState
from moola.training.pretrain import TakeWindows

log = logging.getLogger(__name__)


def resolve_arms(options: PretrainOptions, source: WindowSource) -> PretrainOptions:
    """Choose the arms and the mirror that the windows allow, where the options leave them open.

    Raises
    ------
    InvalidData
        An arm, or the mirror, is asked for and the windows carry no prices.
    """
    has_prices = source.ohlc(np.arange(min(len(source), 1))) is not None
    arms: tuple[ArmName, ...] = options.arms or DEFAULT_ARMS
    mirror = options.mirror_windows
    if options.arms is None:
        arms = DEFAULT_ARMS if has_prices else tuple(name for name in DEFAULT_ARMS if not ARMS[name].needs_prices)
        if not has_prices:
            log.warning("These windows carry features alone: pretraining by %s only: it pays little.", arms[0])
    reading = [name for name in arms if ARMS[name].needs_prices] + (["--mirror-windows"] if mirror else [])
    if reading and not has_prices:
        raise InvalidData(
            f"what reads prices must have the bars of the windows, but {options.input} carries features alone and "
            f"{', '.join(reading)} was asked for. Convert the 4-D file anew (`moola convert`), or give --arms masked."
        )
    return replace(options, arms=arms, mirror_windows=has_prices if mirror is None else mirror)


def needs_masks(arms: tuple[str, ...]) -> bool:
    """Tell whether an arm learns from hidden bars."""
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
    """Return each arm's validation loss at the best epoch (1 is what knowing nothing gets)."""
    best = state.history[state.best_epoch - 1]
    named = {key.removeprefix("val_").removesuffix("_loss"): value for key, value in best.items()}
    return {name: named[name] for name in ARMS if name in named}
