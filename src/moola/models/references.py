"""References without a network of ours: cheap classifiers of scikit-learn, peers out of aeon, matching of paths.

Each is one callable and one entry in `LEARNERS`: train features and classes in, a predictor of other windows
out. `REFERENCES` does both in one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from moola.core.features import FEATURE_NAMES
from moola.core.seeds import derive_seed
from moola.core.span_matching import dtw_squared, z_normalised
from moola.core.windows import inner_zone
from moola.errors import InvalidData, OperationFailed

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
    """Predict the class shares of the training windows, whatever the window."""
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
    """Predict the class shares among the 15 nearest training windows (Fix and Hodges 1951) by summary features."""
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


# Peers from the literature on classifying time series, out of aeon (the extra `peers`): what a network is up against.


ALPHAS = np.logspace(-3, 3, 10)
CALIBRATION_FOLDS = 5
EXTRA = 'pip install "moola[peers]"'


def _channels_first(features: Float[np.ndarray, "windows bars features"]) -> Float[np.ndarray, "windows features bars"]:
    return np.ascontiguousarray(features.transpose(0, 2, 1), dtype=np.float64)


def _state(seed: int, name: str) -> int:
    return derive_seed(seed, name) % 2**31


def _need_aeon(name: str, error: ImportError) -> OperationFailed:
    return OperationFailed(f"{name} must have aeon, but it cannot be imported ({error}). Install it with: {EXTRA}")


def require_aeon(name: str) -> None:
    """Refuse a peer before any work where aeon is missing.

    Raises
    ------
    OperationFailed
        aeon is not installed, or what it needs is not.
    """
    try:
        import aeon  # noqa: F401
    except ImportError as error:
        raise _need_aeon(name, error) from error


def quant(train: np.ndarray, train_class: np.ndarray, seed: int) -> Predictor:
    """QUANT (Dempster, Schmidt, Webb 2024): quantiles of dyadic intervals, and extremely randomised trees."""
    try:
        from aeon.classification.interval_based import QUANTClassifier
    except ImportError as error:
        raise _need_aeon("quant", error) from error
    model = QUANTClassifier(random_state=_state(seed, "quant"))
    model.fit(_channels_first(train), train_class)
    return lambda judged: np.asarray(model.predict_proba(_channels_first(judged)))


def minirocket(train: np.ndarray, train_class: np.ndarray, seed: int) -> Predictor:
    """MiniRocket (Dempster, Schmidt, Webb, KDD 2021): shares of positive values of 10,000 fixed kernels, and ridge."""
    try:
        from aeon.transformations.collection.convolution_based import MiniRocket
    except ImportError as error:
        raise _need_aeon("minirocket", error) from error
    from sklearn.preprocessing import StandardScaler

    kernels = MiniRocket(n_jobs=1, random_state=_state(seed, "minirocket"))
    found = np.asarray(kernels.fit_transform(_channels_first(train)))
    head = _ridge_with_platt(StandardScaler(with_mean=False), found, train_class)
    return lambda judged: np.asarray(head.predict_proba(np.asarray(kernels.transform(_channels_first(judged)))))


def multirocket_hydra(train: np.ndarray, train_class: np.ndarray, seed: int) -> Predictor:
    """MultiRocket with Hydra (Dempster, Schmidt, Webb 2023): pooled kernels and competing kernels, and ridge."""
    try:
        from aeon.transformations.collection.convolution_based import HydraTransformer, MultiRocket
    except ImportError as error:
        raise _need_aeon("multirocket_hydra", error) from error
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import StandardScaler

    state = _state(seed, "multirocket_hydra")
    hydra = HydraTransformer(n_jobs=1, random_state=state)
    rocket = MultiRocket(n_jobs=1, random_state=state)
    channels = _channels_first(train)
    counts, pooled = np.asarray(hydra.fit_transform(channels)), np.asarray(rocket.fit_transform(channels))
    n_counts = counts.shape[1]
    n_all = n_counts + pooled.shape[1]
    scaler = ColumnTransformer(
        [("hydra", _sparse_scaler(), slice(0, n_counts)), ("rocket", StandardScaler(), slice(n_counts, n_all))]
    )
    head = _ridge_with_platt(scaler, np.concatenate([counts, pooled], axis=1), train_class)

    def predict(judged: np.ndarray) -> np.ndarray:
        channels = _channels_first(judged)
        found = [np.asarray(kernels.transform(channels)) for kernels in (hydra, rocket)]
        return np.asarray(head.predict_proba(np.concatenate(found, axis=1)))

    return predict


def _sparse_scaler() -> Any:
    """Build Hydra's own scaler: square roots of counts, centred where not 0, rare columns damped."""
    from sklearn.base import BaseEstimator, TransformerMixin

    class SparseScaler(TransformerMixin, BaseEstimator):
        def fit(self, counts: np.ndarray, _y: Any = None) -> Any:
            roots = np.sqrt(np.clip(counts, 0, None))
            self.mean_ = roots.mean(axis=0)
            self.spread_ = roots.std(axis=0, ddof=1) + (roots == 0).mean(axis=0) ** 4 + 1e-8
            return self

        def transform(self, counts: np.ndarray) -> np.ndarray:
            roots = np.sqrt(np.clip(counts, 0, None))
            return np.asarray((roots - self.mean_) * (roots != 0) / self.spread_)

    return SparseScaler()


