"""Agreement of annotators, against scikit-learn's kappa."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from moola.evaluation.label_quality import cohens_kappa, pointer_agreement

PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = cohen_kappa_score(first, second)
    found = cohens_kappa(first, second)
    if found is None:
        assert np.isnan(expected)
        assert len(set(first + second)) == 1
    else:
        assert found == pytest.approx(expected, abs=1e-12)
        assert cohens_kappa(second, first) == found


def test_kappa_by_hand_and_where_there_is_none():
    # 2 of 4 alike; by chance (3/4)(3/4) + (1/4)(1/4) = 5/8: (1/2 - 5/8) / (3/8) = -1/3.
    assert cohens_kappa(list("aaab"), list("aaba")) == pytest.approx(-1 / 3)
    assert cohens_kappa(list("ab"), list("ab")) == 1.0
    assert cohens_kappa([], []) is None
    assert cohens_kappa(["a", "a"], ["a", "a"]) is None
    assert cohens_kappa(["a", "a"], ["b", "b"]) == 0.0
    with pytest.raises(ValueError, match="same windows"):
        cohens_kappa(["a"], [])


def test_pointers_are_compared_in_bars():
    found = pointer_agreement(np.array([10, 20, 30, 40]), np.array([10, 23, 26, 50]))
    assert (found.n, found.median_abs_bars, found.share_within) == (4, 3.5, 0.5)
    none = pointer_agreement(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    assert (none.n, none.median_abs_bars, none.share_within) == (0, None, None)
