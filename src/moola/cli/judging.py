"""Commands that judge and promote."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.config.command_lines import command_line
from moola.config.eval_options import EvalOptions
from moola.config.gate_options import GateOptions, PromoteOptions
from moola.errors import WrongUsage

NOT_PROMOTED = 4


def evaluate(*, options: Annotated[EvalOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Show a run's figures with 95 % intervals, beside trivial predictors'.

    Example: moola eval --run artifacts/runs/<RUN_ID> --save-reliability-plot artifacts/plots/reliability.png
    """
    from moola.pipeline import judging

    result, evaluation = judging.evaluate_run(options)
    screen = Screen(console)
    screen.say(f"Run {result['run_id']}, {result['n_windows']} windows of {result['part']}")
    if result["part"] == "val":
        screen.say("  There is no test part: these windows also chose the epoch and the calibration.")
    _say_provenance(screen, result)
    rows = [_figure_row(figure) for figure in evaluation.figures]
    screen.table(["figure", "value", "95 % interval", "trivial"], rows)
    screen.say(
        f"  Intervals: bootstrap over blocks of {evaluation.block_windows} windows in time. "
        "Trivial: class share and most common pointers of the train rows."
    )
    if evaluation.perfect_ece:
        (low, high), (low5, high5) = evaluation.perfect_ece["width"], evaluation.perfect_ece["mass"]
        screen.say(
            f"  A perfectly calibrated model would show ECE {low:.3f} .. {high:.3f} here "
            f"(5 equal-mass bins: {low5:.3f} .. {high5:.3f})."
        )
    if options.save_reliability_plot is not None:
        _plot(options, result, evaluation)
        screen.say(f"Reliability plot in {options.save_reliability_plot}")
        result["reliability_plot"] = str(options.save_reliability_plot)
    if len(result["predicted"]) == 1:
        screen.say(f"  It says {next(iter(result['predicted']))} of every window: it tells no two of them apart.")
    screen.say(f"Figures in {result['metrics_file']}")
    screen.next_command("moola", "gate", "--run", options.run)
    screen.result(result)
    return 0


def _figure_row(figure: Any) -> list[str]:
    if figure.value is None:
        return [figure.name, "-", figure.reason, ""]
    # Lead and lag are whole bars with a sign, everything else is a share or an error.
    form = "+.0f" if figure.name.startswith("lead_lag") else ".3f"
    interval = "-" if figure.low is None else f"{figure.low:{form}} .. {figure.high:{form}}"
    trivial = "-" if figure.trivial is None else f"{figure.trivial:{form}}"
    return [figure.name, f"{figure.value:{form}}", interval, trivial]


def _plot(options: EvalOptions, result: dict[str, Any], evaluation: Any) -> None:
    from moola.plots import reliability_plot

    assert options.save_reliability_plot is not None
    names = {figure.name: figure.value for figure in evaluation.figures}
    shown = [
        f"{label} {names[name]:.3f}"
        for name, label in (("ece", "ECE"), ("brier", "Brier"))
        if names.get(name) is not None
    ]
    by = f", labelled by {', '.join(result['labelled_by'])}" if result["labelled_by"] else ""
    title = "Reliability: " + ", ".join(shown)
    reliability_plot(
        options.save_reliability_plot, evaluation, title, f"{result['n_windows']} windows of {result['part']}{by}"
    )


def _say_provenance(screen: Screen, result: dict[str, Any]) -> None:
    if result.get("labelled_by"):
        by = ", ".join(result["labelled_by"])
        rule = ": a rule, not a person" if all(name.startswith("rule:") for name in result["labelled_by"]) else ""
        screen.say(f"  Labels by {by}{rule}.")
    if result.get("leak_proof") is None:
        screen.say("  The windows have no times: overlap between parts could not be checked.")
    for leak in result.get("leaks") or []:
        screen.say(f"  NOT LEAK-PROOF: {leak}.")


