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
NEAR_PERFECT_RATIO = 0.8
READINGS = ("the mean over its bars", "a ridge regression over its bars")
ADVICE = "Find what writes this value from the label; compute the features anew with `moola convert`."
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


def label_in_columns(subject: Subject) -> list[Finding]:
    """Look for one feature whose values over a whole window tell a class of the held-out rows too well.

    A label that is spread over the bars of a column shows at no single bar. Two simple models read each column
    alone: the mean over its bars, and a ridge regression over them, fitted on train rows and judged on val and test
    rows. A leak is an AUROC of at least 0.98, and for body and wicks, which say next to nothing of what comes, of at
    least 0.9, where no permutation of the labels comes to three quarters of its distance from 0.5.
    """
    what, table = "label in columns", subject.table
    labelled = np.array([name is not None for name in table.label])
    train, judged = (rows[labelled[rows]] for rows in (subject.split.train, _held_out(subject)))
    train = train[:: max(len(train) // MAX_ROWS, 1)]
    classes = sorted(set(table.label[train].tolist()))
    positives = {name: table.label[judged] == name for name in (classes[1:] if len(classes) == 2 else classes)}
    positives = {name: is_one for name, is_one in positives.items() if 0 < is_one.sum() < len(judged)}
    if len(classes) < 2 or not positives:
        return [Finding(what, "note", "train or held-out rows have one class: nothing to separate")]
    rng = generator(subject.options.seed, "leakcheck", "columns")
    strongest, findings = (0.0, ""), []
    for column, feature in enumerate(FEATURE_NAMES):
        least = NEAR_PERFECT_RATIO if feature.endswith("ratio") else NEAR_PERFECT
        for name, is_one in positives.items():
            target = (table.label[train] == name).astype(np.float64)
            scores = _readings(subject.features[train][..., column], subject.features[judged][..., column], target)
            labellings = np.stack([is_one, *(rng.permutation(is_one) for _ in range(N_PERMUTATIONS))])
            distance = _distance(rankdata(scores, axis=0), labellings.astype(np.float64))
            how = int(distance[0].argmax())
            found, by_chance = float(distance[0, how]), float(distance[1:].max())
            strongest = max(strongest, (found, feature))
            if found >= least and by_chance <= BY_FAR * found:
                told = (
                    f"{feature} alone, by {READINGS[how]}, tells {name} from the rest on {len(judged)} held-out rows: "
                    f"AUROC {0.5 + found / 2:.3f}; the best of {N_PERMUTATIONS} shuffled labellings is "
                    f"{0.5 + by_chance / 2:.3f}"
                )
                findings.append(Finding(what, "leak", told, ADVICE, int(judged[0]), None, feature))
    fine = f"no column alone tells a class of {len(judged)} held-out rows; the best, {strongest[1]}, has AUROC "
    return findings or [Finding(what, "ok", f"{fine}{0.5 + strongest[0] / 2:.3f}")]


def _held_out(subject: Subject) -> np.ndarray:
    return np.concatenate([subject.split.val, subject.split.test])


def _readings(
    train: Float[np.ndarray, "train bars"], judged: Float[np.ndarray, "judged bars"], target: np.ndarray
) -> Float[np.ndarray, "judged 2"]:
    """Score the judged rows by one column's mean over bars, and by a ridge regression of the target on its bars."""
    mean, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    known, asked = (train - mean) / scale, (judged - mean) / scale
    weights = np.linalg.solve(known @ known.T + known.shape[1] * np.eye(len(known)), target - target.mean())
    return np.stack([judged.mean(axis=1), asked @ (known.T @ weights)], axis=1)


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
    return Finding("label in features", "leak", found, ADVICE, row, bar, FEATURE_NAMES[column])


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
