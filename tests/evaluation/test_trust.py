"""The answer to "should I trust it?": each word is reached, and at its edge."""

from __future__ import annotations

import numpy as np
import pytest

from moola.evaluation.figures import TrainingFacts, trivial_predictions
from moola.evaluation.gates import judge
from moola.evaluation.trust import GUESSING, IN_USE, rival_of, trust
from tests.evaluation.test_gates import right

EVEN = TrainingFacts({"consolidation": 50, "retracement": 50}, 40, 46, None)


def answer(challenger, verdict=None, leaks=(), **options):
    return trust(challenger, trivial_predictions(challenger, EVEN), leaks, verdict, **options)


def test_a_model_like_the_class_share_is_not_yet_better_than_guessing_and_says_how_many_windows_would_tell():
    found = answer(right(60, 0.55, 0.6))
    assert found.word == GUESSING
    assert "of the class share on 60 windows" in found.sentence
    assert "a gain of 0.01 in Brier would be shown at 80 % power with some " in found.sentence
    assert str(found).startswith("Should I trust it? Not yet better than guessing: Brier ")


def test_without_a_gate_a_good_model_is_better_than_guessing():
    found = answer(right(200, 0.9, 0.9))
    assert found.word == "better than guessing"
    assert found.sentence.endswith("moola gate compares it with the model in use")


@pytest.mark.parametrize("rival", [IN_USE, "the from-scratch run"])
def test_the_gate_decides_between_the_other_two(rival):
    better, same = right(200, 0.9, 0.9), right(200, 0.89, 0.9, seed=4)
    promote = judge(better, right(200, 0.6, 0.6, seed=1), EVEN, []).as_dict()
    assert promote["verdict"] == "promote"
    assert answer(better, promote, rival=rival).word == f"better than {rival}"
    thin = judge(better, same, EVEN, []).as_dict()
    assert thin["verdict"] != "promote"
    assert answer(better, thin, rival=rival).word == f"better than guessing, not than {rival}"


def test_a_gate_of_other_windows_says_of_how_many():
    found = answer(right(200, 0.9, 0.9), {"verdict": "promote", "reason": "made", "n_windows": 412, "part": "later"})
    assert found.sentence.endswith("on 200 windows, and the gate on 412 later windows says promote: made")


def test_a_gate_that_promotes_does_not_make_up_for_windows_that_show_no_gain_over_guessing():
    found = answer(right(20, 0.55, 0.6), {"verdict": "promote", "reason": "made"})
    assert found.word == GUESSING


def test_windows_that_the_model_saw_answer_nothing():
    found = answer(right(200, 0.9, 0.9), leaks=["the encoder was pretrained on them"])
    assert found.word == GUESSING
    assert "the encoder was pretrained on them" in found.sentence
    nothing = right(10, 0.9, 0.9)
    bare = trust(nothing.take(np.arange(0)), nothing.take(np.arange(0)), [])
    assert bare.sentence == "no evaluated window has a label"


def test_the_rival_is_named_for_what_it_is():
    assert rival_of(None) == IN_USE
    assert rival_of({"baseline_kind": "promoted model"}) == IN_USE
    assert rival_of({"baseline_kind": "promoted model", "promoted_at": "2026"}) == "the model in use before it"
    assert rival_of({"baseline_kind": "from-scratch run"}) == "the from-scratch run"
    assert rival_of({"baseline_kind": "run"}) == "the run it was compared with"
