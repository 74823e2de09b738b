"""The splitter: the folds of `moola cv`, and no shared bar, with whatever model and form of times."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score

from moola import ForwardChaining
from moola.core.splits import make_folds
from moola.errors import InvalidData, WrongUsage
from moola.tables.window_file import windows_frame
from tests.made import HOUR_US, made_windows

# Every window shares bars with the five before it.
TABLE = made_windows(60, seed=2, stride=5, window_bars=30)
WINDOWS = windows_frame(TABLE, TABLE)
TIMES = WINDOWS.select("start_ts", "end_ts")
X = np.arange(60.0)[:, None]


def rows(folds):
    return [(train.tolist(), test.tolist()) for train, test in folds]


@pytest.mark.parametrize("scheme", ["expanding", "rolling"])
def test_folds_are_those_of_cv_and_purged(scheme):
    found = rows(ForwardChaining(4, scheme=scheme, initial_fraction=0.5).split(WINDOWS))
    expected = make_folds(TABLE.intervals(), scheme, 4, 0.5, 0.0, 0)
    assert found == [(fold.train.tolist(), fold.test.tolist()) for fold in expected]
    for train, test in found:
        assert TABLE.end_us[train].max() < TABLE.start_us[test].min()
        assert max(train) == min(test) - 6


def test_times_go_by_groups_then_by_construction_then_by_the_table():
    early = np.stack([TABLE.start_us, TABLE.end_us + 10 * 5 * HOUR_US], axis=1)
    plain = rows(ForwardChaining(3).split(WINDOWS))
    assert rows(ForwardChaining(3, times=TIMES).split(X)) == rows(ForwardChaining(3).split(X, None, TIMES)) == plain
    longer = rows(ForwardChaining(3, times=early).split(WINDOWS))
    assert longer != plain
    assert rows(ForwardChaining(3, times=early).split(X, None, TIMES)) == plain


def test_an_embargo_keeps_more_away_and_rows_in_any_order_are_folded_in_time():
    plain = list(ForwardChaining(3).split(WINDOWS))
    for (train, test), (fewer, _) in zip(plain, ForwardChaining(3, embargo_hours=10).split(WINDOWS), strict=True):
        assert fewer.tolist() == train[:-2].tolist()
        assert TABLE.end_us[fewer].max() + 10 * HOUR_US < TABLE.start_us[test].min()
    order = np.random.default_rng(0).permutation(60)
    found = ForwardChaining(3).split(X, None, TIMES[order])
    for (train, test), (straight, judged) in zip(found, plain, strict=True):
        assert sorted(order[train]) == straight.tolist()
        assert sorted(order[test]) == judged.tolist()


def test_any_model_is_judged_by_it():
    y = np.arange(60) % 2
    forest = RandomForestClassifier(5, random_state=0)
    folds = ForwardChaining(3)
    assert cross_val_score(forest, X, y, groups=TIMES.to_numpy(), cv=folds).shape == (3,)
    search = GridSearchCV(forest, {"max_depth": [1, 2]}, cv=ForwardChaining(3, times=TIMES)).fit(X, y)
    assert search.n_splits_ == folds.get_n_splits() == 3


def test_what_cannot_work_is_refused_and_its_text_leaves_times_out():
    assert repr(ForwardChaining(3, times=TIMES)) == (
        "ForwardChaining(n_splits=3, initial_fraction=0.4, scheme='expanding', embargo_hours=0.0)"
    )
    with pytest.raises(InvalidData, match="folds must have the times of windows, but 60 rows came without times"):
        next(ForwardChaining().split(X))
    with pytest.raises(InvalidData, match=r"each of 30 windows, but they are .* of shape \(60, 2\)"):
        next(ForwardChaining(times=TIMES).split(X[:30]))
    for name, value in (
        *(("n_splits", 1), ("initial_fraction", 1.0), ("scheme", "combinatorial"), ("embargo_hours", -1.0)),
    ):
        with pytest.raises(WrongUsage, match=f"{name} must be"):
            ForwardChaining(**{name: value})
