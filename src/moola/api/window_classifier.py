"""For scikit-learn: moola's network as a classifier of windows, folds forward in time, and a warning of windows
that share bars."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from moola.api.frame_conversion import is_frame, polars_of
from moola.api.input_tables import Times, Windows, table_of, time_us_of, with_labels
from moola.api.loaded_model import Model
from moola.core.bars import closing_us
from moola.core.features import FEATURE_NAMES
from moola.core.splits import Intervals, make_folds
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.fit.jobs import fit_job, job_of_rows
from moola.models.model_files import NamedEncoders, recorded_encoders
from moola.options.option_fields import DEFAULT_SEED, DeviceName, HeadKind
from moola.options.training_options import TrainOptions
from moola.stages.make_tables import divide
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable

# Ratios that a bar has by itself, whatever window and scale it stands in.
RATIOS = slice(FEATURE_NAMES.index("body_ratio"), FEATURE_NAMES.index("lower_wick_ratio") + 1)
# So many equal bars in a row are the same bars of the chart; fewer can be alike by chance where ticks are coarse.
IN_A_ROW = 20
# Odd, with bits all over (the golden ratio's): numbers wrap around at 64 bits.
FACTOR = np.uint64(0x9E3779B97F4A7C15)


class OverlapWarning(UserWarning):
    """Predicted windows share 20 bars or more with windows that the classifier was fitted on, and are none of those.

    Figures on them are too good: a model that remembers bars knows their answer. `KFold` on windows cut every few bars
    does this in every fold, `ForwardChaining` in none. Where nothing is evaluated there is no harm, as in predicting
    the window after the last one that was learned.

    Examples
    --------
    >>> import moola
    >>> import warnings
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     scores = cross_val_score(small, windows, windows["label"].to_numpy(), cv=KFold(2))
    >>> {warning.category.__name__ for warning in caught}
    {'OverlapWarning'}
    """


class FittedBars:
    """The bars of the windows that a classifier was fitted on, as hashes.

    Overlapping windows share their first or their last bars. A window of which the first or the last 20 bars (all of
    them, in shorter windows) stand in a row inside a fitted window is one that shares bars; it is found by the bars'
    own ratios, so that times are not needed and prices and features give the same answer. Runs of bars that are all
    alike, such as flat ones, are passed over, and so are windows that share fewer bars.
    """

    def __init__(self, features: Float[np.ndarray, "windows bars 11"]) -> None:
        self.windows = np.unique(_whole(features))
        runs, differ = _runs(features)
        self.runs = np.unique(runs[differ])

    def shared_by(self, features: Float[np.ndarray, "windows bars 11"]) -> int:
        """Count the windows that share bars with fitted ones and are none of them."""
        runs, differ = _runs(features)
        ends = [0, runs.shape[1] - 1]
        shares = (np.isin(runs[:, ends], self.runs) & differ[:, ends]).any(axis=1)
        return int((shares & ~np.isin(_whole(features), self.windows)).sum())

    def warn_of(self, features: Float[np.ndarray, "windows bars 11"], stacklevel: int) -> None:
        """Warn where windows share bars with fitted ones."""
        if n_shared := self.shared_by(features):
            warnings.warn(
                f"{n_shared} of {len(features)} windows share bars with windows that the classifier was fitted on: "
                "figures on them are too good. Evaluate with cv=moola.ForwardChaining() in place of KFold, or on "
                "windows of moola.split.",
                OverlapWarning,
                stacklevel=stacklevel,
            )


def _bar_hashes(features: np.ndarray) -> np.ndarray:
    """Return a number for each bar, `(windows, bars)`: the same for the same ratios, bit for bit."""
    ratios = np.ascontiguousarray(features[:, :, RATIOS], dtype=np.float64).view(np.uint64)
    number = np.zeros(ratios.shape[:2], dtype=np.uint64)
    for part in np.moveaxis(ratios, -1, 0):
        number = (number ^ part) * FACTOR
        number ^= number >> np.uint64(29)
    return number


def _joined(hashes: np.ndarray, length: int) -> np.ndarray:
    """Return a number for each run of so many bars, `(windows, runs)`."""
    n_runs = hashes.shape[1] - length + 1
    number = np.zeros((len(hashes), n_runs), dtype=np.uint64)
    for place in range(length):
        number = number * FACTOR + hashes[:, place : place + n_runs]
    return number


def _whole(features: np.ndarray) -> np.ndarray:
    return _joined(_bar_hashes(features), features.shape[1])[:, 0]


def _runs(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of each run of bars, and whether its bars differ."""
    hashes = _bar_hashes(features)
    length = min(IN_A_ROW, hashes.shape[1])
    steps = np.cumsum(np.pad(hashes[:, 1:] != hashes[:, :-1], ((0, 0), (1, 0))), axis=1)
    n_runs = hashes.shape[1] - length + 1
    return _joined(hashes, length), steps[:, length - 1 :] > steps[:, :n_runs]


