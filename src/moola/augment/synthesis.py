"""From training rows to synthetic windows: the table of augmentations, chains drawn, made, checked and counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import polars as pl
from jaxtyping import Int

from moola.augment.training_windows import Source, Window, windows_of
from moola.augment.transforms import (
    can_mirror,
    class_swaps,
    mirror,
    mirror_keeps_label,
    quality_problem,
    recut,
    recut_keeps_label,
    rescale,
    rescale_keeps_label,
    transplant,
    transplant_keeps_label,
    warp,
    warp_keeps_label,
    wicks,
    wicks_keeps_label,
)
from moola.core.bars import Bars
from moola.core.features import relative_features
from moola.core.seeds import generator
from moola.errors import InvalidData, WrongUsage
from moola.tables.window_file import WindowTable

# How many synthetic windows per epoch has, and how many are made to choose from.


MAX_VARIANTS = 4


def staged_ratios(stages: tuple[float, ...], n_epochs: int) -> tuple[float, ...]:
    """Spread stages evenly over epochs: the ratio of synthetic to real windows of each epoch.

    Epoch `e` of `n` is in stage `floor(e * stages / n)`; no stages give no ratios.

    Examples
    --------
    >>> staged_ratios((0.25, 0.5, 1.0), 6)
    (0.25, 0.25, 0.5, 0.5, 1.0, 1.0)
    """
    if not stages:
        return ()
    return tuple(stages[epoch * len(stages) // n_epochs] for epoch in range(n_epochs))


def n_variants(top_ratio: float) -> int:
    """Return how many windows to make of each training row, so that epochs see fresh ones: 1 to 4."""
    return min(max(math.ceil(MAX_VARIANTS * top_ratio), 1), MAX_VARIANTS)


# The table of augmentations: adding one is a file, an entry here and a test.


@dataclass(frozen=True)
class Augmentation:
    """One way to make a window of another.

    Attributes
    ----------
    make
        Returns the made window, or `None` where this window gives none.
    keeps_label
        The check that it declares: why the made window's label would not hold, or `None`.
    lacking
        What a window lacks when `make` gives none, in a few words.
    is_random
        Whether two calls can make two windows.
    needs_bars
        Whether it reads the bar table.
    """

    make: Callable[[Window, Source, np.random.Generator], Window | None]
    keeps_label: Callable[[Window, Window, Source], str | None]
    lacking: str
    is_random: bool = True
    needs_bars: bool = False


# In the order in which a chain applies them: what reads a window's own bars before what makes other ones.
AUGMENTATIONS: dict[str, Augmentation] = {
    "recut": Augmentation(recut, recut_keeps_label, "no other cut is allowed", needs_bars=True),
    "transplant": Augmentation(transplant, transplant_keeps_label, "no context to replace"),
    "warp": Augmentation(warp, warp_keeps_label, "no pointers that can move"),
    "rescale": Augmentation(rescale, rescale_keeps_label, "nothing to rescale"),
    "wicks": Augmentation(wicks, wicks_keeps_label, "nothing to redraw"),
    "mirror": Augmentation(mirror, mirror_keeps_label, "its class has no mirror", is_random=False),
}


Chain = tuple[str, ...]


@dataclass(frozen=True)
class SynthesisPlan:
    """How synthetic windows are made.

    Attributes
    ----------
    augmentations
        Names of `AUGMENTATIONS`; of several, each window takes a chain of some of them, drawn at random.
    mirror_classes
        How the mirror treats classes, see `class_swaps`.
    n_variants
        Windows to make of each training row; the mirror alone, which is always the same, makes one.
    """

    augmentations: Chain = ("mirror",)
    mirror_classes: tuple[str, ...] = ()
    n_variants: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """Synthetic windows with what they come from, and how many were rejected for which reason.

    Attributes
    ----------
    table
        The windows with features; the column `parent` of `extra` names the training row, the name of each
        says how it was made (`<parent>~warp+mirror.2` is the second window of that parent).
    parent_row
        Row of the parent in the table of training rows.
    chains
        The augmentations of each window, in the order in which they were applied.
    rejected
        How many were not kept, by reason, the most frequent first.
    """

    table: WindowTable
    parent_row: Int[np.ndarray, " made"]
    chains: list[Chain]
    rejected: dict[str, int]

    def summary(self, n_train: int) -> str:
        """Return the line of the log: made, rejected and why."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
        n_rejected = sum(self.rejected.values())
        return (
            f"Augmentation: {len(self.table)} synthetic windows made from {n_train} training rows, "
            f"{n_rejected} rejected{f': {why}' if why else ''}."
        )


def can_synthesise(train: WindowTable, augmentations: Chain, mirror_classes: tuple[str, ...]) -> bool:
    """Return whether there are bars to make windows of, and for the mirror alone a class that mirrors."""
    if set(augmentations) == {"mirror"}:
        return can_mirror(train, mirror_classes)
    return train.ohlc is not None


