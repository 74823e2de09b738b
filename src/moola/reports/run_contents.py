"""Gathers what the report of a run, a cross-validation or a comparison shows, with the data file where it still
exists."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from moola.errors import InvalidData, MoolaError
from moola.evaluation.figures import evaluate
from moola.evaluation.trust import Trust
from moola.files import read_bytes, sha256_file
from moola.options.judging_options import REPORTS_ROOT, EvalOptions, EventTruthOptions, ReportOptions, gate_options
from moola.options.option_fields import PROMOTED_NAME, PROMOTED_ROOT, RUNS_ROOT
from moola.options.study_options import CompareOptions, CvOptions
from moola.reports.contents import (
    EventsShown,
    ReportContent,
    ShownTable,
    ShownVerdict,
    commands_of,
    drift_tables,
    judged_bars,
)
from moola.reports.figure_rows import figure_name, shown
from moola.reports.report_page import report
from moola.runs import run_store
from moola.runs.promotion import promoted_path
from moola.stages import evaluate as judging
from moola.stages import judge_events
from moola.stages.compare import compare
from moola.stages.cross_validate import SHOWN
from moola.stages.cv_gate import find_cv, gate_cv, is_cv
from moola.stages.evaluate import trust_of_run
from moola.stages.run_summary import PartOfSplit, RunSummary, command_line
from moola.tables.prediction_table import read_predictions

COMPARED = ("value", "difference", "low", "high", "detectable", "p", "p_holm")


def gather_cv(options: ReportOptions) -> ReportContent:
    """Collect a cv's page: pooled figures beside cheap references, folds, seeds, labels, the merged verdict."""
    run = find_cv(options.run)
    metrics, config = run.read(run_store.METRICS), run.read(run_store.CONFIG)
    predictions = read_predictions(run.path(run_store.PREDICTIONS)).of_part("test")
    drift = drift_tables(predictions, options.seed)
    verdict, tables = None, [*_spread_tables(metrics), *drift, _uncertainty_table(metrics["uncertainty"])]
    if options.baseline is not None:
        gate = gate_cv(gate_options(options))
        verdict = ShownVerdict(gate["verdict"], f"{gate['reason']}. Against {gate['baseline']}.")
        rows = [[row["what"], row["verdict"], row["reason"]] for row in gate["judgements"]]
        header = ("judged", "verdict", "reason")
        tables.insert(0, ShownTable("How the verdict was merged: the worst wins", header, rows))
    elif (against := metrics.get("against_reference")) is not None:
        sentence = f"{against['reason']}. Against {against['reference']}, the cheap reference with the lowest Brier."
        verdict = ShownVerdict(against["verdict"], sentence)
    ohlc, no_ohlc = judged_bars(config, str(run.record.get("data_sha256")), predictions)
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
        facts={"Cross-validation": _cv_facts(run.record, config)},
        commands=[command_line("cv", CvOptions, config)],
    )


