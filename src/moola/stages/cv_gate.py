"""The gate on cross-validation: the rule on pooled windows, seeds, cheap references, controls.

Verdicts merge by one table, worst wins:

| what is evaluated | hold | inconclusive | promote |
|---|---|---|---|
| the rule on pooled windows | a rule is broken, or not above the class share | thin or small | sure |
| seeds | fewer than 4 of 5 are better than the baseline's in Brier | fewer than 5 seeds | 4 of 5 and more |
| cheap references | not better than the strongest in Brier and in PR-AUC | - | better in both |
| controls | a leak is known | they were not run | they found none |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moola.errors import InvalidData, WrongUsage
from moola.evaluation.class_metrics import brier
from moola.evaluation.comparisons import corrected_resampled_t
from moola.evaluation.figures import TrainingFacts
from moola.evaluation.gates import judge
from moola.files import same_place
from moola.models.references import REFERENCES
from moola.options.judging_options import GateOptions
from moola.options.option_fields import RUNS_ROOT
from moola.options.study_options import CV_ROOT
from moola.runs import run_store
from moola.stages.cv_pooling import FitTask, pool, read_fit
from moola.stages.evaluate import gate_and_remember
from moola.tables.prediction_table import Predictions, read_predictions

SEED_SHARE = 0.8
MIN_SEEDS = 5
RANK = {"promote": 0, "inconclusive": 1, "hold": 2}


@dataclass(frozen=True)
class Judgement:
    """One line of the merged verdict."""

    what: str
    verdict: str
    reason: str


def worst(judgements: list[Judgement]) -> Judgement:
    """Return the judgement that decides: the first of the worst."""
    return max(judgements, key=lambda one: RANK[one.verdict])


def is_cv(name: str | Path) -> bool:
    """Return whether a name is of a cv and not of a run: a folder in the one of cvs, or an id that is there."""
    path = Path(name)
    if path.parent != Path("."):
        return same_place(path.parent, CV_ROOT)
    return (CV_ROOT / run_store.full_name(path.name, (RUNS_ROOT, CV_ROOT))).is_dir()


def gate_named(options: GateOptions) -> dict[str, Any]:
    """Gate a run, with a note that its windows were looked at, or a cv."""
    return gate_cv(options) if is_cv(options.run_named()) else gate_and_remember(options)


def find_cv(name: str | Path) -> run_store.Run:
    """Find a cv of windows.

    Raises
    ------
    WrongUsage
        It is of events on a chart.
    """
    run = run_store.find_run(CV_ROOT, name)
    if run.manifest is not None and run.record.get("judged") == "events":
        raise WrongUsage(
            f"a cv must be of windows here, but {run.run_id} is of events. Compare its event table: moola gate "
            f"--events {run.folder}/events.parquet --baseline-events <other events> --truth {run.folder}/spans.csv."
        )
    return run


def gate_cv(options: GateOptions) -> dict[str, Any]:
    """Compare two cross-validations of the same windows; the merged verdict is in the result.

    Raises
    ------
    InvalidData
        No baseline was named, or it is of other windows or folds.
    WrongUsage
        Later windows are named: a cv has no model to read them.
    """
    if options.data is not None:
        raise WrongUsage(
            "--data must come with a run, but --run is a cv, which keeps no model. Name a run that was trained."
        )
    challenger_run = find_cv(options.run_named())
    if options.baseline is None:
        raise InvalidData(
            "the gate on a cv must have another cv as baseline, but --baseline is missing. "
            "Name one, such as a cv without pretraining on the same data."
        )
    baseline_run = find_cv(options.baseline)
    _same_folds(challenger_run, baseline_run)
    paths = (run.path(run_store.PREDICTIONS) for run in (challenger_run, baseline_run))
    challenger, baseline = (read_predictions(path).of_part("test") for path in paths)
    metrics = challenger_run.read(run_store.METRICS)
    facts = TrainingFacts(**challenger_run.read(run_store.FACTS))
    leaks = [str(leak) for leak in metrics["leaks"]]
    trivial = prevalence_of(challenger_run)
    verdict = judge(challenger, baseline, facts, leaks, options.seed, trivial, options.min_gain, options.ece_rule)
    judgements = [
        Judgement("rule", verdict.verdict, verdict.reason),
        by_seeds(
            metrics["by_seed"],
            baseline_run.read(run_store.METRICS)["by_seed"],
            # Records of before linear heads were fitted once do not say.
            metrics.get("seedless", False),
        ),
        by_references(metrics["figures"], metrics["references"]),
        by_controls(leaks, metrics["controls"]),
    ]
    deciding = worst(judgements)
    return verdict.as_dict() | {
        "run_id": challenger_run.run_id,
        "baseline": baseline_run.run_id,
        "baseline_kind": "cv",
        "baseline_note": "",
        "part": "out-of-fold",
        "leak_proof": not leaks,
        "labelled_by": metrics["labelled_by"],
        "resampled_t": resampled_t(challenger_run, baseline_run),
        "judgements": [vars(one) for one in judgements],
        "verdict": deciding.verdict,
        "reason": verdict.reason if deciding.what == "rule" else deciding.reason,
    }


def _same_folds(challenger: run_store.Run, baseline: run_store.Run) -> None:
    for name in ("data_sha256", "scheme", "n_folds", "embargo_bars"):
        mine, theirs = challenger.record.get(name), baseline.record.get(name)
        if mine != theirs:
            raise InvalidData(
                f"two cvs must have the same folds of the same data to be compared, but {name} is {mine} in "
                f"{challenger.run_id} and {theirs} in {baseline.run_id}. Run both with the same options."
            )


def prevalence_of(run: run_store.Run) -> Predictions:
    """Return the pooled predictions of the class share, each fold's own."""
    seed, n_folds = run.record["seed"], run.record["n_folds"]
    folds = [read_fit(FitTask(run.folder, fold, seed, 1.0, "prevalence"))[0] for fold in range(1, n_folds + 1)]
    return pool(folds)[0]


