"""Labels evaluated: which are likely wrong, and how far two annotators agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


def confident_class(
    class_index: Int[np.ndarray, " windows"], class_prob: Float[np.ndarray, "windows classes"]
) -> Int[np.ndarray, " windows"]:
    """Return the class that each window confidently belongs to; -1 where it is confident of none.

    A class is confident where its probability reaches the mean probability that it has over the windows given it
    (Northcutt, Jiang and Chuang 2021, equation 2); of several, the likeliest. A class that no window was given has no
    such mean and is never confident.

    Parameters
    ----------
    class_index
        Given class of each window.
    class_prob
        Probabilities from models that were not trained on the window.
    """
    n_classes = class_prob.shape[1]
    threshold = np.full(n_classes, np.inf)
    for place in range(n_classes):
        given = class_index == place
        if given.any():
            threshold[place] = class_prob[given, place].mean()
    confident = class_prob >= threshold
    likeliest = np.where(confident, class_prob, -1.0).argmax(axis=1)
    return np.where(confident.any(axis=1), likeliest, -1)


def suspected(
    class_index: Int[np.ndarray, " windows"], class_prob: Float[np.ndarray, "windows classes"]
) -> Bool[np.ndarray, " windows"]:
    """Return which windows are off the diagonal of the confident joint: confidently of another class than given."""
    found = confident_class(class_index, class_prob)
    off: np.ndarray = (found >= 0) & (found != class_index)
    return off


def by_suspicion(
    class_index: Int[np.ndarray, " windows"], class_prob: Float[np.ndarray, "windows classes"]
) -> Int[np.ndarray, " windows"]:
    """Order windows by how likely their given label is wrong, the likeliest first.

    First those off the diagonal of the confident joint, then the others; within both by the normalised margin, the
    given class's probability less the largest of the other classes, the smallest first. Equal ones keep their order.
    """
    rows = np.arange(len(class_index))
    others = class_prob.copy()
    others[rows, class_index] = -np.inf
    margin = class_prob[rows, class_index] - others.max(axis=1, initial=-np.inf)
    order: np.ndarray = np.lexsort((margin, ~suspected(class_index, class_prob)))
    return order


# How far two annotators agree: kappa for the class, bars for the pointers.


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
        raise ValueError(f"annotators must label the same windows, but there are {len(first)} and {len(second)}")
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
    first_bar: Int[np.ndarray, " expansions"], second_bar: Int[np.ndarray, " expansions"]
) -> PointerAgreement:
    """Compare the bars at which two annotators put the same pointers."""
    apart = np.abs(np.asarray(first_bar, dtype=np.int64) - np.asarray(second_bar, dtype=np.int64))
    if not len(apart):
        return PointerAgreement(0, None, None)
    return PointerAgreement(len(apart), float(np.median(apart)), float((apart <= TOLERANCE_BARS).mean()))
