"""Which given labels are likely wrong: confident learning on probabilities of models that did not see them."""

from __future__ import annotations

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
    """Tell which windows stand off the diagonal of the confident joint: confidently of another class than given."""
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
