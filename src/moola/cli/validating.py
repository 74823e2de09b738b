"""Commands that judge over folds and compare: cv, compare."""

from __future__ import annotations

from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.cli.progress import FitProgress
from moola.config.cv_options import CompareOptions, CvOptions

COLUMNS = ("pr_auc", "brier", "ece", "accuracy", "hit_at_pm3_both")


def cv(*, options: Annotated[CvOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Cross-validate in time: purged folds, several seeds, pooled figures.

    Figures are of windows out of fold; the last line on stdout is the cv's id.

    Example: moola cv --data data/processed/labeled/train_latest_relative.parquet --folds 5 --seeds 5
    """
    from moola.pipeline.crossval import story

    with FitProgress("cv") as progress:
        result = story.cross_validate(options, progress)
    screen = Screen(console)
    _show_cv(screen, result)
    if options.save_curve is not None:
        from moola.plots import label_curve_plot

        label_curve_plot(options.save_curve, result)
        screen.say(f"Label efficiency in {options.save_curve}")
    screen.next_command("moola", "gate", "--run", result["cv"], "--baseline", "<another cv>")
    screen.say(result["cv_id"])
    screen.result(result)
    return 0


def _show_cv(screen: Screen, result: dict[str, Any]) -> None:
    screen.say(
        f"{result['n_folds']} {result['scheme']} folds, {result['n_seeds']} seeds, {result['n_pooled']} of "
        f"{result['n_labelled']} windows judged out of fold, {result['seconds']:.0f} s"
    )
    for leak in [*result["leaks"], *result["controls"]["leaks"]]:
        screen.say(f"  NOT LEAK-PROOF: {leak}.")
    if result["controls"]["run"] and not result["controls"]["leaks"]:
        screen.say(f"  {result['controls']['n_checks']} controls found no leak.")
    if result["labelled_by"]:
        screen.say(f"  Labels by {', '.join(result['labelled_by'])}.")
    rows = []
    for name in COLUMNS:
        figure = result["figures"][name]
        shown = [_number(figure[key]) for key in ("value", "low", "high")]
        references = [_number(row[name]) for row in result["references"].values()]
        rows.append([name, shown[0], f"{shown[1]} .. {shown[2]}", *references])
    screen.table(["pooled figure", "value", "95 % interval", *result["references"]], rows)
    for title, key, first in (("fold", "by_fold", "fold"), ("path", "by_path", "path"), ("seed", "by_seed", "seed")):
        table = [[str(row[first]), *(_number(row[name]) for name in COLUMNS)] for row in result[key]]
        screen.table([title, *COLUMNS], table)
    forward = result["calibrated_forward"]
    both = ", ".join(f"{name} {_number(forward[name])}" for name in ("brier", "ece"))
    screen.say(f"  Calibrated on earlier folds alone, as in use: {both}.")
    _show_uncertainty(screen, result["uncertainty"])
    if len(result["label_efficiency"]) > 1:
        table = [
            [f"{row['label_fraction']:g}", f"{row['n_train_windows']:.0f}", *(_number(row[name]) for name in COLUMNS)]
            for row in result["label_efficiency"]
        ]
        screen.table(["share of labels", "train windows", *COLUMNS], table)


def _show_uncertainty(screen: Screen, found: dict[str, Any]) -> None:
    answers = ", ".join(f"{count} {name}" for name, count in found["answers"].items())
    asked = f"{100 * (1 - found['alpha']):.6g} % asked"
    screen.say(f"  Conformal answers, calibrated on earlier folds alone: {answers}.")
    if (held := _covered(found, "class_")) is not None:
        screen.say(f"  The truth is in {held} of the sets, {asked}.")
    for which, row in found["pointers"].items():
        if row is not None and row["within_bars"] is not None:
            screen.say(f"  {which} pointer: within {row['within_bars']:g} bars in {_covered(row)} of windows, {asked}.")


def _covered(found: dict[str, Any], prefix: str = "") -> str | None:
    """Write a coverage with its interval and that of each fold; None where no window could be told."""
    share, low, high = (found[f"{prefix}coverage{end}"] for end in ("", "_low", "_high"))
    if share is None:
        return None
    interval = "" if low is None else f" [{low:.0%}, {high:.0%}]"
    folds = [row["coverage"] for row in found[f"{prefix}coverage_by_fold"]]
    by_fold = ", ".join("-" if value is None else f"{value:.0%}" for value in folds)
    return f"{share:.0%}{interval} (by fold {by_fold})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def compare(
    names: list[str],
    /,
    *,
    options: Annotated[CompareOptions, Flat] = CompareOptions(),
    console: Console = ConsoleOptions(),
) -> int:
    """Compare runs or cvs on the same windows by paired differences.

    Says what so many windows can show, and corrects for many tests (Holm).

    Example: moola compare <RUN_ID> <RUN_ID> <RUN_ID> --output compare.csv --plot compare.png

    Parameters
    ----------
    names
        Runs or cvs, by id or folder; the first is the baseline unless --baseline says another.
    """
    from moola.pipeline import comparing

    result = comparing.compare(names, options)
    screen = Screen(console)
    screen.say(
        f"Baseline {result['baseline']}, {result['n_windows']} windows of {result['part']}, "
        f"blocks of {result['block_windows']}"
    )
    if result["labelled_by"]:
        screen.say(f"Labels by {', '.join(result['labelled_by'])}")
    for name, leaks in result["leaks"].items():
        screen.say(f"NOT LEAK-PROOF: {name}: {'; '.join(leaks)}.")
    rows = []
    for row in result["rows"]:
        interval = "-" if row["low"] is None else f"{row['low']:+.3f} .. {row['high']:+.3f}"
        numbers = [_number(row[name]) for name in ("detectable", "p", "p_holm")]
        rows.append([row["name"], row["metric"], _number(row["value"]), _number(row["difference"]), interval, *numbers])
    screen.table(["run", "metric", "value", "difference", "95 % interval", "detectable", "p", "p (Holm)"], rows)
    screen.say("  Detectable: the smallest true difference that these windows would show with power 0.8.")
    if options.output is not None:
        screen.say(f"Table in {options.output}")
    if options.plot is not None:
        from moola.plots import comparison_plot

        comparison_plot(options.plot, result)
        screen.say(f"Plot in {options.plot}")
    screen.next_command("moola", "gate", "--run", result["best"], "--baseline", result["baseline"])
    screen.result(result)
    return 0