OWN = ("encoder", "val_fraction")
IN_MEMORY = Path("X")


class NotFitted(OperationFailed, NotFittedError):
    """A classifier was asked to predict before it was fitted."""


class WindowClassifier(ClassifierMixin, BaseEstimator):
    """The network of `moola train` on windows in memory, to fit, predict and cross-validate with scikit-learn.

    Every parameter but the first and `val_fraction` is the option of `moola train` of that name, with its default.

    Parameters
    ----------
    encoder
        Encoder file of `moola pretrain-bilstm` to start from, or `base` for the one inside the package; a tuple
        of two, whose vectors stand side by side (`("base", "own.pt")`, on frozen encoders alone); without one the
        encoder starts from scratch. What it was pretrained on it has seen: under cross-validation it
        must come from bars that end before the first test block, or figures are too good. `fit` sees only the
        rows it is given and can warn of those alone.
    freeze_encoder
        Train the heads alone. On by default with an encoder file, off without.
    head
        `linear` (one optimum, no seeds; the default on a frozen encoder) or `mlp` (a hidden layer and epochs).
    hidden_dim, num_layers
        Sizes of the encoder: 64 and 1 from scratch, the encoder file's with one.
    n_heads
        Ensemble size: heads that share one encoder and are averaged.
    epochs
        Passes over the training windows; the best by validation loss is kept.
    batch_size
        Windows a step.
    learning_rate
        Peak learning rate of the heads.
    dropout
        Share of values dropped in the heads while training.
    pointer_weight
        Weight of the pointer loss beside the class loss.
    augment_data
        Add synthetic windows made from training rows; on where `X` carries prices and a class mirrors by itself.
    mirror_classes
        How the price mirror treats classes: `same`, or swaps such as `bull:bear`.
    visible_bars
        Show the network these first bars of a window alone. Left out, it sees all of them, those after the expansion
        too: its prediction of a window is known when the window ends, not before.
    refit
        Once the epoch is chosen, retrain on all rows. On where the encoder is frozen.
    val_fraction
        Share of the rows, the latest, that chooses the epoch, the temperature and the pointer threshold.
    seed
        Seed of everything random.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads for this whole process, 0 for one per core; results depend on it in the last bits.

    Attributes
    ----------
    classes_ : numpy.ndarray
        Classes, sorted: the columns of `predict_proba`.
    model_ : Model
        The fitted model; `model_.save(path)` writes the file that every command takes. Pickling works as for any
        estimator, and reading a pickle runs what it holds: keep models as model files.

    Examples
    --------
    >>> import moola
    >>> from sklearn.model_selection import cross_val_score
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu")
    >>> small.fit(windows, windows["label"]).predict_proba(windows[:3]).shape
    (3, 2)
    >>> small.predict_pointers(windows[:3]).shape
    (3, 2)
    >>> X, y = moola.relative_features(windows), windows["label"].to_numpy()
    >>> times = windows.select("start_ts", "end_ts").to_numpy()
    >>> cross_val_score(small, X, y, groups=times, cv=moola.ForwardChaining(2), scoring="neg_log_loss").shape
    (2,)
    """

    def __init__(
        self,
        *,
        encoder: Path | str | tuple[Path | str, ...] | None = None,
        freeze_encoder: bool | None = None,
        head: HeadKind | None = None,
        hidden_dim: int | None = None,
        num_layers: int | None = None,
        n_heads: int = 3,
        epochs: int = 40,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        dropout: float = 0.3,
        pointer_weight: float = 8.0,
        augment_data: bool | None = None,
        mirror_classes: tuple[str, ...] = (),
        visible_bars: int | None = None,
        refit: bool | None = None,
        val_fraction: float = 0.2,
        seed: int = DEFAULT_SEED,
        device: DeviceName = "auto",
        threads: int = 1,
    ) -> None:
        self.encoder = encoder
        self.freeze_encoder = freeze_encoder
        self.head = head
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.n_heads = n_heads
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.pointer_weight = pointer_weight
        self.augment_data = augment_data
        self.mirror_classes = mirror_classes
        self.visible_bars = visible_bars
        self.refit = refit
        self.val_fraction = val_fraction
        self.seed = seed
        self.device = device
        self.threads = threads

    def fit(
        self,
        X: Windows,
        y: ArrayLike,
        *,
        pointers: ArrayLike | None = None,
        times: Times | None = None,
    ) -> WindowClassifier:
        """Train on windows, as `moola train` does on a file.

        Parameters
        ----------
        X
            Window table, or an array of prices `(windows, bars, 4)` or features `(windows, bars, 11)`, earliest first.
        y
            Class of each window.
        pointers
            First and last bar of each expansion `(windows, 2)`, -1 where there is none. Left out, those of a window
            table; without any the model does not point.
        times
            Times of each window's first and last bar. Left out, those of a window table; without any, the rows that
            choose the epoch are the last ones and may share bars with those before, which makes probabilities too sure.

        Raises
        ------
        InvalidData
            Windows or labels break a rule, or there are too few of them.
        """
        table, self.classes_ = with_labels(table_of(X, times), y, pointers)
        split, _ = divide(table, self.val_fraction, 0.0, None)
        table = table.with_features()
        self._fitted_bars = FittedBars(table.all_features)
        job = job_of_rows(self._options(table), table, split)
        self.model_ = Model(fit_job(job).model, "the model", self.device, self.threads)
        return self

    def _options(self, table: WindowTable) -> TrainOptions:
        chosen = {name: value for name, value in self.get_params(deep=False).items() if name not in OWN}
        # Nobody evaluates val rows here, so the fit may have them as soon as it is chosen.
        if self.refit is None:
            chosen["refit"] = self.encoder is not None and self.freeze_encoder is not False
        return TrainOptions(
            data=IN_MEMORY,
            split=IN_MEMORY,
            pretrained_encoder=self._named(),
            window_bars=table.window_bars,
            cache=False,
            **chosen,
        )

    def _named(self) -> NamedEncoders | None:
        return recorded_encoders(list(self.encoder) if isinstance(self.encoder, tuple) else self.encoder)

    def predict_proba(self, X: Windows) -> Float[np.ndarray, "windows classes"]:
        """Return calibrated probabilities, a column per class of `classes_`."""
        predictions = self._predictions(X)
        columns = [predictions.class_names.index(str(name)) for name in self.classes_]
        prob: np.ndarray = predictions.class_prob[:, columns]
        return prob

    def predict(self, X: Windows) -> Shaped[np.ndarray, " windows"]:
        """Return the most probable class of each window."""
        most = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[most]
        return labels

    def predict_pointers(self, X: Windows) -> Int[np.ndarray, "windows 2"]:
        """Return the first and last bar of each window's expansion, both inclusive.

        Raises
        ------
        OperationFailed
            The model was fitted without pointers.
        """
        predictions = self._predictions(X)
        if not self.model_.file.network.predict_pointers:
            raise OperationFailed(
                "pointers must have been learned, but the model was fitted with 0 of them. Fit it with pointers=."
            )
        return predictions.predicted_bar

    def _predictions(self, X: Windows) -> Predictions:
        if not hasattr(self, "model_"):
            raise NotFitted("a classifier must be fitted before it predicts, but it is not. Call fit(X, y).")
        table = table_of(X, name="windows").with_features()
        if table.window_bars == self.model_.window_bars:
            self._fitted_bars.warn_of(table.all_features, 4)
        return self.model_.predictions_of(table)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