def by_controls(leaks: list[str], controls: dict[str, Any]) -> Judgement:
    """Ask that no leak is known and that the folds passed their controls; unrun controls are thin evidence."""
    found = [*leaks, *controls["leaks"]]
    if found:
        return Judgement("controls", "hold", "; ".join(found))
    if not controls["run"]:
        return Judgement("controls", "inconclusive", f"not run: {controls['why_not']}")
    return Judgement("controls", "promote", f"{controls['n_checks']} checks found no leak")


def resampled_t(challenger: run_store.Run, baseline: run_store.Run) -> dict[str, Any]:
    """Compare fold by fold and seed by seed with the corrected resampled t of Nadeau and Bengio, in Brier."""
    differences, n_train, n_test = [], [], []
    for fold in range(1, _count(challenger, "n_folds") + 1):
        for place in range(_count(challenger, "n_seeds")):
            mine, record = _fit_of(challenger, fold, place)
            theirs, _ = _fit_of(baseline, fold, min(place, _count(baseline, "n_seeds") - 1))
            ones = np.ones((1, len(mine)))
            differences.append(float(brier(mine, ones)[0] - brier(theirs, ones)[0]))
            n_train.append(record["n_train_windows"])
            n_test.append(len(mine))
    found = corrected_resampled_t(np.array(differences), int(np.mean(n_train)), int(np.mean(n_test)))
    values = {name: float(value) for name, value in asdict(found).items()}
    return {"n": len(differences)} | {name: value if np.isfinite(value) else None for name, value in values.items()}


def _count(run: run_store.Run, name: str) -> int:
    return int(run.record[name])


def _fit_of(run: run_store.Run, fold: int, place: int) -> tuple[Predictions, dict[str, Any]]:
    return read_fit(FitTask(run.folder, fold, int(run.record["seed"]) + place, 1.0, str(run.record["model"])))


def by_seeds(challenger: list[dict[str, Any]], baseline: list[dict[str, Any]], seedless: bool = False) -> Judgement:
    """Ask that at least 4 of 5 seeds have a lower pooled Brier than the baseline's seed of the same place.

    A baseline of one seed (a cheap reference, linear heads) is set against every seed of the challenger. Fewer than 5
    pairs are thin evidence, unless no seed changes the challenger: it is set against every seed of the baseline.
    """
    pairs = max(len(baseline), 1) if seedless else len(challenger)
    ours = challenger * pairs if seedless else challenger
    theirs = baseline * pairs if len(baseline) == 1 else baseline
    better = [bool(one["brier"] < other["brier"]) for one, other in zip(ours, theirs, strict=False)]
    sentence = f"{sum(better)} of {len(better)} seeds are better in Brier"
    if seedless:
        sentence = (
            f"no seed changes it, and it is better in Brier than {sum(better)} of {len(better)} of the baseline's"
        )
    if np.mean(better) < SEED_SHARE:
        return Judgement("seeds", "hold", sentence)
    return Judgement("seeds", "promote" if seedless or len(better) >= MIN_SEEDS else "inconclusive", sentence)


def by_references(figures: dict[str, Any], references: dict[str, dict[str, Any]]) -> Judgement:
    """Ask for a lower Brier and a higher PR-AUC than any cheap reference; names the strongest (lowest Brier)."""
    known = {name: row for name, row in references.items() if name in REFERENCES and row["brier"] is not None}
    mine = {metric: figures[metric]["value"] for metric in ("brier", "pr_auc")}
    if not known or None in mine.values() or any(row["pr_auc"] is None for row in known.values()):
        return Judgement("cheap references", "hold", "Brier or PR-AUC does not exist on these windows")
    name = min(known, key=lambda one: known[one]["brier"])
    best_pr_auc = max(row["pr_auc"] for row in known.values())
    better = mine["brier"] < known[name]["brier"] and mine["pr_auc"] > best_pr_auc
    sentence = (
        f"brier {mine['brier']:.3f} against {known[name]['brier']:.3f} of {name}, the strongest of them, and pr_auc "
        f"{mine['pr_auc']:.3f} against {best_pr_auc:.3f}, their best"
    )
    return Judgement("cheap references", "promote" if better else "hold", sentence)
