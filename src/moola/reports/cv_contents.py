"""Gathers what the report of a cross-validation or a comparison shows."""

from __future__ import annotations

from typing import Any

from moola.evaluation.trust import Trust
from moola.options.judging_options import ReportOptions, gate_options
from moola.options.study_options import CompareOptions, CvOptions
from moola.reports.contents import ReportContent, ShownTable, ShownVerdict, drift_tables, judged_bars
from moola.reports.figure_rows import figure_name, shown
from moola.runs import run_store
from moola.stages.compare import compare
from moola.stages.cross_validate import SHOWN
from moola.stages.cv_gate import find_cv, gate_cv
from moola.stages.model_card import command_line
from moola.tables.prediction_table import read_predictions

COMPARED = ("value", "difference", "low", "high", "detectable", "p", "p_holm")


def gather_cv(options: ReportOptions) -> ReportContent:
    """Collect a cv's page: pooled figures beside cheap references, folds, seeds, labels, the merged verdict."""
    run = find_cv(options.run)
    assert run.manifest is not None
    metrics, config = run.read(run_store.METRICS), run.read(run_store.CONFIG)
    predictions = read_predictions(run.path(run_store.PREDICTIONS)).of_part("test")
    drift = drift_tables(predictions, options.seed)
    verdict, tables = None, [*_spread_tables(metrics), *drift, _uncertainty_table(metrics["uncertainty"])]
    if options.baseline is not None:
        gate = gate_cv(gate_options(options))
        verdict = ShownVerdict(gate["verdict"], f"{gate['reason']}. Against {gate['baseline']}.")
        tables.insert(0, _judgement_table(gate["judgements"]))
    elif (against := metrics.get("against_reference")) is not None:
        sentence = f"{against['reason']}. Against {against['reference']}, the cheap reference with the lowest Brier."
        verdict = ShownVerdict(against["verdict"], sentence)
    ohlc, no_ohlc = judged_bars(config, str(run.manifest.get("data_sha256")), predictions)
    return ReportContent(
        title=f"Cross-validation {run.run_id}",
        evaluation=metrics,
        predictions=predictions,
        verdict=verdict,
        trust=str(Trust(**metrics["trust"])) if "trust" in metrics else "",
        no_verdict="A verdict needs another cross-validation to beat: name it with --baseline.",
        leaks=metrics["leaks"],
        leak_proof=not metrics["leaks"],
        ohlc=ohlc,
        no_ohlc=no_ohlc,
        references={name: row for name, row in metrics["references"].items() if name != "prevalence"},
        tables=tables,
        facts={"Cross-validation": _facts(run.manifest, config)},
        commands=[command_line("cv", CvOptions, config)],
    )


def _facts(manifest: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    names = ("model", "scheme", "n_folds", "n_seeds", "embargo_bars", "seed", "data_sha256", "n_pooled", "n_labelled")
    facts = {name: str(manifest.get(name)) for name in (*names, "git_commit", "finished_at")}
    return facts | {"data": str(config.get("data")), "labelled_by": ", ".join(manifest.get("labelled_by") or [])}


def _spread_tables(metrics: dict[str, Any]) -> list[ShownTable]:
    sections = (("Folds", "by_fold", ("fold", "train", "val", "test")), ("Seeds", "by_seed", ("seed",)))
    tables = [_table(title, metrics[key], first) for title, key, first in sections]
    if len(metrics["label_efficiency"]) > 1:
        tables.append(_table("Label efficiency", metrics["label_efficiency"], ("label_fraction", "n_train_windows")))
    return tables


def _table(title: str, rows: list[dict[str, Any]], first: tuple[str, ...]) -> ShownTable:
    header = [*(name.replace("_", " ") for name in first), *(figure_name(name) for name in SHOWN)]
    cells = [[*(f"{row[name]:g}" for name in first), *(shown(name, row[name]) for name in SHOWN)] for row in rows]
    return ShownTable(title, header, cells)


def _judgement_table(judgements: list[dict[str, str]]) -> ShownTable:
    rows = [[row["what"], row["verdict"], row["reason"]] for row in judgements]
    return ShownTable("How the verdict was merged: the worst wins", ("judged", "verdict", "reason"), rows)


def _uncertainty_table(found: dict[str, Any]) -> ShownTable:
    """What can be predicted for single windows, and how often that held out of fold."""
    asked = f"{100 * (1 - found['alpha']):.6g} % asked"
    answers = ", ".join(f"{count} {name}" for name, count in found["answers"].items())
    rows = [["class sets", answers, f"{_covered(found, 'class_')}, {asked}"]]
    for which, row in found["pointers"].items():
        if row is not None:
            bars = "too few windows" if row["within_bars"] is None else f"within {row['within_bars']:g} bars"
            rows.append([f"{which} pointer", bars, f"{_covered(row)}, {asked}"])
    if found.get("venn_abers_width") is not None:
        rows.append(["Venn-Abers interval", f"{found['venn_abers_width']:.3f} wide on average", ""])
    note = (
        "Each window uses earlier folds alone, without windows that share a bar with its fold. If a model degrades "
        "over time, coverage of future windows is lower than here: see the latest fold."
    )
    return ShownTable("Uncertainty of a single window", ("of", "answer", "coverage"), rows, note)


def comparison_table(options: ReportOptions) -> ShownTable:
    """Compare what was named with the page's own run or cv."""
    result = compare([str(options.run), *options.compare], CompareOptions(seed=options.seed))
    rows = [
        [row["name"], figure_name(row["metric"]), *("–" if row[key] is None else f"{row[key]:.3f}" for key in COMPARED)]
        for row in result["rows"]
    ]
    header = ("run", "figure", "value", "difference", "low", "high", "detectable", "p", "p (Holm)")
    note = (
        f"Paired bootstrap over blocks of {result['block_windows']} windows, baseline {result['baseline']}. "
        "Detectable: the smallest true difference that these windows would show with power 0.8."
    )
    return ShownTable("Comparison", header, rows, note)


def _covered(found: dict[str, Any], prefix: str = "") -> str:
    """Write a coverage with its interval; cvs of older versions lack both."""
    share = found[f"{prefix}coverage"]
    if share is None:
        return "too few windows"
    low, high = (found.get(f"{prefix}coverage_{end}") for end in ("low", "high"))
    latest = [row["coverage"] for row in found.get(f"{prefix}coverage_by_fold", [])][-1:]
    interval = "" if low is None else f" [{low:.0%}, {high:.0%}]"
    return f"{share:.0%} covered{interval}" + "".join(f", latest fold {one:.0%}" for one in latest if one is not None)
