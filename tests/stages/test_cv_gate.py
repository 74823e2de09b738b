"""The merged verdict: each line of the table, and that the worst wins."""

from __future__ import annotations

from moola.stages.cv_gate import Judgement, by_controls, by_references, by_seeds, is_cv, worst


def seeds(*values):
    return [{"brier": value} for value in values]


def test_four_of_five_seeds_must_be_better_and_few_seeds_are_thin_evidence():
    for better, verdict in ((5, "promote"), (4, "promote"), (3, "hold"), (0, "hold")):
        judgement = by_seeds(seeds(*[0.1] * better, *[0.3] * (5 - better)), seeds(*[0.2] * 5))
        assert judgement.verdict == verdict
        assert judgement.reason == f"{better} of 5 seeds are better in Brier"
    assert by_seeds(seeds(0.1), seeds(0.2)).verdict == "inconclusive"
    assert by_seeds(seeds(0.3), seeds(0.2)).verdict == "hold"
    # One reference stands against all.
    assert by_seeds(seeds(*[0.1] * 5), seeds(0.2)).verdict == "promote"


def figures(brier, pr_auc):
    return {"brier": {"value": brier}, "pr_auc": {"value": pr_auc}}


REFERENCES = {
    "prevalence": {"brier": 0.25, "pr_auc": 0.5},
    "logistic": {"brier": 0.22, "pr_auc": 0.7},
    "summary_trees": {"brier": 0.20, "pr_auc": 0.75},
}


def test_the_strongest_reference_must_be_beaten_in_both_and_every_one_in_pr_auc():
    for brier, pr_auc, verdict in ((0.19, 0.8, "promote"), (0.21, 0.8, "hold"), (0.19, 0.74, "hold")):
        judgement = by_references(figures(brier, pr_auc), REFERENCES)
        assert judgement.verdict == verdict
        assert "of summary_trees, the strongest of them" in judgement.reason
    better_ranked = REFERENCES | {"logistic": {"brier": 0.22, "pr_auc": 0.85}}
    assert by_references(figures(0.19, 0.8), better_ranked).verdict == "hold"
    # Figures that are not defined hold.
    assert by_references(figures(0.19, None), REFERENCES).verdict == "hold"
    assert by_references(figures(0.19, 0.8), {"logistic": {"brier": 0.2, "pr_auc": None}}).verdict == "hold"


def test_the_worst_wins_and_the_first_of_equals_speaks():
    lines = [Judgement("a", "promote", "1"), Judgement("b", "inconclusive", "2"), Judgement("c", "inconclusive", "3")]
    assert worst(lines).what == "b"
    assert worst([*lines, Judgement("d", "hold", "4")]).what == "d"
    assert worst(lines[:1]).verdict == "promote"


def test_a_cv_is_what_lies_among_cvs_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "20260101T000000Z-cv_enhanced_simple_lstm-s17-0a1b2c3d"
    assert is_cv(f"artifacts/cv/{name}/")
    assert not is_cv(f"artifacts/runs/{name}")
    assert not is_cv(name)
    (tmp_path / "artifacts/cv" / name).mkdir(parents=True)
    assert is_cv(name)
    assert is_cv(name[:12])


def test_controls_must_have_been_run_and_found_nothing():
    run = {"run": True, "n_checks": 9, "leaks": []}
    for leaks, controls, verdict in (
        ([], run, "promote"),
        ([], {"run": False, "why_not": "--controls false", "leaks": []}, "inconclusive"),
        ([], run | {"leaks": ["fold 1, order: late"]}, "hold"),
        (["the encoder saw it"], run, "hold"),
    ):
        assert by_controls(leaks, controls).verdict == verdict
