"""Cheap references: what a network must beat to be worth its while. scikit-learn only, no pointers.

Each is one callable and one entry in `LEARNERS`: train features and classes in, a predictor of other windows
out. `REFERENCES` does both in one call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from moola.core.seeds import derive_seed
from moola.core.windows import inner_zone

Predictor = Callable[[Float[np.ndarray, "judged bars features"]], Float[np.ndarray, "judged classes"]]
Learner = Callable[[Float[np.ndarray, "train bars features"], Int[np.ndarray, " train"], int], Predictor]
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
N_NEIGHBOURS = 15
INVERSE_PENALTY = 0.1


def summary_features(features: Float[np.ndarray, "windows bars features"]) -> Float[np.ndarray, "windows summaries"]:
    """Mean, spread, least, greatest and sum of sizes of every feature in each zone of the window."""
    first, last = inner_zone(features.shape[1])
    zones = (features[:, :first], features[:, first:last], features[:, last:], features)
    parts = []
    for zone in zones:
        parts += [zone.mean(axis=1), zone.std(axis=1), zone.min(axis=1), zone.max(axis=1), np.abs(zone).sum(axis=1)]
    return np.concatenate(parts, axis=1)


def prevalence(_train: np.ndarray, train_class: np.ndarray, _seed: int) -> Predictor:
    """Say the class shares of the training windows, whatever the window."""
    shares = np.bincount(train_class) / len(train_class)
    return lambda judged: np.tile(shares, (len(judged), 1))


def logistic(train: np.ndarray, train_class: np.ndarray, _seed: int) -> Predictor:
    """Penalised logistic regression on standardised summary features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=2000))
    model.fit(summary_features(train), train_class)
    return lambda judged: np.asarray(model.predict_proba(summary_features(judged)))


def summary_trees(train: np.ndarray, train_class: np.ndarray, seed: int) -> Predictor:
    """Extremely randomised trees (Geurts et al. 2006) on summary features; leaves of 3 keep it calibrated."""
    from sklearn.ensemble import ExtraTreesClassifier

    state = derive_seed(seed, "summary_trees") % 2**32
    model = ExtraTreesClassifier(N_TREES, min_samples_leaf=3, random_state=state, n_jobs=1)
    model.fit(summary_features(train), train_class)
    return lambda judged: np.asarray(model.predict_proba(summary_features(judged)))


def nearest(train: np.ndarray, train_class: np.ndarray, _seed: int) -> Predictor:
    """Say the class shares among the 15 nearest training windows (Fix and Hodges 1951) by summary features."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), KNeighborsClassifier(min(N_NEIGHBOURS, len(train))))
    model.fit(summary_features(train), train_class)
    return lambda judged: np.asarray(model.predict_proba(summary_features(judged)))


def at_once(learn: Learner) -> Reference:
    """Make one call of learning and predicting."""

    def reference(train: np.ndarray, train_class: np.ndarray, judged: np.ndarray, seed: int) -> np.ndarray:
        return learn(train, train_class, seed)(judged)

    return reference


LEARNERS: dict[str, Learner] = {
    "prevalence": prevalence,
    "logistic": logistic,
    "summary_trees": summary_trees,
    "nearest": nearest,
}
REFERENCES: dict[str, Reference] = {name: at_once(learn) for name, learn in LEARNERS.items()}
