"""The price mirror: up becomes down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moola.core.bars import upside_down
from moola.data.augmentation.source import Source
from moola.data.augmentation.window import Window
from moola.data.contracts.window_table import WindowTable
from moola.errors import WrongUsage

# States before a move that mean the same whichever way the price goes.
UNDIRECTED = ("consolidation", "retracement")


def mirror(window: Window, source: Source, _rng: np.random.Generator) -> Window | None:
    """Turn prices upside down: p becomes 1/p, so that up is down and ratios are kept.

    High becomes 1/low and low 1/high; pointers stay where they are. `None` where the class has no mirror.
    """
    if window.label not in source.swaps:
        return None
    return replace(window, ohlc=upside_down(window.ohlc), label=source.swaps[window.label])


def mirror_keeps_label(parent: Window, made: Window, source: Source) -> str | None:
    """Every return is turned around, pointers stay, and the class is the one that the swaps give.

    The label holds by symmetry: a state without direction has none after the mirror.
    """
    turned = np.allclose(np.log(made.ohlc[:, [0, 2, 1, 3]]) + np.log(parent.ohlc), 0.0, atol=1e-9)
    pointers = (made.start_bar, made.end_bar) == (parent.start_bar, parent.end_bar)
    if not (turned and pointers and made.label == source.swaps.get(parent.label)):
        return "it is no mirror"
    return None


def class_swaps(classes: list[str], mirror_classes: tuple[str, ...]) -> dict[str, str]:
    """Say which class a mirrored window has: `same`, swaps as `bull:bear`, or the undirected alone.

    Raises
    ------
    WrongUsage
        A name that is no class of the data, or a form that is neither `same` nor `a:b`.
    """
    if not mirror_classes:
        return {name: name for name in classes if name in UNDIRECTED}
    if mirror_classes == ("same",):
        return {name: name for name in classes}
    swaps: dict[str, str] = {}
    for pair in mirror_classes:
        left, _, right = pair.partition(":")
        unknown = [name for name in (left, right) if name not in classes]
        if unknown:
            raise WrongUsage(
                f"--mirror-classes must be `same` or swaps of classes as bull:bear, but {pair!r} names "
                f"{unknown[0]!r} and the classes are {', '.join(classes)}. Name two of them."
            )
        if left in swaps or right in swaps:
            raise WrongUsage(
                f"--mirror-classes must give each class one mirror, but {pair!r} names one a second time. Name it once."
            )
        swaps |= {left: right, right: left}
    return swaps


def can_mirror(train: WindowTable, mirror_classes: tuple[str, ...]) -> bool:
    """Tell whether there are bars to mirror, and a class whose mirror is known."""
    return train.ohlc is not None and bool(class_swaps(train.classes, mirror_classes))
