"""Windows that share bars with fitted ones are warned of, whatever they are given as; others are not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedKFold, TimeSeriesSplit, cross_val_score

from moola import ForwardChaining, OverlapWarning, relative_features
from moola.api.window_classifier import IN_A_ROW, FittedBars
from moola.tables.window_file import windows_frame
from tests.api.faced import tiny
from tests.made import made_windows

TABLE = made_windows(40, seed=4, stride=8, window_bars=30)
APART = made_windows(40, seed=4, stride=30, window_bars=30)
WINDOWS = windows_frame(TABLE, TABLE)
LABELS = WINDOWS["label"].to_numpy()
FEATURES = relative_features(TABLE.ohlc)
TIMES = WINDOWS.select("start_ts", "end_ts").to_numpy()


def shared_by_loop(fitted, judged):
    """Count windows of which the first or last bars in a row stand in a fitted one, bar by bar."""
    bars = {tuple(map(tuple, window[:, 4:7])) for window in fitted}
    n = 0
    for window in judged:
        own = tuple(map(tuple, window[:, 4:7]))
        ends = {own[:IN_A_ROW], own[-IN_A_ROW:]}
        found = any(other[i : i + IN_A_ROW] in ends for other in bars for i in range(len(other) - IN_A_ROW + 1))
        n += own not in bars and found
    return n


@pytest.mark.parametrize("rows", [slice(0, 20), slice(0, 40, 3)])
def test_it_counts_as_a_loop_does(rows):
    rest = np.delete(FEATURES, rows, axis=0)
    found = FittedBars(FEATURES[rows]).shared_by(rest)
    assert found == shared_by_loop(FEATURES[rows], rest)
    assert found > 0
    assert FittedBars(FEATURES[rows]).shared_by(FEATURES[rows]) == 0


def test_windows_a_stride_of_their_length_apart_and_flat_bars_share_none():
    features = relative_features(APART.ohlc)
    assert FittedBars(features[::2]).shared_by(features) == 0
    flat = np.full((2, 30, 4), 5.0)
    flat[1, 3] = 5.0, 6.0, 4.0, 5.5
    features = relative_features(flat)
    assert FittedBars(features[:1]).shared_by(features[1:]) == 0


@pytest.mark.parametrize(
    ("given", "folds", "says"),
    [
        (WINDOWS, KFold(3), r"of 1\d windows share bars .* cv=moola.ForwardChaining\(\) in place of KFold"),
        (TABLE.ohlc, KFold(3, shuffle=True, random_state=0), r"of 1\d windows share bars"),
        (FEATURES, StratifiedKFold(3), r"of 1\d windows share bars"),
        (FEATURES, TimeSeriesSplit(3), "1 of 10 windows share bars"),
    ],
)
def test_folds_of_overlapping_windows_warn(given, folds, says):
    with pytest.warns(OverlapWarning, match=says):
        cross_val_score(tiny(epochs=1), given, LABELS, cv=folds)


def test_forward_chaining_windows_apart_and_windows_of_the_fit_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_val_score(tiny(epochs=1), FEATURES, LABELS, groups=TIMES, cv=ForwardChaining(2))
        fitted = tiny(epochs=1).fit(WINDOWS, LABELS)
        fitted.predict(WINDOWS)
        fitted.model_.predict(WINDOWS)
        cross_val_score(tiny(epochs=1), APART.ohlc, np.array(APART.label), cv=KFold(2))
