"""How far two annotators agree: kappa for the class, bars for the pointers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

TOLERANCE_BARS = 3


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Agreement on classes beyond what chance alone would give (Cohen 1960).

    Parameters
    ----------
    first, second
        Class of each window by either annotator, in the same order.

    Returns
    -------
    float or None
        1 for full agreement, 0 for that of chance, below 0 for less. None where it does not exist: no window, or both
        gave every window the same one class.
    """
    if len(first) != len(second):
        raise ValueError(f"annotators must judge the same windows, but there are {len(first)} and {len(second)}")
    n = len(first)
    if not n:
        return None
    observed = sum(a == b for a, b in zip(first, second, strict=True))
    by_first, by_second = Counter(first), Counter(second)
    # Whole numbers up to the last step, so that "all by chance" is found exactly.
    by_chance = sum(count * by_second[name] for name, count in by_first.items())
    if by_chance == n * n:
        return None
    return (observed * n - by_chance) / (n * n - by_chance)


@dataclass(frozen=True)
class PointerAgreement:
    """Distances between two annotators' pointers.

    Attributes
    ----------
    n
        Pointers compared.
    median_abs_bars
        Median absolute distance in bars; None without any.
    share_within
        Share at most the tolerance apart; None without any.
    """

    n: int
    median_abs_bars: float | None
    share_within: float | None


def pointer_agreement(
    first_bar: Int[np.ndarray, " expansions"],
    second_bar: Int[np.ndarray, " expansions"],
    tolerance_bars: int = TOLERANCE_BARS,
) -> PointerAgreement:
    """Compare the bars at which two annotators put the same pointers."""
    apart = np.abs(np.asarray(first_bar, dtype=np.int64) - np.asarray(second_bar, dtype=np.int64))
    if not len(apart):
        return PointerAgreement(0, None, None)
    return PointerAgreement(len(apart), float(np.median(apart)), float((apart <= tolerance_bars).mean()))