def gate(*, options: Annotated[GateOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Compare a run with the baseline on the same windows, for a verdict.

    Exit code 4 unless the verdict is promote.

    Example: moola gate --run artifacts/runs/<RUN_ID>
    """
    from moola.pipeline import judging
    from moola.pipeline.crossval.gate import gate_cv, is_cv

    result = gate_cv(options) if is_cv(str(options.run)) else judging.gate(options)
    screen = Screen(console)
    _show_verdict(screen, result)
    if "judgements" in result:
        screen.next_step("moola train with the winner's options, then moola promote --run <RUN_ID>")
    elif result["verdict"] == "promote":
        screen.next_command("moola", "promote", "--run", options.run)
    elif result["verdict"] == "inconclusive":
        accepting = command_line("moola", "promote", "--run", options.run, "--accept", "inconclusive")
        screen.next_step(f"label more windows, or {accepting}")
    else:
        screen.next_step("moola train with other options, or label more windows")
    screen.result(result)
    return 0 if result["verdict"] == "promote" else NOT_PROMOTED


def _show_verdict(screen: Screen, result: dict[str, Any]) -> None:
    screen.say(f"Challenger {result['run_id']}")
    screen.say(f"Baseline   {result['baseline']} ({result['baseline_kind']})")
    if result["labelled_by"]:
        screen.say(f"Labels by  {', '.join(result['labelled_by'])}")
    screen.say(f"Judged on {result['n_windows']} windows of {result['part']}, in blocks of {result['block_windows']}.")
    rows = []
    for row in result["comparisons"]:
        values = [_number(row[name]) for name in ("challenger", "baseline", "trivial", "difference")]
        interval = "-" if row["low"] is None else f"{row['low']:+.3f} .. {row['high']:+.3f}"
        rows.append([row["metric"], *values, interval, "yes" if row["holds"] else "no"])
    screen.table(["figure", "challenger", "baseline", "trivial", "difference", "95 % interval", "rule holds"], rows)
    if result.get("detectable_brier_gain") is not None:
        gain = result["detectable_brier_gain"]
        screen.say(f"  So many windows show a true Brier gain of {gain:.3f} or more, four times in five (power 0.8).")
    if (test := result.get("resampled_t")) and test["p_two_sided"] is not None:
        screen.say(
            f"  Brier over {test['n']} folds and seeds: {test['mean']:+.3f} "
            f"({test['low']:+.3f} .. {test['high']:+.3f}), p {test['p_two_sided']:.3f} (corrected resampled t)."
        )
    for row in result.get("judgements", []):
        screen.say(f"  {row['what']}: {row['verdict']} ({row['reason']})")
    screen.say(f"Verdict: {result['verdict']}: {result['reason']}.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def promote(
    *,
    options: Annotated[PromoteOptions, Flat] = PromoteOptions(),
    accept: Literal["inconclusive"] | None = None,
    console: Console = ConsoleOptions(),
) -> int:
    """Gate a run and put its model into use; --back returns to the one before.

    Example: moola promote --run artifacts/runs/<RUN_ID>

    Parameters
    ----------
    accept
        Promote on an inconclusive verdict too. There is no way past hold.
    """
    from moola.pipeline import judging

    screen = Screen(console)
    if options.back:
        return _back(options, screen)
    result = judging.promote(
        options.gate_options(), accept == "inconclusive", lambda verdict: _show_verdict(screen, verdict)
    )
    screen.say(f"Promoted to {result['promoted_to']}")
    words = ("moola", "predict", "--model", result["promoted_to"], "--data", "<windows>")
    screen.next_command(*words, "--output", "predictions.parquet")
    screen.result(result)
    return 0


def _back(options: PromoteOptions, screen: Screen) -> int:
    from moola.pipeline import judging

    if options.run is not None:
        raise WrongUsage(f"--back must go without --run, but --run is {options.run}. Leave one of them out.")
    result = judging.go_back(options.name)
    by = f", of run {result['run_id']}" if result["run_id"] else ""
    screen.say(f"Back in use: the model with SHA-256 {result['sha256'][:16]}{by}, at {result['promoted_to']}")
    screen.next_command(f"moola predict --model {result['promoted_to']} --data <windows> --output predictions.parquet")
    screen.result(result)
    return 0
