"""The table of augmentations: adding one is a file, an entry here and a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moola.data.augmentation.mirror import mirror, mirror_keeps_label
from moola.data.augmentation.recut import recut, recut_keeps_label
from moola.data.augmentation.rescale import rescale, rescale_keeps_label
from moola.data.augmentation.source import Source
from moola.data.augmentation.transplant import transplant, transplant_keeps_label
from moola.data.augmentation.warp import warp, warp_keeps_label
from moola.data.augmentation.wicks import wicks, wicks_keeps_label
from moola.data.augmentation.window import Window


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
