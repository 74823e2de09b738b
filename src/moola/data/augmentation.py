"""CPSA: synthetic training windows that keep their class, made on prices (SPEC.md 8).

Each augmentation is one callable and one entry in `AUGMENTATIONS`. It sees training rows alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from moola.core.bars import price_problems
from moola.core.features import relative_features
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData, WrongUsage

# States before a move that mean the same whichever way the price goes.
UNDIRECTED = ("consolidation", "retracement")


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


def mirror(table: WindowTable, swaps: dict[str, str]) -> WindowTable:
    """Turn prices upside down: p becomes 1/p, so that up is down and ratios are kept.

    High becomes 1/low and low 1/high; pointers stay where they are. Windows whose class has no mirror
    are left out. The label holds by symmetry: a state without direction has none after the mirror.
    """
    known = np.array([name in swaps for name in table.label])
    table = table.take(np.flatnonzero(known))
    assert table.ohlc is not None
    label = np.array([swaps[name] for name in table.label], dtype=object)
    # Open, low, high, close of 1/p: the old low is the new high.
    ohlc = (1.0 / table.ohlc)[:, :, [0, 2, 1, 3]]
    names = [f"{name}~mirror" for name in table.window_id]
    return replace(table, window_id=names, ohlc=ohlc, features=None, label=label)


def can_mirror(train: WindowTable, mirror_classes: tuple[str, ...]) -> bool:
    """Tell whether there are bars to mirror, and a class whose mirror is known."""
    return train.ohlc is not None and bool(class_swaps(train.classes, mirror_classes))


AUGMENTATIONS: dict[str, Callable[[WindowTable, dict[str, str]], WindowTable]] = {"mirror": mirror}


def synthesise(train: WindowTable, mirror_classes: tuple[str, ...]) -> WindowTable:
    """Make the synthetic windows of training rows, with their features.

    Raises
    ------
    InvalidData
        The rows carry no prices, no class can be mirrored, or a made window breaks a bar rule.
    """
    if train.ohlc is None:
        raise InvalidData(
            "augmentation must have the bars of the windows, but this relative file carries features alone. "
            "Convert the 4-D file anew with `moola convert`, or train on it directly."
        )
    made = AUGMENTATIONS["mirror"](train, class_swaps(train.classes, mirror_classes))
    if not len(made):
        raise InvalidData(
            f"augmentation must know how classes mirror, but {', '.join(train.classes)} may have a direction. "
            "Say --mirror-classes same, or swaps such as bull:bear."
        )
    assert made.ohlc is not None
    if problems := price_problems(made.ohlc.reshape(-1, 4)):
        raise InvalidData.from_problems("synthetic windows", problems, "Report this: it is a defect.")
    return replace(made, features=relative_features(made.ohlc))
