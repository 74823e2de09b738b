"""Options of `cpsa preview`, and the names of the augmentations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

AugmentationName = Literal["mirror", "warp", "rescale", "recut", "transplant", "wicks"]


@dataclass(frozen=True, kw_only=True)
class CpsaPreviewOptions:
    """Options of `cpsa preview`.

    Parameters
    ----------
    data
        Labelled windows with their bars, relative or 4-D.
    split
        Split file; its train rows alone are made from.
    output
        PNG file for the pictures.
    n
        Made windows to show, each beside its parent.
    augmentations
        How synthetic windows are made; of several, each window takes a chain drawn at random.
    bars
        Bars that the windows were cut from; `recut` needs them.
    cpsa_ratio
        Synthetic windows a real one, as in training: it decides how many variants a window gets.
    mirror_classes
        How the price mirror treats classes: `same`, or swaps such as `bull:bear`.
    allow_overlap
        Accept an old split whose parts overlap.
    window_bars
        Bars a window; as the files named say when left out.
    seed
        Seed of everything random, as in training: the same seed makes the same windows.
    """

    data: Path
    split: Path
    output: Path
    n: int = 6
    augmentations: tuple[AugmentationName, ...] = ("mirror",)
    bars: Path | None = None
    cpsa_ratio: float = 1.0
    mirror_classes: tuple[str, ...] = ()
    allow_overlap: bool = False
    window_bars: int | None = None
    seed: int = 17
