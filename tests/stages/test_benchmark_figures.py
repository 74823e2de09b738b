"""Spread over draws and paired differences, beside loops that say what is meant."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moola.stages.benchmark import difference_rows, standing_rows
from moola.stages.benchmark_fits import FIGURES, LOWER_IS_BETTER, figures_of, mean_over_seeds, of_class, paired, spread
from moola.stages.benchmark_spans import SPAN_FIGURES
from tests.predictions_made import random_table

value = st.one_of(st.none(), st.floats(0, 1))
table = st.dictionaries(st.integers(0, 4), st.fixed_dictionaries(dict.fromkeys(FIGURES, value)), max_size=5)


def slow_paired(one, other, name):
    """A naive loop over draws."""
    kept, better = [], 0
    for draw in range(5):
        if draw not in one or draw not in other:
            continue
        mine, theirs = one[draw][name], other[draw][name]
        if mine is None or theirs is None:
            continue
        kept.append(mine - theirs)
        if (mine < theirs) if name in ("brier", "ece", "log_loss") else (mine > theirs):
            better += 1
    return kept, better


@given(table, table)
@example({0: dict.fromkeys(FIGURES, 0.5)}, {0: dict.fromkeys(FIGURES, 0.5)})
def test_paired_is_the_loop(one, other):
    found = paired(one, other)
    for name in FIGURES:
        kept, better = slow_paired(one, other, name)
        assert found[name]["better"] == better
        assert found[name]["n_draws"] == len(kept)
        assert list(found[name]["by_draw"].values()) == kept
        mean = pytest.approx(statistics.fmean(kept), abs=1e-12) if kept else None
        assert found[name]["mean"] == mean
        assert found[name]["std"] == (pytest.approx(statistics.stdev(kept), abs=1e-9) if len(kept) > 1 else None)


def test_figures_of_predictions_are_those_of_hand():
    predictions = random_table(3, 40, coarse=False)
    found = figures_of(predictions)
    own = predictions.class_prob[np.arange(40), predictions.class_index]
    assert found["brier"] == pytest.approx(np.mean((1 - own) ** 2))
    assert found["log_loss"] == pytest.approx(-np.mean(np.log(own)))
    assert found["accuracy"] == np.mean(predictions.class_prob.argmax(axis=1) == predictions.class_index)
    by_class = found["pr_auc_by_class"]
    assert found["pr_auc"] == pytest.approx(statistics.fmean(by_class.values()))
    name = predictions.class_names[1]
    assert of_class(found, name)["pr_auc"] == by_class[name]
    assert of_class(found, None)["pr_auc"] == found["pr_auc"]
    assert of_class(found, name)["brier"] == found["brier"]


def test_spread_and_mean_leave_out_what_is_not_there():
    assert spread([None, 0.2, 0.4]) == {"mean": pytest.approx(0.3), "std": pytest.approx(math.sqrt(0.02))}
    assert spread([0.2]) == {"mean": 0.2, "std": None}
    assert spread([]) == {"mean": None, "std": None}
    rows = [dict.fromkeys(FIGURES, 0.2), dict.fromkeys(FIGURES, 0.4) | {"ece": None}]
    assert mean_over_seeds(rows)["brier"] == pytest.approx(0.3)
    assert mean_over_seeds(rows)["ece"] == 0.2
    found = figures_of(random_table(0, 4).take(np.arange(0)))
    assert all(found[name] is None for name in FIGURES)


def test_cells_read_as_the_lab_book_does():
    cell = {"mean": 10.25, "std": 0.5}
    row = {"name": "a", "figures": {key: {"mean": 0.25, "std": None} for key in FIGURES} | {"log_loss": cell}}
    row |= {"fit_s": {"mean": 1.26}, "predict_s": {"mean": None}}
    _, rows = standing_rows({"models": [row]})
    assert rows[0][1] == ".250"
    assert rows[0][FIGURES.index("log_loss") + 1] == "10.250 +- .500"
    assert rows[0][-2:] == ["1.3", "-"]
    less = {"mean": -0.0128, "std": 0.01, "better": 4, "n_draws": 5}
    _, rows = difference_rows(
        {"models": [row], "differences": [{"name": "a", "against": "b", "figures": dict.fromkeys(FIGURES, less)}]}
    )
    assert rows[0][:2] == ["a - b", "-.013 +- .010 (4/5)"]
    assert set(LOWER_IS_BETTER) < {*FIGURES, *SPAN_FIGURES}
