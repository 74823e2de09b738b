"""Commands that evaluate: eval, gate, promote, cv, compare, leakcheck, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from moola.cli import event_judging
from moola.cli.arguments import full
from moola.cli.console import Console, ConsoleOptions, FitProgress, Flat, Screen, figure_text
from moola.errors import WrongUsage
from moola.options.judging_options import (
    EvalOptions,
    GateOptions,
    LaterOptions,
    LeakcheckOptions,
    PromoteOptions,
    ReportOptions,
)
from moola.options.option_fields import DATA, EVALUATION, basic
from moola.options.option_sources import command_line, window_bars_words
from moola.options.study_options import CompareOptions, CvOptions

if TYPE_CHECKING:
    from moola.stages.run_summary import RunSummary

NOT_PROMOTED = 4


def evaluate(*, options: Annotated[EvalOptions, Flat] = EvalOptions(), console: Console = ConsoleOptions()) -> int:
    """Show a run's metrics with intervals, or judge events by spans.

    --data: on later labelled windows. --events, --truth: events of a scan.

    Example: moola eval --run artifacts/runs/<RUN_ID> --save-reliability-plot artifacts/plots/reliability.png
    """
    if options.events is not None:
        return event_judging.evaluate(options, Screen(console))
    from moola.evaluation.figures import interval_text, value_text
    from moola.stages.evaluate import evaluate_run

    result, summary = evaluate_run(options)
    evaluation = summary.evaluation
    screen = Screen(console)
    of = result["part"] if result.get("data") is None else result["data"]
    screen.write(f"Run {result['run_id']}, {result['n_windows']} windows of {of}")
    if result["part"] == "val":
        screen.write(f"  There is no test part. {summary.chosen_by_val}".rstrip())
    _write_provenance(screen, summary)
    rows = []
    for name, figure in evaluation["figures"].items():
        interval = interval_text(name, figure["low"], figure["high"], " .. ")
        value, trivial = value_text(name, figure["value"]), value_text(name, figure["trivial"])
        rows.append([name, "-", figure["reason"], ""] if figure["reason"] else [name, value, interval, trivial])
    screen.table(["metric", "value", "95 % interval", "uninformed"], rows)
    screen.write(
        f"  Intervals: bootstrap over blocks of {result['block_windows']} windows in time. "
        "Uninformed: class shares and most common pointers of the train rows."
    )
    if evaluation["perfect_ece"]:
        (low, high), (low5, high5) = evaluation["perfect_ece"]["width"], evaluation["perfect_ece"]["mass"]
        screen.write(
            f"  A perfectly calibrated model with these probabilities would show ECE {low:.3f} .. {high:.3f} here "
            f"(5 equal-mass bins: {low5:.3f} .. {high5:.3f})."
        )
    _write_drift(screen, result["calibration_by_time"])
    if options.save_reliability_plot is not None:
        _plot(options, result)
        screen.write(f"Reliability plot in {options.save_reliability_plot}")
        result["reliability_plot"] = str(options.save_reliability_plot)
    if len(result["predicted"]) == 1:
        screen.write(
            f"  It predicts {next(iter(result['predicted']))} for all windows: it does not separate the classes."
        )
    screen.write(f"Figures in {result['metrics_file']}")
    screen.write(str(summary.trust))
    screen.next_command("moola", "gate", "--run", options.run, *_later_words(options))
    screen.result(result)
    return 0


def _later_words(options: LaterOptions) -> list[Any]:
    """Write the options of later windows for the next command."""
    words: list[Any] = [] if options.data is None else ["--data", options.data]
    return [*words, "--allow-overlap"] if options.allow_overlap else words


def _write_drift(screen: Screen, found: list[dict[str, Any]]) -> None:
    from moola.evaluation.calibration import DRIFT_HEADER, drift_rows

    if found:
        screen.write(
            "Calibration over time (difference = mean probability - share; * where its 95 % interval leaves 0 out):"
        )
        screen.table(list(DRIFT_HEADER), drift_rows(found))


def _plot(options: EvalOptions, result: dict[str, Any]) -> None:
    from moola.reports.png_charts import reliability_plot

    assert options.save_reliability_plot is not None
    values = {name: figure["value"] for name, figure in result["figures"].items()}
    known = [
        f"{label} {values[name]:.3f}"
        for name, label in (("ece", "ECE"), ("brier", "Brier"))
        if values.get(name) is not None
    ]
    by = f", labelled by {', '.join(result['labelled_by'])}" if result["labelled_by"] else ""
    note = f"{result['n_windows']} windows of {result['part']}{by}"
    reliability_plot(options.save_reliability_plot, result["reliability"], f"Reliability: {', '.join(known)}", note)


def _write_provenance(screen: Screen, summary: RunSummary) -> None:
    from moola.core.expansions import is_rule

    if summary.annotators:
        rule = ": a rule, not a person" if all(map(is_rule, summary.annotators)) else ""
        screen.write(f"  Labels by {', '.join(summary.annotators)}{rule}.")
    if summary.manifest.get("leak_proof") is None:
        screen.write("  The windows have no times: overlap between parts could not be checked.")
    for leak in summary.leaks:
        screen.write(f"  NOT LEAK-PROOF: {leak}.")


def gate(*, options: Annotated[GateOptions, Flat] = GateOptions(), console: Console = ConsoleOptions()) -> int:
    """Compare a run with the baseline, and give a verdict.

    Exit code 4 unless it is promote. --data: on later labelled windows.

    Example: moola gate --run artifacts/runs/<RUN_ID>
    """
    if options.events is not None:
        return event_judging.gate(options, Screen(console))
    from moola.stages.cv_gate import gate_named

    result = gate_named(options)
    screen = Screen(console)
    _show_verdict(screen, result)
    if "judgements" in result:
        screen.next_step("moola train with the winner's options, then moola promote --run <RUN_ID>")
    elif result["verdict"] == "promote":
        screen.next_command(*_promote_words(options))
    elif result["verdict"] == "inconclusive":
        accepting = command_line(*_promote_words(options), "--accept", "inconclusive")
        screen.next_step(f"label more windows, or {accepting}")
    else:
        screen.next_step("moola train with other options, or label more windows")
    screen.result(result)
    return 0 if result["verdict"] == "promote" else NOT_PROMOTED


def _promote_words(options: GateOptions) -> list[Any]:
    """Write the promotion that passes the same gate."""
    words: list[Any] = ["moola", "promote", "--run", options.run]
    words += [] if options.baseline is None else ["--baseline", options.baseline]
    words += _later_words(options)
    return words if options.ece_rule == "contract" else [*words, "--ece-rule", options.ece_rule]


def _show_verdict(screen: Screen, result: dict[str, Any]) -> None:
    screen.write(f"Challenger {result['run_id']}")
    screen.write(f"Baseline   {result['baseline']} ({result['baseline_kind']})")
    if result["labelled_by"]:
        screen.write(f"Labels by  {', '.join(result['labelled_by'])}")
    of = result["part"] if result.get("data") is None else result["data"]
    screen.write(f"Evaluated on {result['n_windows']} windows of {of}, in blocks of {result['block_windows']}.")
    if result["leak_proof"] is None:
        screen.write("  There are no times: whether the model saw these windows could not be checked.")
    from moola.evaluation.trust import Trust

    screen.comparisons(result["comparisons"], "metric", "uninformed")
    if result.get("detectable_brier_gain") is not None:
        gain = result["detectable_brier_gain"]
        screen.write(f"  Minimum detectable Brier gain at 80 % power: {gain:.3f}.")
    if result["perfect_ece"] is not None:
        low, high = result["perfect_ece"]
        screen.write(
            f"  A perfectly calibrated model with these probabilities would show ECE {low:.3f} .. {high:.3f} here."
        )
    if (n_looks := result.get("n_looks", 1)) > 1:
        screen.write(
            f"  {n_looks} comparisons have been made on these windows, of {_count(result['n_runs'], 'run')}: each "
            "makes a promote by luck more likely. Later windows (--data) start anew."
        )
    if (test := result.get("resampled_t")) and test["p_two_sided"] is not None:
        screen.write(
            f"  Brier over {test['n']} folds and seeds: {test['mean']:+.3f} "
            f"({test['low']:+.3f} .. {test['high']:+.3f}), p {test['p_two_sided']:.3f} (corrected resampled t)."
        )
    for row in result.get("judgements", []):
        screen.write(f"  {row['what']}: {row['verdict']} ({row['reason']})")
    screen.write(f"Verdict: {result['verdict']}: {result['reason']}.")
    if "trust" in result:
        screen.write(str(Trust(**result["trust"])))


def promote(
    *,
    options: Annotated[PromoteOptions, Flat] = PromoteOptions(),
    accept: Annotated[
        Literal["inconclusive"] | None,
        basic("Promote on an inconclusive verdict too; nothing overrides hold.", EVALUATION),
    ] = None,
    console: Console = ConsoleOptions(),
) -> int:
    """Gate a run and put its model into use, or return to the last.

    Example: moola promote --run artifacts/runs/<RUN_ID>
    """
    from moola.stages import evaluate

    screen = Screen(console)
    if options.back:
        return _back(options, screen)
    result = evaluate.promote(
        options.gate_options(), accept == "inconclusive", lambda verdict: _show_verdict(screen, verdict)
    )
    screen.write(f"Promoted to {result['promoted_to']}")
    words = ("moola", "predict", "--model", result["promoted_to"], "--data", "<windows>")
    screen.next_command(*words, "--output", "predictions.parquet")
    screen.result(result)
    return 0


def _back(options: PromoteOptions, screen: Screen) -> int:
    from moola.stages import evaluate

    if options.run is not None:
        raise WrongUsage(f"--back must go without --run, but --run is {options.run}. Leave one of them out.")
    result = evaluate.go_back(options.name)
    by = f", of run {result['run_id']}" if result["run_id"] else ""
    screen.write(f"Back in use: the model with SHA-256 {result['sha256'][:16]}{by}, at {result['promoted_to']}")
    screen.next_command(f"moola predict --model {result['promoted_to']} --data <windows> --output predictions.parquet")
    screen.result(result)
    return 0


# Commands that evaluate over folds and compare: cv, compare.


def cv(*, options: Annotated[CvOptions, Flat] = CvOptions(), console: Console = ConsoleOptions()) -> int:
    """Cross-validate in time: purged folds, pooled metrics.

    The last line on stdout is the cv's id. --spans: events on later stretches.

    Example: moola cv --data data/processed/labeled/train_latest_relative.parquet --folds 5 --seeds 5
    """
    if options.spans is not None:
        return event_judging.cross_validate(options, Screen(console))
    from moola.stages import cross_validate

    with FitProgress("cv") as progress:
        result = cross_validate.cross_validate(options, progress)
    screen = Screen(console)
    _show_cv(screen, result)
    if options.save_curve is not None:
        from moola.reports.png_charts import label_curve_plot

        label_curve_plot(options.save_curve, result)
        screen.write(f"Label efficiency in {options.save_curve}")
    screen.next_command("moola", "gate", "--run", result["cv"], "--baseline", "<another cv>")
    screen.write(result["cv_id"])
    screen.result(result)
    return 0


def _show_cv(screen: Screen, result: dict[str, Any]) -> None:
    from moola.evaluation.trust import Trust
    from moola.stages.cross_validate import SHOWN

    seeds = "seed" if result["n_seeds"] == 1 else "seeds"
    screen.write(
        f"{result['n_folds']} {result['scheme']} folds, {result['n_seeds']} {seeds}, {result['n_pooled']} of "
        f"{result['n_labelled']} windows predicted out of fold, {result['seconds']:.0f} s"
    )
    if result["seedless"]:
        screen.write("  No seed changes linear heads: each fold is fitted once, whatever --seeds is.")
    for leak in [*result["leaks"], *result["controls"]["leaks"]]:
        screen.write(f"  NOT LEAK-PROOF: {leak}.")
    if result["controls"]["run"] and not result["controls"]["leaks"]:
        screen.write(f"  {result['controls']['n_checks']} controls found no leak.")
    if result["labelled_by"]:
        screen.write(f"  Labels by {', '.join(result['labelled_by'])}.")
    rows = []
    for name in SHOWN:
        figure = result["figures"][name]
        shown = [figure_text(figure[key]) for key in ("value", "low", "high")]
        references = [figure_text(row[name]) for row in result["references"].values()]
        rows.append([name, shown[0], f"{shown[1]} .. {shown[2]}", *references])
    screen.table(["pooled figure", "value", "95 % interval", *result["references"]], rows)
    for title, key, first in (("fold", "by_fold", "fold"), ("path", "by_path", "path"), ("seed", "by_seed", "seed")):
        table = [[str(row[first]), *(figure_text(row[name]) for name in SHOWN)] for row in result[key]]
        screen.table([title, *SHOWN], table)
    forward = result["calibrated_forward"]
    both = ", ".join(f"{name} {figure_text(forward[name])}" for name in ("brier", "ece"))
    screen.write(f"  Calibrated on earlier folds alone, as in use: {both}.")
    _show_uncertainty(screen, result["uncertainty"])
    against = result["against_reference"]
    screen.write(f"Verdict against {against['reference']}: {against['verdict']}: {against['reason']}.")
    screen.write(str(Trust(**result["trust"])))
    if len(result["label_efficiency"]) > 1:
        table = [
            [f"{row['label_fraction']:g}", f"{row['n_train_windows']:.0f}", *(figure_text(row[name]) for name in SHOWN)]
            for row in result["label_efficiency"]
        ]
        screen.table(["share of labels", "train windows", *SHOWN], table)


def _show_uncertainty(screen: Screen, found: dict[str, Any]) -> None:
    answers = ", ".join(f"{count} {name}" for name, count in found["answers"].items())
    asked = f"{100 * (1 - found['alpha']):.6g} % nominal"
    screen.write(f"  Conformal sets, calibrated on earlier folds alone: {answers}.")
    if (held := _covered(found, "class_")) is not None:
        screen.write(f"  The truth is in {held} of the sets, {asked}.")
    for which, row in found["pointers"].items():
        if row is not None and row["within_bars"] is not None:
            screen.write(
                f"  {which} pointer: within {row['within_bars']:g} bars in {_covered(row)} of windows, {asked}."
            )


def _covered(found: dict[str, Any], prefix: str = "") -> str | None:
    """Write a coverage with its interval and that of each fold; None where no window was usable."""
    share, low, high = (found[f"{prefix}coverage{end}"] for end in ("", "_low", "_high"))
    if share is None:
        return None
    interval = "" if low is None else f" [{low:.0%}, {high:.0%}]"
    folds = [row["coverage"] for row in found[f"{prefix}coverage_by_fold"]]
    by_fold = ", ".join("-" if value is None else f"{value:.0%}" for value in folds)
    return f"{share:.0%}{interval} (by fold {by_fold})"


def compare(
    names: Annotated[
        list[str],
        basic("Runs or cvs, by id or folder; with --truth event tables. The first is the baseline by default.", DATA),
    ],
    /,
    *,
    options: Annotated[CompareOptions, Flat] = CompareOptions(),
    console: Console = ConsoleOptions(),
) -> int:
    """Compare runs or cvs on the same windows.

    Gives the minimum detectable effect, and corrects for multiple tests (Holm).

    Example: moola compare <RUN_ID> <RUN_ID> <RUN_ID> --output compare.csv --plot compare.png
    """
    if options.truth is not None:
        return event_judging.compare(names, options, Screen(console))
    options.refuse_idle()
    from moola.stages import compare

    result = compare.compare([full(name) for name in names], options)
    screen = Screen(console)
    screen.write(
        f"Baseline {result['baseline']}, {result['n_windows']} windows of {result['part']}, "
        f"blocks of {result['block_windows']}"
    )
    if result["labelled_by"]:
        screen.write(f"Labels by {', '.join(result['labelled_by'])}")
    for name, leaks in result["leaks"].items():
        screen.write(f"NOT LEAK-PROOF: {name}: {'; '.join(leaks)}.")
    screen.differences(result["rows"], "run")
    screen.write("  Detectable: the smallest true difference that these windows would show with power 0.8.")
    event_judging.keep_comparison(screen, options, result, f"{result['n_windows']} windows")
    screen.next_command("moola", "gate", "--run", result["best"], "--baseline", result["baseline"])
    screen.result(result)
    return 0


# The command that writes a report.


def report(*, options: Annotated[ReportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Write an HTML report: verdict, metrics, charts, windows.

    The page works offline.

    Example: moola report --run artifacts/runs/<RUN_ID>
    """
    from moola.reports.run_contents import report_run

    result = report_run(options)
    screen = Screen(console)
    screen.write(f"Run {result['run_id']}, {result['n_windows']} windows of {result['part']}")
    if result["verdict"] is None:
        screen.write(f"  No verdict: {result['reason']}")
    else:
        screen.write(f"Verdict: {result['verdict']}: {result['reason']}")
    for leak in result["leaks"]:
        screen.write(f"  NOT LEAK-PROOF: {leak}.")
    if result["no_bars"]:
        screen.write(f"  Bars are not drawn: {result['no_bars']}.")
    screen.write(f"Report in {result['report']} ({result['size_bytes'] / 1e3:.0f} kB); any browser opens it.")
    following = "promote" if result["verdict"] == "promote" else "gate"
    screen.next_command("moola", following, "--run", options.run)
    screen.result(result)
    return 0


