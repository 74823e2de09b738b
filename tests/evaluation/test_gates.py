"""The gate: every outcome is reached by a made case, and the rules bite at their edges."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from moola.errors import InvalidData
from moola.evaluation.class_metrics import brier, brier_by_window, ece, pr_auc
from moola.evaluation.comparisons import block_weights, percentile_interval
from moola.evaluation.figures import TrainingFacts, trivial_predictions
from moola.evaluation.gates import COMPARED, SURE, WINDOWS, Comparison, Outcome, Verdict, ece_may_be_noise, judge
from moola.tables.prediction_table import Predictions
from tests.predictions_made import DAY_US, THREE, ones, random_table, table_of, two_class

EVEN = TrainingFacts({"consolidation": 50, "retracement": 50}, 40, 46, None)


def right(n: int, share: float, sure: float, seed: int = 0) -> Predictions:
    """Windows of alternating classes: this share of them right, all as sure."""
    class_index = np.arange(n) % 2
    is_right = np.random.default_rng(seed).permutation(np.arange(n) < round(share * n))
    said = np.where(is_right, class_index, 1 - class_index)
    return two_class(class_index, np.where(said == 1, sure, 1 - sure))


def perfect_rank(n: int, sure: float) -> Predictions:
    return right(n, 1.0, sure)


def verdict_of(challenger: Predictions, baseline: Predictions, leaks: list[str] | None = None) -> Verdict:
    return judge(challenger, baseline, EVEN, leaks or [])


def comparison(verdict: Verdict, metric: str) -> Comparison:
    return next(row for row in verdict.comparisons if row.metric == metric)


def broken_rules(verdict: Verdict) -> list[str]:
    return [row.metric for row in verdict.comparisons if not row.holds]


def test_a_model_that_is_clearly_better_is_promoted() -> None:
    verdict = verdict_of(right(200, 0.9, 0.9), right(200, 0.6, 0.6, seed=1))
    assert verdict.verdict == "promote"
    assert broken_rules(verdict) == []
    assert verdict.probability_better == 1.0
    assert verdict.reason == "every rule holds, and Brier is better with probability 1.000 (0.95 is needed)"
    assert verdict.counts["n_windows"] == 200
    # It is shown already: no fewer than one window more can be asked for.
    assert verdict.n_more == 1


def test_thin_evidence_is_inconclusive_and_says_how_many_windows_would_show_which_gain() -> None:
    challenger, baseline = right(60, 0.7, 0.7, seed=2), right(60, 0.65, 0.65, seed=3)
    verdict = verdict_of(challenger, baseline)
    assert verdict.verdict == "inconclusive"
    assert broken_rules(verdict) == []
    assert 0.5 < verdict.probability_better < SURE
    assert verdict.n_more > 0
    assert verdict.reason == (
        f"every rule holds, but Brier is better only with probability {verdict.probability_better:.3f} (0.95 is "
        f"needed); a gain is shown at 80 % power with some {verdict.n_more} more labelled windows like "
        f"these if the true gain is as large as seen ({-comparison(verdict, 'brier').difference:.3f}), with some "
        f"{verdict.n_more_min_gain} more if it is 0.01, the smallest worth having"
    )
    gain = brier(baseline, block_weights(60, 1, 0)) - brier(challenger, block_weights(60, 1, 0))
    difference = brier(challenger, ones(challenger))[0] - brier(baseline, ones(baseline))[0]
    needed = 60 * ((norm.ppf(0.95) + norm.ppf(0.8)) * gain.std() / difference) ** 2
    assert abs(verdict.n_more - (np.ceil(needed) - 60)) <= 1
    assert abs(verdict.n_more_min_gain - (needed * (difference / 0.01) ** 2 - 60)) <= 2
    # With a gain that these windows show already there is none to add, and without a least gain nothing to say of it.
    large = judge(challenger, baseline, EVEN, [], min_gain=0.5)
    assert (large.n_more_min_gain, large.min_gain) == (0, 0.5)
    assert "with these windows already if it is 0.5" in large.reason
    none = judge(challenger, baseline, EVEN, [], min_gain=0.0)
    assert none.n_more_min_gain is None
    assert none.reason.endswith(f"as large as seen ({difference * -1:.3f})")


def small_but_sure() -> tuple[Predictions, Predictions]:
    """The challenger is a little nearer to the truth on every window."""
    baseline = right(200, 0.9, 0.85)
    truth = np.eye(2)[baseline.class_index]
    return replace(baseline, class_prob=baseline.class_prob + 0.002 * (truth - baseline.class_prob)), baseline


def test_a_gain_smaller_than_worth_having_is_inconclusive_however_sure() -> None:
    challenger, baseline = small_but_sure()
    verdict = verdict_of(challenger, baseline)
    gain = -comparison(verdict, "brier").difference
    assert 0 < gain < 0.01
    assert broken_rules(verdict) == []
    assert verdict.probability_better == 1.0
    assert verdict.verdict == "inconclusive"
    assert verdict.reason == (
        f"every rule holds and Brier is better with probability 1.000, but the gain of {gain:.4f} is smaller than "
        "worth having (0.01, --min-gain)"
    )
    # The contract's own rule takes any gain; the option is the least gain, itself included.
    for least, word in ((0.0, "promote"), (gain, "promote"), (math.nextafter(gain, 1), "inconclusive")):
        assert judge(challenger, baseline, EVEN, [], min_gain=least).verdict == word


@pytest.mark.slow
def test_the_windows_for_the_smallest_gain_have_the_power_that_is_claimed() -> None:
    # Windows drawn one by one from many: the gain of all of them is the true one.
    rng = np.random.default_rng(5)
    n_all, n_few, n_tries = 20_000, 80, 200
    class_index = rng.integers(0, 2, n_all)
    signal = 0.3 * (2 * class_index - 1)
    prob = [0.5 + np.clip(signal * share + rng.normal(0, 0.25, n_all), -0.49, 0.49) for share in (0.7, 0.6)]
    challenger, baseline = (two_class(class_index, one) for one in prob)
    gain = (brier(baseline, ones(baseline)) - brier(challenger, ones(challenger)))[0]
    assert gain > 0.01
    draws = [rng.integers(0, n_all, n_few) for _ in range(25)]
    few = [judge(drawn(challenger, rows), drawn(baseline, rows), EVEN, [], min_gain=gain) for rows in draws]
    needed = n_few + int(np.median([verdict.n_more_min_gain for verdict in few]))
    weights, errors = block_weights(needed, 1, 0), brier_by_window(baseline) - brier_by_window(challenger)
    tries = [errors[rng.integers(0, n_all, needed)] for _ in range(n_tries)]
    shown = np.mean([((weights @ one) > 0).mean() >= SURE for one in tries])
    # Four of five, within three standard errors of 200 tries.
    assert abs(shown - 0.8) < 3 * math.sqrt(0.8 * 0.2 / n_tries)


def drawn(table: Predictions, rows: np.ndarray) -> Predictions:
    return table_of(table.class_index[rows], table.class_prob[rows])


@pytest.mark.slow
def test_so_many_more_windows_like_these_do_show_it() -> None:
    challenger, baseline = right(60, 0.7, 0.7, seed=2), right(60, 0.65, 0.65, seed=3)
    verdict = verdict_of(challenger, baseline)
    times = int(np.ceil((60 + verdict.n_more) / 60))

    def tiled(table: Predictions, n_times: int) -> Predictions:
        return table_of(np.tile(table.class_index, n_times), np.tile(table.class_prob, (n_times, 1)))

    enough = verdict_of(tiled(challenger, times), tiled(baseline, times))
    assert enough.probability_better > SURE - 0.02
    assert verdict_of(tiled(challenger, 2 * times), tiled(baseline, 2 * times)).verdict == "promote"
    quarter = verdict_of(tiled(challenger, times // 4), tiled(baseline, times // 4))
    assert quarter.verdict == "inconclusive"


def test_a_lower_precision_alone_holds() -> None:
    verdict = verdict_of(right(200, 0.9, 0.9), perfect_rank(200, 0.51))
    assert (verdict.verdict, broken_rules(verdict)) == ("hold", ["pr_auc"])
    assert verdict.reason == "PR-AUC must be higher, but it is {:.3f} against 1.000".format(
        comparison(verdict, "pr_auc").challenger
    )


def test_a_higher_brier_alone_holds() -> None:
    baseline = right(400, 0.9, 0.9)
    sure = np.full(400, 0.919)
    # One window that is wrong ranks lower, so that precision is higher; all others are too sure.
    wrong = np.flatnonzero(baseline.class_prob.argmax(axis=1) != baseline.class_index)[0]
    sure[wrong] = 0.88
    said_second = baseline.class_prob[:, 1] > 0.5
    challenger = two_class(baseline.class_index, np.where(said_second, sure, 1 - sure))
    verdict = verdict_of(challenger, baseline)
    assert (verdict.verdict, broken_rules(verdict)) == ("hold", ["brier"])
    assert verdict.reason.startswith("Brier must be lower, but it is ")
    assert verdict.n_more is None


def test_a_ranking_no_better_than_the_class_share_holds() -> None:
    # A little below one half for all: Brier beats a share of 0.9 by far, the ranking is upside down.
    class_index = np.array([0] * 100 + [1] * 100)
    challenger = two_class(class_index, np.where(class_index == 1, 0.49, 0.5))
    baseline = two_class(class_index, np.where(class_index == 1, 0.05, 0.95))
    baseline.class_prob[[0, 150]] = baseline.class_prob[[150, 0]]
    facts = replace(EVEN, class_counts={"consolidation": 90, "retracement": 10})
    verdict = judge(challenger, baseline, facts, [])
    assert verdict.verdict == "hold"
    assert "pr_auc" in verdict.reason
    assert "class share" in verdict.reason
    assert "brier" not in verdict.reason


def test_equal_to_the_class_share_is_not_better() -> None:
    table = right(40, 0.5, 0.9)
    share = trivial_predictions(table, EVEN)
    verdict = verdict_of(share, table)
    assert verdict.verdict == "hold"
    assert verdict.reason == (
        "the challenger is not better than the class share: pr_auc 0.500 against 0.500, brier 0.250 against 0.250"
    )


def test_windows_without_label_are_left_out() -> None:
    challenger, baseline = right(100, 0.9, 0.9), right(100, 0.6, 0.6, seed=1)
    labels = challenger.class_index.copy()
    labels[:40] = -1
    verdict = verdict_of(replace(challenger, class_index=labels), replace(baseline, class_index=labels))
    rest = np.arange(40, 100)
    assert verdict == verdict_of(challenger.take(rest), baseline.take(rest))
    assert verdict.counts["n_windows"] == 60


def test_other_windows_labels_or_classes_are_refused() -> None:
    table = random_table(0, 20)
    others = [
        table.take(np.arange(19)),
        table.take(np.arange(20)[::-1]),
        replace(table, window_id=[*table.window_id[:-1], "other"]),
        replace(table, class_index=1 - table.class_index),
        replace(table, class_names=table.class_names[::-1]),
        random_table(0, 20, THREE),
    ]
    for other in others:
        with pytest.raises(InvalidData, match="must be evaluated on the same windows"):
            verdict_of(table, other)


def test_precision_must_be_higher_and_not_equal() -> None:
    # Squeezed towards the truth with the ranks kept: Brier is lower, precision the same.
    baseline = right(200, 0.9, 0.7)
    verdict = verdict_of(right(200, 0.9, 0.8), baseline)
    assert comparison(verdict, "pr_auc").difference == 0
    assert comparison(verdict, "brier").difference < 0
    assert (verdict.verdict, broken_rules(verdict)) == ("hold", ["pr_auc"])


def test_brier_must_be_lower_and_not_equal() -> None:
    # The same errors, in binary fractions, on other windows: precision differs, Brier does not.
    class_index = np.array([1] * 4 + [0] * 12)
    errors = np.full(16, 0.25)
    in_first, in_second = errors.copy(), errors.copy()
    in_first[0], in_second[15] = 0.875, 0.875
    one, other = (two_class(class_index, np.where(class_index == 1, 1 - e, e)) for e in (in_first, in_second))
    better, worse = sorted((one, other), key=lambda table: -pr_auc(table, ones(table))[0])
    verdict = judge(better, worse, replace(EVEN, class_counts={"consolidation": 75, "retracement": 25}), [])
    assert comparison(verdict, "pr_auc").difference > 0
    assert comparison(verdict, "brier").difference == 0
    assert (verdict.verdict, broken_rules(verdict)) == ("hold", ["brier"])


@pytest.mark.parametrize(("beyond", "holds"), [(-1e-6, True), (1e-6, False)])
def test_ece_may_be_two_hundredths_higher_and_no_more(beyond: float, holds: bool) -> None:
    # All right with confidence c shows an ECE of 1 - c; the baseline has one wrong window on top.
    baseline = right(100, 0.99, 0.9)
    wanted = ece(baseline, ones(baseline))[0] + 0.02 + beyond
    verdict = verdict_of(perfect_rank(100, 1 - wanted), baseline)
    assert comparison(verdict, "ece").difference == pytest.approx(0.02 + beyond, abs=1e-9)
    assert comparison(verdict, "ece").holds is holds
    assert ("ece" in broken_rules(verdict)) is not holds


def test_ece_may_be_as_much_higher_as_the_margin_says(monkeypatch: pytest.MonkeyPatch) -> None:
    challenger, baseline = perfect_rank(100, 0.7), right(100, 0.99, 0.9)
    higher = comparison(verdict_of(challenger, baseline), "ece").difference
    for margin, holds in ((higher, True), (math.nextafter(higher, 0), False)):
        monkeypatch.setattr("moola.evaluation.gates.ECE_MARGIN", margin)
        assert comparison(verdict_of(challenger, baseline), "ece").holds is holds


@pytest.mark.parametrize("block", [1, 5])
def test_comparisons_are_paired_on_the_same_resamples(block: int) -> None:
    challenger, baseline = (
        random_table(1, 60),
        replace(random_table(2, 60), class_index=random_table(1, 60).class_index),
    )
    start = challenger.start_us
    challenger, baseline = (replace(t, end_us=start + (block - 1) * DAY_US) for t in (challenger, baseline))
    verdict = judge(challenger, baseline, EVEN, [], seed=3)
    weights, trivial = block_weights(60, block, 3), trivial_predictions(challenger, EVEN)
    assert verdict.counts["block_windows"] == block
    assert [row.metric for row in verdict.comparisons] == list(COMPARED) == list(WINDOWS.rules)
    for row, metric in zip(verdict.comparisons, (pr_auc, brier, ece), strict=True):
        mine, theirs = metric(challenger, ones(challenger))[0], metric(baseline, ones(baseline))[0]
        assert (row.challenger, row.baseline, row.difference) == (mine, theirs, mine - theirs)
        assert row.trivial == metric(trivial, ones(trivial))[0]
        assert (row.low, row.high) == percentile_interval(metric(challenger, weights) - metric(baseline, weights))
    better = brier(challenger, weights) < brier(baseline, weights)
    assert verdict.probability_better == better.mean()


def test_promotion_asks_for_the_probability_of_ninety_five_in_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    challenger, baseline = right(60, 0.7, 0.7, seed=2), right(60, 0.65, 0.65, seed=3)
    probability = verdict_of(challenger, baseline).probability_better
    assert SURE == 0.95
    monkeypatch.setattr("moola.evaluation.gates.SURE", probability)
    assert verdict_of(challenger, baseline).verdict == "promote"
    monkeypatch.setattr("moola.evaluation.gates.SURE", probability + 1e-9)
    assert verdict_of(challenger, baseline).verdict == "inconclusive"


def test_every_outcome_has_one_of_three_verdicts() -> None:
    verdicts = {outcome.name: outcome.verdict for outcome in Outcome}
    holds = {"HOLD_RULE", "HOLD_TRIVIAL", "HOLD_LEAK", "HOLD_SAME", "HOLD_UNDEFINED"}
    thin = {"INCONCLUSIVE", "INCONCLUSIVE_SMALL", "INCONCLUSIVE_ECE", "INCONCLUSIVE_SHORT"}
    assert verdicts == {"PROMOTE": "promote", **dict.fromkeys(thin, "inconclusive"), **dict.fromkeys(holds, "hold")}


def test_a_verdict_is_plain_values_and_repeats_itself() -> None:
    challenger, baseline = right(60, 0.7, 0.7, seed=2), right(60, 0.65, 0.65, seed=3)
    verdict = verdict_of(challenger, baseline)
    assert verdict == verdict_of(challenger, baseline)
    content = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert content["verdict"] == verdict.verdict
    assert [row["metric"] for row in content["comparisons"]] == ["pr_auc", "brier", "ece"]
    assert verdict != judge(challenger, baseline, EVEN, [], seed=1)


def test_the_noise_rule_turns_a_broken_ece_rule_alone_into_inconclusive_within_the_range_of_a_perfect_model() -> None:
    """40 windows of which 34 are right and 0.95 sure: ECE 0.1, against a baseline right as often as it says."""
    challenger, baseline = right(40, 0.85, 0.95), right(40, 0.6, 0.6, seed=1)
    held = verdict_of(challenger, baseline)
    assert (held.verdict, broken_rules(held)) == ("hold", ["ece"])
    low, high = held.perfect_ece
    assert low < high
    assert comparison(held, "ece").challenger == pytest.approx(0.1)
    noise = judge(challenger, baseline, EVEN, [], ece_rule="noise")
    assert (noise.verdict == "inconclusive") == (high >= 0.1)
    # The edge itself is inside, a hair above it is not.
    for move, word in ((0.0, "inconclusive"), (-1e-9, "hold")):
        with pytest.MonkeyPatch.context() as patch:
            edge = comparison(held, "ece").challenger + move
            patch.setattr("moola.evaluation.gates.perfect_ece_range", lambda *_, edge=edge: (0.0, edge))
            assert judge(challenger, baseline, EVEN, [], ece_rule="noise").verdict == word
            assert judge(challenger, baseline, EVEN, []).verdict == "hold"


def test_the_noise_rule_forgives_nothing_but_ece() -> None:
    worse = judge(right(200, 0.6, 0.95, seed=1), right(200, 0.9, 0.9), EVEN, [], ece_rule="noise")
    assert worse.verdict == "hold"
    leak = judge(right(40, 0.85, 0.95), right(40, 0.6, 0.6, seed=1), EVEN, ["seen"], ece_rule="noise")
    assert leak.verdict == "hold"
    for rule in ("contract", "noise"):
        better = judge(right(200, 0.9, 0.9), right(200, 0.6, 0.6, seed=1), EVEN, [], ece_rule=rule)
        assert (better.verdict, better.ece_rule) == ("promote", rule)


def test_noise_explains_a_broken_ece_rule_alone() -> None:
    def row(metric: str, value: float | None, holds: bool = False) -> Comparison:
        return Comparison(metric, value, 0.0, None, value, None, None, holds)

    assert ece_may_be_noise([row("ece", 0.1), row("brier", 0.1, holds=True)], (0.0, 0.1))
    for rows, perfect in (
        ([row("ece", 0.1), row("brier", 0.1)], (0.0, 0.1)),
        ([row("brier", 0.1)], (0.0, 0.1)),
        ([row("ece", None)], (0.0, 0.1)),
        ([row("ece", 0.1)], None),
    ):
        assert not ece_may_be_noise(rows, perfect)


def test_only_a_thin_verdict_says_how_many_windows_would_show_a_gain() -> None:
    thin = verdict_of(right(60, 0.7, 0.7, seed=2), right(60, 0.65, 0.65, seed=3))
    promoted = verdict_of(right(200, 0.9, 0.9), right(200, 0.6, 0.6, seed=1))
    assert [one.says_n_more for one in (thin, replace(thin, n_more=None), promoted)] == [True, False, False]