# Folds for scikit-learn's cross-validation: forward in time, purged of every window that shares a bar.


@dataclass(frozen=True)
class ForwardChaining:
    """Forward chaining as `moola cv` does it, for `cv=` of `cross_val_score`, `GridSearchCV` and the like.

    Windows are in time order; each fold trains on what was before its test block, less every window that shares a
    bar with it (the purge). Every model that takes rows can be evaluated by it, whatever `X` is.

    Parameters
    ----------
    n_splits
        Folds.
    times
        Times of each window's first and last bar, `windows.select("start_ts", "end_ts")` or an array of them. Those
        passed as `groups` go before them; without either, they are the columns of `X` where it is a window table.
        Nothing else will do: `KFold`, and `TimeSeriesSplit`, whose gap counts rows, put windows that share bars on
        both sides of a boundary, and the figures of a model that remembers what it saw are then too good.
    initial_fraction
        Share of the windows before the first test block.
    scheme
        `expanding` trains on all that was before, `rolling` on as many of the latest as the first fold has.
    embargo_hours
        Time before a test block in which no window may train, beyond sharing no bar. 0 is enough where a
        label depends on the window's own bars; a label that looks at bars after its window leaks them into train rows
        beside the test block, so give at least as long as it looks ahead.

    Examples
    --------
    >>> import moola
    >>> windows = moola.windows(moola.sample_bars(), stride=50)
    >>> folds = moola.ForwardChaining(3)
    >>> [(len(train), len(test)) for train, test in folds.split(windows)]
    [(47, 25), (72, 24), (96, 25)]
    """

    n_splits: int = 5
    times: Times | None = field(default=None, repr=False, compare=False, kw_only=True)
    initial_fraction: float = field(default=0.4, kw_only=True)
    scheme: Literal["expanding", "rolling"] = field(default="expanding", kw_only=True)
    embargo_hours: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        rules = (
            (self.n_splits >= 2, "n_splits", "be at least 2", self.n_splits),
            (0 < self.initial_fraction < 1, "initial_fraction", "be between 0 and 1", self.initial_fraction),
            (self.scheme in ("expanding", "rolling"), "scheme", "be expanding or rolling", self.scheme),
            (0 <= self.embargo_hours < np.inf, "embargo_hours", "be at least 0 and finite", self.embargo_hours),
        )
        for holds, name, rule, found in rules:
            if not holds:
                raise WrongUsage(f"{name} must {rule}, but it is {found}. Give another one.")

    def split(
        self,
        X: Any,
        y: Any = None,
        groups: Times | None = None,
    ) -> Iterator[tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]]:
        """Yield train and test rows, fold by fold in time order.

        Parameters
        ----------
        X
            As many rows as there are windows.
        y
            Not looked at.
        groups
            Times of the windows, in place of `times`.

        Raises
        ------
        InvalidData
            Times are not known, or a fold has no train or test windows after the purge.
        """
        groups = self.times if groups is None else groups
        rows = polars_of(X, "X") if is_frame(X) else X
        if groups is None and isinstance(rows, pl.DataFrame) and {"start_ts", "end_ts"} <= set(rows.columns):
            groups = rows
        n = len(rows)
        if groups is None:
            raise InvalidData(
                f"folds must have the times of windows, but {n} rows came without times. Pass "
                'groups=windows.select("start_ts", "end_ts"), or times= to ForwardChaining.'
            )
        start_us, last_us = time_us_of(groups, n).T
        # Equal bars have equal times here, so rows need no other groups.
        close_us = closing_us(start_us, last_us, _window_bars(rows), _symbols(rows))
        intervals = Intervals(start_us, close_us, np.arange(n))
        embargo_us = round(self.embargo_hours * 3.6e9)
        for fold in make_folds(intervals, self.scheme, self.n_splits, self.initial_fraction, 0.0, embargo_us):
            yield fold.train, fold.test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return how many folds there are."""
        return self.n_splits


def _window_bars(X: Any) -> int | None:
    """Return how many bars the windows have; None where the rows are no windows."""
    if isinstance(X, pl.DataFrame):
        is_window = len(X) and isinstance(X.schema.get("features"), pl.List)
        return len(X["features"][0]) if is_window else None
    return int(np.shape(X)[1]) if np.ndim(X) == 3 else None


def _symbols(X: Any) -> np.ndarray | None:
    known = isinstance(X, pl.DataFrame) and "symbol" in X.columns
    return X["symbol"].fill_null("").to_numpy().astype(object) if known else None
