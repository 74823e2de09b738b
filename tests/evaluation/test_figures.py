"""Figures: each with its interval, beside the trivial predictor, and null with a reason where there is none."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from moola.evaluation import class_metrics, pointer_metrics
from moola.evaluation.calibration import perfect_ece_range, reliability_bins
from moola.evaluation.class_metrics import Metric
from moola.evaluation.comparisons import block_weights, percentile_interval, without_resampling_bias
from moola.evaluation.figures import (
    CLASS_METRICS,
    EVENT_METRICS,
    Figure,
    TrainingFacts,
    class_metric_table,
    evaluate,
    event_metric_table,
    trivial_predictions,
)
from moola.evaluation.gates import judge
from moola.evaluation.trust import GUESSING, IN_USE, Gated, rival_of, trust
from moola.tables.prediction_table import Predictions
from tests.evaluation.test_gates import right, small_but_sure
from tests.predictions_made import DAY_US, THREE, TWO, ones, random_table, table_of, two_class

FACTS = TrainingFacts({"consolidation": 30, "retracement": 10}, 40, 46, 0.5)

SEVERAL = {
    "pr_auc": ["pr_auc", "pr_auc_retracement"],
    "ece": ["ece", "ece_equal_mass", "ece_debiased"],
    "f1_per_class": ["f1_consolidation", "f1_retracement"],
    "brier_parts": [f"brier_{part}" for part in ("reliability", "resolution", "uncertainty", "within_bin")],
    "calibration": ["calibration_slope", "calibration_intercept"],
}
CLASS_FIGURES = [figure for name in CLASS_METRICS for figure in SEVERAL.get(name, [name])]

HITS = [f"hit_at_pm{tolerance}_{which}" for tolerance in (3, 1, 2, 5) for which in ("start", "end", "both")]

LAGS = [f"lead_lag_{which}_{share}" for which in ("start", "end") for share in ("q25", "median", "q75")]

POINTERS = ["pointer_f1", "pointer_precision", "pointer_recall"]

EVENTS = ["event_map", *(f"event_ap_pm{tolerance}" for tolerance in (1, 2, 3, 5, 8)), "expansion_iou"]


def overlapping(table: Predictions, block: int) -> Predictions:
    assert table.start_us is not None
    return replace(table, end_us=table.start_us + (block - 1) * DAY_US)


def metric_of(name: str) -> Metric:
    both = class_metric_table(CLASS_METRICS, TWO, "retracement", FACTS.class_counts) | event_metric_table(
        EVENT_METRICS, 0.5
    )
    return both[name]


def test_every_asked_metric_has_its_figures_in_order() -> None:
    evaluation = evaluate(random_table(0, 30), FACTS)
    assert [figure.name for figure in evaluation.figures] == CLASS_FIGURES + HITS + LAGS + POINTERS + EVENTS
    asked = evaluate(random_table(0, 30), FACTS, ("ece", "brier"), ("pointer_f1",))
    assert [figure.name for figure in asked.figures] == ["ece", "ece_equal_mass", "ece_debiased", "brier", *POINTERS]
    assert asked.figure("brier") == evaluation.figure("brier")


def test_three_classes_have_no_figure_of_the_rarer_one() -> None:
    facts = TrainingFacts(dict.fromkeys(THREE, 5), 1, 2, None)
    names = [figure.name for figure in evaluate(random_table(0, 30, THREE), facts).figures]
    assert not [name for name in names if name.startswith("pr_auc_")]
    assert [name for name in names if name.startswith("f1_") and name != "f1_macro"] == [f"f1_{name}" for name in THREE]
    assert not [name for name in names if name.startswith("calibration")]


@pytest.mark.parametrize("block", [1, 4])
def test_a_figure_is_its_metric_with_the_bootstrap_interval_beside_the_trivial_one(block: int) -> None:
    table = overlapping(random_table(3, 40), block)
    evaluation = evaluate(table, FACTS, seed=9)
    assert evaluation.block_windows == block
    weights, trivial = block_weights(40, block, 9), trivial_predictions(table, FACTS)
    for figure in evaluation.figures:
        metric = metric_of(figure.name)
        assert figure.value == metric(table, ones(table))[0]
        resampled = metric(table, weights)
        if figure.name in ("ece", "ece_equal_mass", "brier_reliability"):
            resampled = without_resampling_bias(resampled, figure.value)
        assert (figure.low, figure.high) == percentile_interval(resampled)
        floor = metric(trivial, ones(table))[0]
        assert figure.trivial == (None if np.isnan(floor) else floor)
        assert figure.reason == ""


@pytest.mark.slow
def test_intervals_hold_their_figure_and_narrow_with_windows() -> None:
    few, many = evaluate(random_table(1, 30), FACTS), evaluate(random_table(1, 400), FACTS)
    for name in ("pr_auc", "brier", "ece", "ece_equal_mass", "accuracy", "hit_at_pm3_both"):
        for evaluation in (few, many):
            figure = evaluation.figure(name)
            assert figure.low < figure.value < figure.high
        one, other = few.figure(name), many.figure(name)
        assert other.high - other.low < 0.6 * (one.high - one.low)


def test_overlap_widens_the_intervals() -> None:
    labels = np.repeat(np.random.default_rng(0).integers(0, 2, size=20), 10)
    table = two_class(labels, np.full(200, 0.3))
    one, other = (evaluate(overlapping(table, block), FACTS).figure("brier") for block in (1, 10))
    assert one.value == other.value
    assert other.high - other.low > 2 * (one.high - one.low)


def test_the_trivial_predictor_knows_the_class_share_and_the_common_pointers() -> None:
    table = random_table(0, 6)
    trivial = trivial_predictions(table, FACTS)
    np.testing.assert_allclose(trivial.class_prob, np.tile([0.75, 0.25], (6, 1)))
    np.testing.assert_array_equal(trivial.predicted_bar, np.tile([40, 46], (6, 1)))
    np.testing.assert_array_equal(trivial.pointer_prob, np.ones((6, 2)))
    np.testing.assert_array_equal(trivial.class_index, table.class_index)
    np.testing.assert_array_equal(trivial.true_bar, table.true_bar)
    assert trivial.window_id == table.window_id


def test_the_trivial_predictor_without_pointers_or_with_an_unseen_class() -> None:
    trivial = trivial_predictions(random_table(0, 4, THREE), replace(FACTS, common_start=None, common_end=None))
    np.testing.assert_allclose(trivial.class_prob, np.tile([0.75, 0.25, 0.0], (4, 1)))
    assert not trivial.predicts_pointers
    at_nought = trivial_predictions(random_table(0, 4), replace(FACTS, common_start=0, common_end=0))
    assert (at_nought.predicted_bar == 0).all()


def test_the_trivial_figures_are_those_of_the_share() -> None:
    table = two_class(np.array([0] * 6 + [1] * 2), np.linspace(0.1, 0.9, 8))
    evaluation = evaluate(table, FACTS)
    assert evaluation.figure("pr_auc").trivial == pytest.approx(0.5)
    assert evaluation.figure("pr_auc_retracement").trivial == pytest.approx(0.25)
    assert evaluation.figure("brier").trivial == pytest.approx(0.75 * 0.0625 + 0.25 * 0.5625)
    assert evaluation.figure("accuracy").trivial == pytest.approx(0.75)
    assert evaluation.figure("f1_retracement").trivial == 0.0


@pytest.mark.parametrize(
    ("counts", "rarer"),
    [
        ({"consolidation": 30, "retracement": 10}, "retracement"),
        ({"consolidation": 9, "retracement": 10}, "consolidation"),
        ({"consolidation": 10, "retracement": 10}, "retracement"),
        ({"retracement": 10, "consolidation": 10}, "retracement"),
    ],
)
def test_the_rarer_class_is_that_of_training_and_ties_go_to_the_later_name(counts: dict, rarer: str) -> None:
    facts = replace(FACTS, class_counts=counts)
    assert facts.rarer_class == rarer
    table = random_table(0, 20)
    figure = evaluate(table, facts, ("pr_auc",), ()).figure(f"pr_auc_{rarer}")
    assert figure.value == class_metrics.pr_auc_of(rarer)(table, ones(table))[0]


def test_one_class_only_is_null_with_a_reason_and_never_nan() -> None:
    table = two_class(np.zeros(12, dtype=np.int64), np.linspace(0.1, 0.4, 12))
    evaluation = evaluate(table, FACTS)
    for name in ("pr_auc", "pr_auc_retracement", "f1_retracement"):
        reason = "needs every class among the evaluated windows, and there is only consolidation"
        assert evaluation.figure(name) == Figure(name, None, None, None, None, reason)
    assert evaluation.figure("brier").value is not None
    text = json.dumps(evaluation.as_dict(), allow_nan=False)
    assert json.loads(text)["figures"]["pr_auc"]["value"] is None


def test_without_predicted_pointers_pointer_figures_are_null_with_a_reason() -> None:
    table = replace(random_table(0, 20), predicted_bar=np.full((20, 2), -1))
    evaluation = evaluate(table, FACTS)
    for name in HITS + LAGS + POINTERS:
        assert evaluation.figure(name) == Figure(name, None, None, None, None, "the model predicts no pointers")
    json.dumps(evaluation.as_dict(), allow_nan=False)


def test_without_true_pointers_only_false_alarms_are_counted() -> None:
    table = replace(random_table(0, 20), true_bar=np.full((20, 2), -1), pointer_prob=np.ones((20, 2)))
    evaluation = evaluate(table, FACTS)
    for name in [*HITS, *LAGS, "pointer_recall"]:
        assert evaluation.figure(name) == Figure(name, None, None, None, None, "no evaluated window has pointers")
    assert evaluation.figure("pointer_precision").value == evaluation.figure("pointer_f1").value == 0.0


def test_windows_without_label_count_for_no_class_figure() -> None:
    table = random_table(2, 30)
    unlabelled = table.class_index.copy()
    unlabelled[::3] = -1
    mixed = replace(table, class_index=unlabelled)
    kept = table.take(np.flatnonzero(unlabelled >= 0))
    evaluation = evaluate(mixed, FACTS)
    assert evaluation.n_windows == 30
    for name in CLASS_FIGURES:
        assert evaluation.figure(name).value == metric_of(name)(kept, ones(kept))[0]
    assert evaluation.figure("hit_at_pm3_both").value == pointer_metrics.hit_at(3, "both")(table, ones(table))[0]
    assert evaluation.reliability == reliability_bins(kept, 0)


@pytest.mark.parametrize("n", [0, 5])
def test_without_any_label_class_figures_are_null_with_a_reason(n: int) -> None:
    table = replace(random_table(0, n), class_index=np.full(n, -1))
    evaluation = evaluate(table, FACTS)
    for name in CLASS_FIGURES:
        assert evaluation.figure(name) == Figure(name, None, None, None, None, "no evaluated window has a label")
    assert (evaluation.reliability, evaluation.perfect_ece) == ([], {})
    assert evaluation.n_windows == n
    json.dumps(evaluation.as_dict(), allow_nan=False)


def test_an_evaluation_says_how_it_was_made() -> None:
    table = random_table(0, 25)
    evaluation = evaluate(table, FACTS, seed=4)
    assert (evaluation.part, evaluation.n_windows, evaluation.block_windows) == ("test", 25, 1)
    assert evaluation.perfect_ece == {bins: perfect_ece_range(table, bins, 4) for bins in ("width", "mass")}
    assert evaluation.reliability == reliability_bins(table, 4)
    content = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    assert content["n_resamples"] == 2000
    assert content["perfect_ece"]["width"] == list(evaluation.perfect_ece["width"])
    assert set(content["figures"]) == {figure.name for figure in evaluation.figures}
    assert content["figures"]["ece"] == asdict(evaluation.figure("ece"))


def test_the_seed_decides_the_intervals_and_not_the_figures() -> None:
    table = random_table(0, 25)
    one, again, other = (evaluate(table, FACTS, seed=seed) for seed in (4, 4, 5))
    assert one == again
    assert one.figure("brier").value == other.figure("brier").value
    assert one.figure("brier").low != other.figure("brier").low


def test_pointers_are_judged_at_the_threshold_of_training() -> None:
    table = random_table(0, 25)
    for threshold, used in ((0.75, 0.75), (None, 0.0)):
        figure = evaluate(table, replace(FACTS, pointer_threshold=threshold)).figure("pointer_f1")
        assert figure.value == pointer_metrics.pointer_f1(used)(table, ones(table))[0]


def test_facts_are_plain_values() -> None:
    assert TrainingFacts(**json.loads(json.dumps(asdict(FACTS)))) == FACTS


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    # One window of a class among few: most resamples of three windows lack one of both.
    table = table_of([0, 1], [[0.9, 0.1], [0.2, 0.8]])
    figure = evaluate(overlapping(table, 1), FACTS).figure("pr_auc")
    assert figure.value == 1.0
    resampled = class_metrics.pr_auc(table, block_weights(2, 1, 0))
    assert (figure.low, figure.high) == (percentile_interval(resampled) or (None, None))


EVEN = TrainingFacts({"consolidation": 50, "retracement": 50}, 40, 46, None)


def answer(challenger, gated=None, leaks=(), **options):
    return trust(challenger, trivial_predictions(challenger, EVEN), leaks, gated, **options)


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
    promote = Gated.of(judge(better, right(200, 0.6, 0.6, seed=1), EVEN, []), rival)
    assert promote.verdict == "promote"
    assert answer(better, promote).word == f"better than {rival}"
    thin = Gated.of(judge(better, same, EVEN, []), rival)
    assert thin.verdict != "promote"
    assert answer(better, thin).word == f"better than guessing, not than {rival}"


def test_how_many_windows_would_show_a_gain_is_said_once():
    better = right(200, 0.9, 0.9)
    thin = judge(right(60, 0.7, 0.7, seed=2), right(60, 0.65, 0.65, seed=3), EVEN, [])
    small = judge(*small_but_sure(), EVEN, [])
    held = judge(right(200, 0.8, 0.95), better, EVEN, [])
    assert [one.verdict for one in (thin, small, held)] == ["inconclusive", "inconclusive", "hold"]
    for verdict in (thin, small, held):
        assert verdict.says_n_more is (verdict is thin)
        assert answer(better, Gated.of(verdict, IN_USE)).sentence.count(" at 80 % power") == 1


def test_a_gate_of_other_windows_says_of_how_many():
    found = answer(right(200, 0.9, 0.9), Gated("promote", "made", n_windows=412, part="later"))
    assert found.sentence.endswith("on 200 windows, and the gate on 412 later windows says promote: made")


def test_a_promotion_of_the_log_is_told_with_what_it_replaced():
    entry = {"verdict": "inconclusive", "reason": "made", "baseline_kind": "promoted model", "n_windows": 200}
    found = answer(right(200, 0.9, 0.9), Gated.promoted(entry))
    assert found.word == "better than guessing, not than the model in use before it"
    assert found.sentence.endswith("on 200 windows; the gate says inconclusive: made")


def test_a_gate_that_promotes_does_not_make_up_for_windows_that_show_no_gain_over_guessing():
    assert answer(right(20, 0.55, 0.6), Gated("promote", "made")).word == GUESSING


def test_windows_that_the_model_saw_answer_nothing():
    found = answer(right(200, 0.9, 0.9), leaks=["the encoder was pretrained on them"])
    assert found.word == GUESSING
    assert "the encoder was pretrained on them" in found.sentence
    nothing = right(10, 0.9, 0.9)
    bare = trust(nothing.take(np.arange(0)), nothing.take(np.arange(0)), [])
    assert bare.sentence == "no evaluated window has a label"


def test_the_rival_is_named_for_what_it_is():
    assert rival_of("promoted model") == IN_USE
    assert rival_of("promoted model", is_promoted=True) == "the model in use before it"
    assert rival_of("from-scratch run") == "the from-scratch run"
    assert rival_of("run") == "the run it was compared with"