def _ridge_with_platt(scaler: Any, found: Float[np.ndarray, "train columns"], train_class: np.ndarray) -> Any:
    """Fit ridge on all rows, and Platt's sigmoid on the scores of folds that it did not see.

    Folds are stretches of the order given within each class, so that windows in time order that share bars mostly
    stay on one side. With more than two classes there is a sigmoid per class, and the sum is made 1.

    Raises
    ------
    InvalidData
        A class has fewer than two windows, so that no fold can leave one out.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline

    rarest = int(np.unique(train_class, return_counts=True)[1].min())
    if rarest < 2:
        raise InvalidData(
            f"calibrating ridge must have two windows of every class, but a class has {rarest}. "
            "Label more of it, or leave this peer out."
        )
    ridge = make_pipeline(scaler, RidgeClassifierCV(alphas=ALPHAS))
    folds = StratifiedKFold(min(CALIBRATION_FOLDS, rarest))
    return CalibratedClassifierCV(ridge, method="sigmoid", cv=folds, ensemble=False).fit(found, train_class)


# Matching of prices, as traders' charting programs do it: no learning, only the nearest windows with a label.


DTW_BAND = 10
CLOSE_RETURN = FEATURE_NAMES.index("log_return_close")


def close_paths(features: Float[np.ndarray, "windows bars features"]) -> Float[np.ndarray, "windows bars"]:
    """Return the z-normalised path of log closes of each window."""
    return z_normalised(np.cumsum(features[:, :, CLOSE_RETURN], axis=1))


def _nearest_by(distance: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Learner:
    """Predict the class shares among the 15 training windows whose path of closes is nearest; ties to the earlier."""

    def learn(train: np.ndarray, train_class: np.ndarray, _seed: int) -> Predictor:
        paths, one_hot = close_paths(train), np.eye(int(train_class.max()) + 1)[train_class]
        n = min(N_NEIGHBOURS, len(paths))

        def predict(judged: np.ndarray) -> np.ndarray:
            order = [np.argsort(distance(paths, query), kind="stable")[:n] for query in close_paths(judged)]
            return np.stack([one_hot[rows].mean(axis=0) for rows in order])

        return predict

    return learn


nearest_dtw = _nearest_by(lambda paths, query: dtw_squared(paths, query, DTW_BAND))
nearest_path = _nearest_by(lambda paths, query: ((paths - query) ** 2).sum(axis=1))

AEON_PEERS: dict[str, Learner] = {"quant": quant, "minirocket": minirocket, "multirocket_hydra": multirocket_hydra}
PEERS: dict[str, Learner] = {**AEON_PEERS, "nearest_dtw": nearest_dtw, "nearest_path": nearest_path}
