"""What lies behind single figures: the precision-recall steps of a class, and who is taken for whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from moola.data.contracts.prediction_table import Predictions


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at each distinct score, from the surest down, and the class's share of the windows.

    `area`, the sum of precision times the gain in recall, is the average precision (SPEC.md 6).
    """

    recall: Float[np.ndarray, " scores"]
    precision: Float[np.ndarray, " scores"]
    share: float

    @property
    def area(self) -> float:
        """Average precision."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())


def precision_recall(score: Float[np.ndarray, " windows"], positive: np.ndarray) -> PrecisionRecall | None:
    """Return the steps of one class against the rest; windows with equal scores enter together.

    None without positives or without negatives, where the average precision does not exist either.
    """
    n_positive = int(positive.sum())
    if n_positive in (0, len(positive)):
        return None
    order = np.argsort(-score, kind="stable")
    group_end = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(positive[order])[group_end]
    return PrecisionRecall(hits / n_positive, hits / (group_end + 1), n_positive / len(positive))


def confusion(predictions: Predictions) -> Int[np.ndarray, "classes classes"]:
    """Count labelled windows by true class (rows) and most probable class (columns)."""
    n_classes = len(predictions.class_names)
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    labelled = predictions.class_index >= 0
    np.add.at(counts, (predictions.class_index[labelled], predictions.class_prob[labelled].argmax(axis=1)), 1)
    return counts
