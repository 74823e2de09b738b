"""Features that know the future are named: window, bar, feature and mistake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from moola.core.features import FEATURE_NAMES, relative_features
from moola.leakcheck.feature_checks import (
    WRONG_ZSCORES,
    _distance,
    future_dependence,
    label_in_columns,
    label_in_features,
    perturbed_future,
    place_finding,
    stored_features,
)
from tests.leakcheck.subjects import features_alone, leaks, only_leak, states, subject_of
from tests.made import made_windows
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


def labelled_by(rows: int = 40, size: float = 1e-4, flips: int = 0, seed: int = 3):
    """The close return of bar 50 says the class, but for some rows."""
    table = planted_windows(rows, seed).with_features()
    features = table.features.copy()
    sign = np.where(table.label == "retracement", 1.0, -1.0)
    sign[:flips] *= -1
    features[:, 50, 3] = size * sign + np.random.default_rng(0).normal(0, size / 10, rows)
    return replace(table, features=features)


@pytest.mark.parametrize("flips", [0, 1])
def test_a_value_written_from_the_label(tmp_path, flips):
    table = labelled_by(160, flips=flips)
    parts = {"train": range(120), "val": range(120, 140), "test": range(140, 160)}
    leak = only_leak(label_in_features(subject_of(tmp_path, table, **parts)))
    assert (leak.bar, leak.feature) == (50, "log_return_close")
    assert "retracement" in leak.found
    assert leak.row is not None


def test_a_value_that_says_the_lower_class_and_three_classes(tmp_path):
    table = planted_windows(160, 3).with_features()
    label = np.array([("a", "b", "c")[i % 3] for i in range(160)], dtype=object)
    features = table.features.copy()
    features[:, 90, 4] = np.where(label == "a", 0.1, 0.9)
    parts = {"train": range(120), "val": range(120, 140), "test": range(140, 160)}
    leak = only_leak(label_in_features(subject_of(tmp_path, replace(table, label=label, features=features), **parts)))
    assert (leak.bar, leak.feature) == (90, "body_ratio")
    assert "separates a from the rest" in leak.found


@pytest.mark.parametrize("seed", range(6))
def test_patterns_are_no_leak(tmp_path, seed):
    findings = label_in_features(subject_of(tmp_path, planted_windows(40, seed)))
    assert states(findings) == {"ok"}
    assert "AUROC" in findings[0].found


def test_few_rows_never_are_enough(tmp_path):
    parts = {"train": range(8), "val": range(20, 30), "test": range(30, 40)}
    assert not leaks(label_in_features(subject_of(tmp_path, labelled_by(40), **parts)))


def test_a_feature_that_never_changes_is_noted(tmp_path):
    table = planted_windows(40, 3).with_features()
    features = table.features.copy()
    features[:, :, 4] = 0.5
    findings = label_in_features(subject_of(tmp_path, replace(table, features=features)))
    assert [finding.feature for finding in findings if finding.state == "note"] == [FEATURE_NAMES[4]]


def test_distance_is_that_of_counted_pairs():
    rng = np.random.default_rng(0)
    values, positive = rng.integers(0, 4, (15, 3)).astype(float), rng.integers(0, 2, 15).astype(bool)
    got = _distance(rankdata(values, axis=0), positive[None].astype(float))[0]
    for column in range(3):
        pairs = [(a > b) + 0.5 * (a == b) for a in values[positive, column] for b in values[~positive, column]]
        assert got[column] == pytest.approx(abs(2 * np.mean(pairs) - 1))


@pytest.mark.parametrize("how", ["level", "pattern"])
def test_a_label_spread_over_a_ratio_column(tmp_path, how):
    """At each bar too little to see, over the bars enough: as a shift of its mean, or as a pattern of signs."""
    rng = np.random.default_rng(5)
    table = features_alone(planted_windows(160, seed=3))
    features = table.features.copy()
    second = table.label == table.classes[1]
    sign = np.ones(105) if how == "level" else rng.choice([-1.0, 1.0], 105)
    shift = 0.08 * np.where(second, 1.0, -1.0)[:, None] * sign
    features[:, :, 4] = np.clip(features[:, :, 4] + shift, 0.0, 1.0)
    parts = {"train": range(80), "val": range(80, 120), "test": range(120, 160)}
    assert states(label_in_columns(subject_of(tmp_path, table, **parts))) == {"ok"}
    tampered = subject_of(tmp_path, replace(table, features=features), **parts)
    assert only_leak(label_in_columns(tampered)).feature == "body_ratio"
    assert any("must be 1 together" in finding.found for finding in stored_features(tampered))


def test_columns_without_two_classes_to_tell_apart(tmp_path):
    table = planted_windows(40, seed=3)
    one = replace(table, label=np.full(40, table.classes[0], dtype=object))
    assert states(label_in_columns(subject_of(tmp_path, one))) == {"note"}


N = 160


def placed(start: np.ndarray, length: np.ndarray):
    return replace(made_windows(N), expansion_start=start, expansion_end=start + length)


def drawn(seed: int):
    rng = np.random.default_rng(seed)
    length = rng.integers(4, 20, N)
    return 30 + (rng.random(N) * (45 - length)).astype(int), length


@pytest.mark.parametrize("seed", range(5))
def test_places_drawn_at_random_tell_nothing(seed):
    found = place_finding(placed(*drawn(seed)), 17)
    assert found.state == "ok"
    assert "positions alone" in found.found


def test_places_that_tell_the_class_are_a_leak():
    start, length = drawn(1)
    later = np.arange(N) % 2 == 1
    start[later] = np.minimum(start[later] + 12, 74 - length[later])
    found = place_finding(placed(start, length), 17)
    assert found.state == "leak"
    assert "moola windows --spans" in found.advice


def test_a_class_that_is_longer_is_no_place():
    start, length = drawn(2)
    length[np.arange(N) % 2 == 1] += 8
    rng = np.random.default_rng(9)
    start = 30 + (rng.random(N) * (45 - length)).astype(int)
    assert place_finding(placed(start, length), 17).state == "ok"


def test_too_few_windows_or_one_class_cannot_be_checked():
    table = placed(*drawn(3))
    assert place_finding(table.take(np.arange(10)), 17).state == "note"
    assert place_finding(replace(table, label=np.full(N, "one", dtype=object)), 17).state == "note"