def _cv_facts(manifest: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
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


def _uncertainty_table(found: dict[str, Any]) -> ShownTable:
    """What can be predicted for single windows, and how often that held out of fold."""
    asked = f"{100 * (1 - found['alpha']):.6g} % nominal"
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


GATE_HEADER = ("figure", "this run", "baseline", "class share", "difference", "95 % interval", "rule holds")


def report_run(options: ReportOptions) -> dict[str, Any]:
    """Write the page of a run or a cv, with a comparison where it is asked, and report what it says."""
    if is_cv(options.run):
        run_id, content = Path(str(options.run).rstrip("/")).name, gather_cv(options)
    else:
        run = run_store.find_run(RUNS_ROOT, options.run)
        run_id, content = run.run_id, gather_run(run, options)
    if options.compare:
        content = replace(content, tables=[comparison_table(options), *content.tables])
    content = replace(content, events=_events(options))
    path = options.output or REPORTS_ROOT / f"{run_id}.html"
    report(path, content)
    verdict = content.verdict
    return {
        "run_id": run_id,
        "report": str(path),
        "sha256": sha256_file(path),
        "size_bytes": path.stat().st_size,
        "verdict": None if verdict is None else verdict.word,
        "reason": content.no_verdict if verdict is None else verdict.sentence,
        "part": content.evaluation["part"],
        "n_windows": content.evaluation["n_windows"],
        "leaks": list(content.leaks),
        "no_bars": content.no_ohlc,
    }


def _events(options: ReportOptions) -> EventsShown | None:
    """Evaluate the events of a scan for the page; its figures are not written elsewhere."""
    if options.events is None:
        options.refuse_idle()
        return None
    given = {name: getattr(options, name) for name in (one.name for one in fields(EventTruthOptions))}
    result, judged, truth = judge_events.evaluated(EvalOptions(events=options.events, seed=options.seed, **given))
    return EventsShown(result, judged, truth.bars, truth.class_names, truth.has_prices)


def gather_run(run: run_store.Run, options: ReportOptions) -> ReportContent:
    """Collect all that the page shows; a missing baseline or data file is reported, and stops nothing."""
    predictions = judging.judged_predictions(run)
    gate, no_gate = _gate(run, options)
    trust = trust_of_run(run, options.seed, options.min_gain) if gate is None else Trust(**gate["trust"])
    summary = RunSummary.of(run, evaluate(predictions, judging.training_facts(run), seed=options.seed), trust)
    manifest, config = summary.manifest, summary.config
    ohlc, no_ohlc = judged_bars(config, str(manifest.get("data_sha256")), predictions)
    return ReportContent(
        title=f"Run {run.run_id}",
        evaluation=summary.evaluation,
        predictions=predictions,
        verdict=None if gate is None else _shown_verdict(gate),
        no_verdict=no_gate,
        trust=str(trust),
        leaks=summary.leaks,
        leak_proof=manifest.get("leak_proof"),
        ohlc=ohlc,
        no_ohlc=no_ohlc,
        references=summary.references,
        chosen_by_val=summary.chosen_by_val,
        history=read_history(run.path(run_store.HISTORY)),
        tables=[*([] if gate is None else [_gate_table(gate)]), *drift_tables(predictions, options.seed)],
        facts=_facts(summary),
        fact_tables=[_parts_table(summary.parts)],
        commands=commands_of(summary, options),
    )


def _gate(run: run_store.Run, options: ReportOptions) -> tuple[dict[str, Any] | None, str]:
    """Return the gate's record, or why there is none; a baseline that was named must be good."""
    if options.baseline is None and _is_promoted(run):
        return None, "This run's model is the one in use: it is its own baseline. Name another with --baseline."
    try:
        return judging.gate(gate_options(options)), ""
    except MoolaError as error:
        if options.baseline is not None:
            raise
        return None, str(error)


def _is_promoted(run: run_store.Run) -> bool:
    promoted = promoted_path(PROMOTED_ROOT, PROMOTED_NAME)
    return promoted.is_file() and sha256_file(promoted) == run.record["files"].get(run_store.MODEL)


def _shown_verdict(gate: dict[str, Any]) -> ShownVerdict:
    reason, against = gate["reason"].rstrip("."), f"{gate['baseline']} ({gate['baseline_kind']})"
    sentence = f"{reason[:1].upper()}{reason[1:]}. Against {against} on the same {gate['n_windows']} windows."
    return ShownVerdict(gate["verdict"], sentence)


def _gate_table(gate: dict[str, Any]) -> ShownTable:
    rows = []
    for row in gate["comparisons"]:
        values = [shown(row["metric"], row[name]) for name in ("challenger", "baseline", "trivial")]
        interval = "–" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
        difference = "–" if row["difference"] is None else f"{row['difference']:+.3f}"
        rows.append([figure_name(row["metric"]), *values, difference, interval, "yes" if row["holds"] else "no"])
    note = f"Paired bootstrap over blocks of {gate['block_windows']} windows. {gate['baseline_note']}".strip()
    return ShownTable(f"The gate: this run against {gate['baseline']}", GATE_HEADER, rows, note)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read a run's epochs; none where the file is not there."""
    if not path.is_file():
        return []
    advice = "Train the run again."
    try:
        rows = [json.loads(line) for line in read_bytes(path, "the history", advice).decode().splitlines() if line]
    except (ValueError, RecursionError) as error:
        raise InvalidData(
            f"a history must hold a JSON object a line, but {path} does not ({error}). {advice}"
        ) from error
    if not all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in rows):
        raise InvalidData(f"every line of a history must have its epoch, but one of {path} has none. {advice}")
    return rows


def _facts(summary: RunSummary) -> dict[str, dict[str, str]]:
    manifest, config = summary.manifest, summary.config
    start = " and ".join(summary.encoders) or "from scratch"
    data = {
        "data file": config.get("data"),
        "data SHA-256": manifest.get("data_sha256"),
        "labelled by": ", ".join(summary.annotators) or "unknown",
        "split file": config.get("split"),
        "split SHA-256": manifest.get("split_sha256"),
        "leak-proof": summary.leak_proof,
        "bars per window": config.get("window_bars"),
    }
    training = {
        "model": manifest.get("model"),
        "encoder": f"{start}, {'frozen' if summary.is_frozen else 'trained'}",
        "encoder SHA-256": manifest.get("encoder_sha256"),
        "synthetic windows": summary.synthetic,
        "fitted": run_store.how_fitted(manifest),
        "seed": manifest.get("seed"),
        "finished": manifest.get("finished_at"),
        "git commit": manifest.get("git_commit") or "not known",
    }
    machine = {
        "device": f"{manifest.get('device')}, {manifest.get('threads')} thread(s)",
        **{str(name).replace("_", " "): value for name, value in (manifest.get("machine") or {}).items()},
        **(manifest.get("versions") or {}),
    }
    groups = {"Data and split": data, "Training": training, "Machine and versions": machine}
    return {
        heading: {name: str(value) for name, value in group.items() if value is not None}
        for heading, group in groups.items()
    }


def _parts_table(parts: list[PartOfSplit]) -> ShownTable:
    rows = []
    for part in parts:
        classes = ", ".join(f"{n} {name}" for name, n in part.class_counts.items()) or "–"
        rows.append([part.name, str(part.n_windows), classes, *(part.times or ("–", "–"))])
    return ShownTable(
        "Parts of the split, in time order", ("part", "windows", "classes", "first bar", "last bar"), rows
    )