# The command that looks for leaks.


LEAKS = 3


def leakcheck(*, options: Annotated[LeakcheckOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Check data, split, features, encoder and run for leaks.

    Exit code 3 when there is one.

    Example: moola leakcheck --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json
    """
    from moola.leakcheck import checking

    result = checking.leakcheck(options)
    screen = Screen(console)
    for finding in result["findings"]:
        screen.write(f"{finding['state']:5} {finding['what']}: {finding['found']}")
        if finding["advice"]:
            screen.write(f"      {finding['advice']}")
    n_ok = sum(finding["state"] == "ok" for finding in result["findings"])
    n_notes = sum(finding["state"] == "note" for finding in result["findings"])
    verdict = "No leak found" if result["clean"] else f"{_count(result['n_leaks'], 'leak')} found"
    screen.write(f"{verdict}; {n_ok} checks are fine, {_count(n_notes, 'note')}.")
    screen.next_command(*_next(options, result))
    screen.result(result)
    return 0 if result["clean"] else LEAKS


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _next(options: LeakcheckOptions, result: dict[str, Any]) -> tuple[Any, ...]:
    length = window_bars_words(options.window_bars)
    states = {finding["what"] for finding in result["findings"] if finding["state"] == "leak"}
    if states & {"stored features", "label in features"}:
        return ("moola", "convert", "--input", "<4-D windows>", "--output", options.data, *length)
    if states & {"split record", "duplicates", "near-duplicates", "one window", "overlaps", "order", "purge"}:
        return ("moola", "split", "--data", options.data, "--output", options.split, *length)
    if "encoder" in states:
        words = ("moola", "pretrain-bilstm", "--input", "<windows or bars>", "--split", options.split)
        return (*words, "--output", "<encoder.pt>", *length)
    if result["run_id"] is None or states:
        return ("moola", "train", "--data", options.data, "--split", options.split, *length)
    return ("moola", "eval", "--run", result["run_id"])
