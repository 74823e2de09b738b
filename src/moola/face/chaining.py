"""Folds for scikit-learn's cross-validation: forward in time, purged of every window that shares a bar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Int

from moola.core.closing import closing_us
from moola.core.folds import make_folds
from moola.core.splits import Intervals
from moola.errors import InvalidData, WrongUsage
from moola.face.given import Times, time_us_of


@dataclass(frozen=True)
class ForwardChaining:
    """Forward chaining as `moola cv` does it, for `cv=` of `cross_val_score`, `GridSearchCV` and the like.

    Windows stand in time order; each fold trains on what was before its test block, less every window that shares a
    bar with it (the purge). Every model that takes rows can be judged by it, whatever `X` is.

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
        label hangs on the window's own bars; a label that looks at bars after its window leaks them into train rows
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
        n = len(X)
        if groups is None:
            groups = self.times
        if groups is None and isinstance(X, pl.DataFrame) and {"start_ts", "end_ts"} <= set(X.columns):
            groups = X
        if groups is None:
            raise InvalidData(
                f"folds must know when windows are, but {n} rows came without times. Pass "
                'groups=windows.select("start_ts", "end_ts"), or times= to ForwardChaining.'
            )
        start_us, last_us = time_us_of(groups, n).T
        # Equal bars have equal times here, so rows need no other groups.
        close_us = closing_us(start_us, last_us, _window_bars(X), _symbols(X))
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
