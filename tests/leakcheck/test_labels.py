"""A label that stands in a feature is found; patterns, chance and few rows are not taken for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from moola.core.features import FEATURE_NAMES
from moola.leakcheck.feature_checks import _distance, label_in_columns, label_in_features, stored_features
from tests.leakcheck.subjects import features_alone, leaks, only_leak, states, subject_of
from tests.planted import planted_windows


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
