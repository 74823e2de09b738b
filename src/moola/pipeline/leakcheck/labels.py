"""A label that stands in the features: one number at one bar that gives the class away."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from moola.core.features import FEATURE_NAMES
from moola.core.seeds import generator
from moola.evaluation.class_metrics import average_precision
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject

N_PERMUTATIONS = 200
MAX_ROWS = 1500
# AUROC 0.98 either way up, as distance from a coin.
NEAR_PERFECT = 0.96
BY_FAR = 0.75
RULE = (
    "a leak is one value at one bar with AUROC of at least 0.98 where no permutation of the labels, over all bars and "
    "features, comes to three quarters of its distance from 0.5"
)


def label_in_features(subject: Subject) -> list[Finding]:
    """Look for one feature at one bar that separates a class of the train rows (nearly) perfectly.

    The rule, with d = |2 AUROC - 1|: d >= 0.96, and the largest d over all bars, features and 200
    permutations of the labels is at most 0.75 d. Real patterns rarely get near the first, and few rows
    never get past the second.
    """
    rows = subject.split.train
    rows = rows[[subject.table.label[row] is not None for row in rows]]
    if len(rows) > MAX_ROWS:
        rows = np.sort(generator(subject.options.seed, "leakcheck", "rows").permutation(rows)[:MAX_ROWS])
    classes = sorted(set(subject.table.label[rows].tolist()))
    if len(classes) < 2:
        found = f"train has {len(classes)} classes: nothing to separate"
        return [Finding("label in features", "note", found)]
    values = subject.features[rows].reshape(len(rows), -1)
    ranks = rankdata(values, axis=0)
    findings, strongest = [], (0.0, 0, "", 0.0)
    for name in classes[1:] if len(classes) == 2 else classes:
        positive = subject.table.label[rows] == name
        distance = _distance(ranks, positive[None, :].astype(np.float64))[0]
        by_chance = _largest_by_chance(ranks, positive, subject.options.seed)
        place = int(distance.argmax())
        if distance[place] >= NEAR_PERFECT and by_chance <= BY_FAR * distance[place]:
            findings.append(_leak(subject, rows, values[:, place], positive, name, place, by_chance))
        strongest = max(strongest, (float(distance[place]), place, name, by_chance))
    return (findings or [_fine(strongest, len(rows))]) + constant_features(subject)


def _distance(
    ranks: Float[np.ndarray, "rows values"], positive: Float[np.ndarray, "labellings rows"]
) -> Float[np.ndarray, "labellings values"]:
    """|2 AUROC - 1| of each value for each labelling (Mann and Whitney 1947; ties count half)."""
    n_positive = positive.sum(axis=1, keepdims=True)
    n_negative = positive.shape[1] - n_positive
    wins = positive @ ranks - n_positive * (n_positive + 1) / 2
    distance: np.ndarray = np.abs(2 * wins / (n_positive * n_negative) - 1)
    return distance


def _largest_by_chance(ranks: np.ndarray, positive: np.ndarray, seed: int) -> float:
    rng = generator(seed, "leakcheck", "labels")
    shuffled = np.stack([rng.permutation(positive) for _ in range(N_PERMUTATIONS)]).astype(np.float64)
    return float(_distance(ranks, shuffled).max())


def _leak(
    subject: Subject, rows: np.ndarray, value: np.ndarray, positive: np.ndarray, name: str, place: int, by_chance: float
) -> Finding:
    bar, column = divmod(place, len(FEATURE_NAMES))
    ones = np.ones((1, len(rows)))
    precision = max(float(average_precision(sign * value, positive, ones)[0]) for sign in (1.0, -1.0))
    row = int(rows[int(positive.argmax())])
    found = (
        f"{FEATURE_NAMES[column]} at bar {bar} alone tells {name} from the rest on {len(rows)} train rows: average "
        f"precision {precision:.3f} at a share of {positive.mean():.3f}; the best AUROC of {N_PERMUTATIONS} shuffled "
        f"labellings is {0.5 + by_chance / 2:.3f} (as {subject.name(row)}: {value[int(positive.argmax())]:.6g})"
    )
    advice = "Find what writes this value from the label; compute the features anew with `moola convert`."
    return Finding("label in features", "leak", found, advice, row, bar, FEATURE_NAMES[column])


def _fine(strongest: tuple[float, int, str, float], n_rows: int) -> Finding:
    distance, place, name, by_chance = strongest
    bar, column = divmod(place, len(FEATURE_NAMES))
    found = (
        f"no single value gives a class away on {n_rows} train rows; the strongest is {FEATURE_NAMES[column]} at bar "
        f"{bar} for {name}, AUROC {0.5 + distance / 2:.3f} (shuffled labels reach {0.5 + by_chance / 2:.3f}; {RULE})"
    )
    return Finding("label in features", "ok", found)


def constant_features(subject: Subject) -> list[Finding]:
    """Features that never change in the train rows: they teach nothing, and hint at a fault upstream."""
    values = subject.features[subject.split.train]
    flat = np.ptp(values, axis=(0, 1)) == 0
    if not flat.any():
        return []
    names = ", ".join(FEATURE_NAMES[column] for column in np.flatnonzero(flat))
    found = f"{int(flat.sum())} features have one value in all train rows: {names}"
    return [Finding("label in features", "note", found, "Look at the bars they come from.", feature=names)]
