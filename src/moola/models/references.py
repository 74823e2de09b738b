"""Cheap references: what a network must beat to be worth its while. scikit-learn only, no pointers.

Each is one callable and one entry in `REFERENCES`: train features and classes in, probabilities of other
windows out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from moola.core.seeds import derive_seed
from moola.core.windows import inner_zone

Reference = Callable[
    [
        Float[np.ndarray, "train bars features"],
        Int[np.ndarray, " train"],
        Float[np.ndarray, "judged bars features"],
        int,
    ],
    Float[np.ndarray, "judged classes"],
]
N_TREES = 300
INVERSE_PENALTY = 0.1


def summary_features(features: Float[np.ndarray, "windows bars features"]) -> Float[np.ndarray, "windows summaries"]:
    """Mean, spread, least, greatest and sum of sizes of every feature in each zone of the window."""
    first, last = inner_zone(features.shape[1])
    zones = (features[:, :first], features[:, first:last], features[:, last:], features)
    parts = []
    for zone in zones:
        parts += [zone.mean(axis=1), zone.std(axis=1), zone.min(axis=1), zone.max(axis=1), np.abs(zone).sum(axis=1)]
    return np.concatenate(parts, axis=1)


def prevalence(
    _train: np.ndarray, train_class: np.ndarray, judged: np.ndarray, _seed: int
) -> Float[np.ndarray, "judged classes"]:
    """Say the class shares of the training windows, whatever the window."""
    shares = np.bincount(train_class) / len(train_class)
    return np.tile(shares, (len(judged), 1))


def logistic(
    train: np.ndarray, train_class: np.ndarray, judged: np.ndarray, _seed: int
) -> Float[np.ndarray, "judged classes"]:
    """Penalised logistic regression on standardised summary features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=2000))
    model.fit(summary_features(train), train_class)
    return np.asarray(model.predict_proba(summary_features(judged)))


def summary_trees(
    train: np.ndarray, train_class: np.ndarray, judged: np.ndarray, seed: int
) -> Float[np.ndarray, "judged classes"]:
    """Extremely randomised trees (Geurts et al. 2006) on summary features; leaves of 3 keep it calibrated."""
    from sklearn.ensemble import ExtraTreesClassifier

    state = derive_seed(seed, "summary_trees") % 2**32
    model = ExtraTreesClassifier(N_TREES, min_samples_leaf=3, random_state=state, n_jobs=1)
    model.fit(summary_features(train), train_class)
    return np.asarray(model.predict_proba(summary_features(judged)))


REFERENCES: dict[str, Reference] = {"prevalence": prevalence, "logistic": logistic, "summary_trees": summary_trees}