def make_windows(
    train: WindowTable,
    plan: SynthesisPlan,
    bars: Bars | None = None,
    ranges_us: Int[np.ndarray, "ranges 2"] | None = None,
) -> Made:
    """Make the synthetic windows of training rows.

    Parameters
    ----------
    train
        Training rows with their bars, and no others.
    bars
        The table that they were cut from, for `recut`.
    ranges_us
        The time in which bars may be used, see `training_ranges`; none without it.

    Returns
    -------
    Made
        Rows in the order of their parents. Each window depends on the seed, its parent's name and the set of
        training rows, never on their order.

    Raises
    ------
    WrongUsage
        No augmentation, an unknown one, or one that needs bars without bars.
    InvalidData
        The rows carry no prices, no class can be mirrored, or every made window was rejected.
    """
    chosen = _chosen(plan.augmentations, bars)
    if train.ohlc is None:
        raise InvalidData(
            "augmentation must have the bars of the windows, but this relative file carries features alone. "
            "Convert the 4-D file again with `moola convert`, or train on it directly."
        )
    swaps = class_swaps(train.classes, plan.mirror_classes)
    windows = windows_of(train)
    by_name = tuple(sorted(windows, key=lambda window: window.window_id))
    ranges = ranges_us if ranges_us is not None else np.empty((0, 2), dtype=np.int64)
    source = Source(by_name, swaps, bars, ranges)
    expansion_bars = source.expansion_bars()
    row_of = {name: row for row, name in enumerate(train.window_id)}
    kept: list[tuple[Window, int, Chain]] = []
    rejected: Counter[str] = Counter()
    for window in windows:
        rng = generator(plan.seed, "augmentation", window.window_id)
        for variant, chain in enumerate(_chains(window, chosen, plan.n_variants, source, rng), start=1):
            made = _make(window, chain, source, rng, expansion_bars)
            if isinstance(made, str):
                rejected[made] += 1
                continue
            number = f".{variant}" if chosen != ("mirror",) else ""
            name = f"{window.window_id}~{'+'.join(chain)}{number}"
            kept.append((replace(made, window_id=name), row_of[window.window_id], chain))
    if not kept:
        raise InvalidData(_nothing_made(train, rejected))
    return Made(_table(train, kept), np.array([row for _, row, _ in kept]), [c for *_, c in kept], _sorted(rejected))


def synthesise(train: WindowTable, mirror_classes: tuple[str, ...]) -> WindowTable:
    """Make the mirror of each training row whose class has one, with features; see `make_windows`."""
    return make_windows(train, SynthesisPlan(mirror_classes=mirror_classes)).table


def _chosen(names: Chain, bars: Bars | None) -> Chain:
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "nothing"
        raise WrongUsage(
            f"--augmentations must be of {', '.join(sorted(AUGMENTATIONS))}, but it has {found}. Name one."
        )
    chosen = tuple(name for name in AUGMENTATIONS if name in names)
    bare = [name for name in chosen if AUGMENTATIONS[name].needs_bars and bars is None]
    if bare:
        raise WrongUsage(
            f"{bare[0]} must have the bars that windows were cut from, but --bars is missing. Name the bar table."
        )
    return chosen


def _chains(
    window: Window, chosen: Chain, n_variants: int, source: Source, rng: np.random.Generator
) -> Sequence[Chain]:
    """Draw the chains of one window; the same fixed window is never made twice."""
    possible = [name for name in chosen if name != "mirror" or window.label in source.swaps]
    chains = [chain for n in range(1, len(possible) + 1) for chain in combinations(possible, n)]
    drawn: list[Chain] = []
    for _ in range(n_variants):
        fresh = [c for c in chains if c not in drawn or any(AUGMENTATIONS[name].is_random for name in c)]
        if not fresh:
            break
        drawn.append(fresh[rng.integers(len(fresh))])
    return drawn


def _make(
    window: Window, chain: Chain, source: Source, rng: np.random.Generator, expansion_bars: tuple[int, int]
) -> Window | str:
    """Apply a chain, each link held to the check that it declares; a reason in place of a rejected window."""
    made = window
    for name in chain:
        augmentation = AUGMENTATIONS[name]
        following = augmentation.make(made, source, rng)
        if following is None:
            return f"{name}: {augmentation.lacking}"
        if price_problem := quality_problem(window, following, expansion_bars):
            return f"{name}: {price_problem}"
        if lost := augmentation.keeps_label(made, following, source):
            return f"{name}: {lost}"
        made = following
    return made


def _sorted(rejected: Counter[str]) -> dict[str, int]:
    return dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0])))


def _nothing_made(train: WindowTable, rejected: Counter[str]) -> str:
    if not rejected:
        return (
            f"augmentation needs to know how classes mirror, but {', '.join(train.classes)} may have a direction. "
            "Set --mirror-classes same, or swaps such as bull:bear."
        )
    why = ", ".join(f"{count} {reason}" for reason, count in _sorted(rejected).items())
    return (
        f"augmentation must make windows that keep their label and look like their parents, but all "
        f"{rejected.total()} were rejected ({why}). Choose other --augmentations."
    )


def _table(train: WindowTable, kept: list[tuple[Window, int, Chain]]) -> WindowTable:
    windows = [window for window, _, _ in kept]
    rows = np.array([row for _, row, _ in kept])
    ohlc = np.stack([window.ohlc for window in windows])
    parents = pl.Series("parent", [train.window_id[row] for row in rows], dtype=pl.String)
    extra = train.extra[rows] if len(train.extra.columns) else pl.DataFrame()
    return WindowTable(
        [window.window_id for window in windows],
        ohlc,
        relative_features(ohlc),
        np.array([window.label for window in windows], dtype=object),
        np.array([window.start_bar for window in windows], dtype=np.int64),
        np.array([window.end_bar for window in windows], dtype=np.int64),
        _times([window.first_us for window in windows]),
        _times([window.last_us for window in windows]),
        np.array([window.symbol for window in windows], dtype=object),
        extra.with_columns(parents) if len(extra.columns) else pl.DataFrame([parents]),
    )


def _times(times_us: list[int | None]) -> np.ndarray | None:
    known = [time for time in times_us if time is not None]
    return np.array(known, dtype=np.int64) if len(known) == len(times_us) else None
