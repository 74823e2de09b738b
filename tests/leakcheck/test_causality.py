"""Features that know the future are named: window, bar, feature and mistake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.features import relative_features
from moola.leakcheck.feature_checks import WRONG_ZSCORES, future_dependence, perturbed_future, stored_features
from tests.leakcheck.subjects import features_alone, leaks, only_leak, states, subject_of
from tests.planted import planted_windows


def stored(change=None, bars: bool = True):
    table = planted_windows(40, seed=3).with_features()
    if change is not None:
        features = table.features.copy()
        change(features, table.ohlc)
        table = replace(table, features=features)
    return table if bars else features_alone(table)


def whole_window(features, ohlc):
    close = ohlc[:, :, 3]
    features[:, :, 10] = (close - close.mean(axis=1, keepdims=True)) / close.std(axis=1, keepdims=True)


def centred(features, ohlc):
    features[:, :, 7] = np.clip(
        WRONG_ZSCORES["centred on the bar: the 9 bars after it are in its mean"](ohlc[:, :, 0]), -10, 10
    )


def next_return(features, ohlc):
    features[:, :-1, 3] = features[:, 1:, 3]


def one_value(features, ohlc):
    features[12, 60, 5] += 0.01 if features[12, 60, 5] < 0.5 else -0.01


def test_causal_features_pass(tmp_path):
    assert states(stored_features(subject_of(tmp_path, stored()))) == {"ok"}
    assert states(stored_features(subject_of(tmp_path, planted_windows(40, seed=3)))) == {"ok"}
    assert states(stored_features(subject_of(tmp_path, stored(bars=False)))) == {"ok", "note"}


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize(
    ("change", "feature", "cause"),
    [
        (whole_window, "zscore_close", "a z-score over the whole window"),
        (centred, "zscore_open", "centred on the bar: the 9 bars after it"),
    ],
)
def test_zscores_that_see_later_bars(tmp_path, change, feature, cause, bars):
    leak = only_leak(stored_features(subject_of(tmp_path, stored(change, bars))))
    assert (leak.row, leak.bar, leak.feature) == (0, 0, feature)
    assert cause in leak.found
    assert "(planted_0) bar 0" in leak.found


def test_a_return_shifted_by_one(tmp_path):
    leak = only_leak(stored_features(subject_of(tmp_path, stored(next_return))))
    assert (leak.row, leak.feature) == (0, "log_return_close")
    assert "every value is that of the next bar" in leak.found
    without_bars = leaks(stored_features(subject_of(tmp_path, stored(next_return, bars=False))))
    assert {leak.feature for leak in without_bars} == {"log_return_close", "zscore_close"}


def test_one_wrong_value_is_named(tmp_path):
    leak = only_leak(stored_features(subject_of(tmp_path, stored(one_value))))
    assert (leak.row, leak.bar, leak.feature) == (12, 60, "upper_wick_ratio")
    assert "at 1 bars of 1 windows" in leak.found


def test_single_precision_is_rounding(tmp_path):
    table = stored()
    rough = table.features.astype(np.float32).astype(np.float64)
    rough[:, :, 3] = table.features[:, :, 3] * (1 + 1e-5)
    assert states(stored_features(subject_of(tmp_path, replace(table, features=rough)))) == {"note"}


def test_a_market_that_stands_still_without_bars(tmp_path):
    table = planted_windows(40, seed=3)
    ohlc = table.ohlc.copy()
    ohlc[:, 20:60] = ohlc[:, 19:20, 3:4]
    assert not leaks(stored_features(subject_of(tmp_path, features_alone(replace(table, ohlc=ohlc)))))


def test_the_future_changes_no_feature(tmp_path):
    assert states(perturbed_future(subject_of(tmp_path, planted_windows(40, seed=3)))) == {"ok"}
    assert states(perturbed_future(subject_of(tmp_path, stored(bars=False)))) == {"note"}


def test_a_function_that_looks_ahead_is_caught(tmp_path, monkeypatch):
    def looks_ahead(ohlc):
        features = relative_features(ohlc)
        features[:, :-1, 9] += 1e-12 * ohlc[:, 1:, 2]
        return features

    window, bar, feature, moment = future_dependence(planted_windows(4, 0).ohlc, looks_ahead, 1)
    assert (window, bar, feature) == (0, moment, 9)
    monkeypatch.setattr("moola.leakcheck.feature_checks.relative_features", looks_ahead)
    leak = only_leak(perturbed_future(subject_of(tmp_path, planted_windows(40, seed=3))))
    assert leak.feature == "zscore_low"
    assert leak.row is not None
