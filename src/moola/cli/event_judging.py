"""What `eval`, `gate` and `compare` show where they evaluate the events of a scan."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from moola.cli.console import FitProgress, Screen, figure_text
from moola.errors import WrongUsage
from moola.options.judging_options import EvalOptions, EventTruthOptions, GateOptions
from moola.options.study_options import CompareOptions, CvOptions

NOT_PROMOTED = 4
# A table whose least probable event is this probable was cut by the threshold of its model.
TOLD_LEAST = 0.05
RULE = (
    "  An event is right where it overlaps a span by at least half of the bars in either (IoU .5); each span is found "
    "once, the most probable event first. Events and spans count with at least half of their bars in a stretch."
)
NO_MODEL = (
    "  An event table names no model: that it was not trained on these stretches must be known from elsewhere "
    "(moola scan reports it)."
)


def evaluate(options: EvalOptions, screen: Screen) -> int:
    """Show the figures of events with 95 % intervals, beside both references."""
    from moola.stages import judge_events

    if options.save_gallery is not None and options.bars is None:
        raise WrongUsage("--save-gallery must come with --bars, but it is not given. Name the bars that were scanned.")
    result, judged, truth = judge_events.evaluate_events(options)
    screen.write(f"{result['n_events']} events of {result['events']} against {result['n_spans']} spans")
    _write_chart(screen, result)
    screen.table(["figure", "value", "95 % interval", "random", "strongest moves"], _figure_rows(result["figures"]))
    screen.write(RULE)
    if (least := result["least_event_prob"] or 0.0) >= TOLD_LEAST:
        screen.write(
            f"  The table has no event of a probability below {least:.3f}. Where the scan left some out, average "
            "precision and recall at false alarms are lower than of all: `moola scan --min-prob 0` writes all."
        )
    screen.write(
        "  Random: events of the same lengths at random places. Strongest moves: of the spans' lengths, ranked."
    )
    for name, figures in result["by_symbol"].items():
        shown = [figures[key]["value"] for key in ("ap_iou50_class", "recall_at_1_per_1000_class", "event_ece")]
        average, recall, ece = (figure_text(value) for value in shown)
        screen.write(f"  {name}: AP at IoU .5 with class {average}, recall at 1 false alarm {recall}, ECE {ece}")
    show_agreement(screen, result["agreement"], result["ap_by_annotator"])
    rows = [
        [f"{row['threshold']:.1f}", str(row["n_events"]), *(figure_text(row[key]) for key in _AT_THRESHOLD)]
        for row in result["by_threshold"]
    ]
    screen.table(["least event_prob", "events", "precision", "recall", "false per 1,000 bars"], rows)
    _write_perfect_ece(screen, result)
    result |= _plots(options, result)
    screen.write(
        f"Figures in {result['metrics_file']}, precision and recall in {result['curve_plot']}, reliability in "
        f"{result['reliability_plot'] or 'no plot (no event counts)'}"
    )
    if options.save_gallery is not None:
        from moola.reports.events_section import event_gallery

        event_gallery(options.save_gallery, judged, truth.bars, truth.class_names)
        screen.write(f"Found, missed and false pieces of the chart in {options.save_gallery}")
    screen.next_command(*_gate_words(options, result["events"], "<events to beat>"))
    screen.result(result)
    return 0


def _write_perfect_ece(screen: Screen, result: dict[str, Any]) -> None:
    if result["perfect_ece"] is not None:
        low, high = result["perfect_ece"]
        screen.write(f"  Perfectly calibrated probabilities would show ECE {low:.3f} .. {high:.3f} here.")


def show_agreement(screen: Screen, agreement: list[dict[str, Any]], events: dict[str, float | None]) -> None:
    """Show how far people agree with each other, the ceiling of a model of them, and events with each of them."""
    rows = []
    for row in agreement:
        counts = [str(row[name]) for name in ("n_first", "n_second", "n_same")]
        rows.append([row["first"], row["second"], *counts, figure_text(row["mean_iou"]), figure_text(row["ap"])])
    if rows:
        screen.table(["annotator", "against", "spans", "spans there", "same", "mean IoU", "AP"], rows)
        known = [row["ap"] for row in agreement if row["ap"] is not None]
        mean = f"on average AP {sum(known) / len(known):.3f}" if known else "no pair has spans"
        screen.write(f"  People against each other: {mean}, which a model of them can hardly exceed.")
    if events:
        against = ", ".join(f"{name} {figure_text(value)}" for name, value in events.items())
        screen.write(f"  AP of the events against each alone: {against}.")


_AT_THRESHOLD = ("precision", "recall", "alarms_per_1000")


def _plots(options: EvalOptions, result: dict[str, Any]) -> dict[str, str | None]:
    from moola.reports.png_charts import event_curve_plot, reliability_plot

    beside = Path(result["metrics_file"])
    stem = beside.name.removesuffix(".json")
    curve = beside.with_name(f"{stem}.curve.png")
    event_curve_plot(curve, result)
    if not result["reliability"]:
        return {"curve_plot": str(curve), "reliability_plot": None}
    target = options.save_reliability_plot or beside.with_name(f"{stem}.reliability.png")
    figures = result["figures"]
    title = f"Reliability: ECE {figures['event_ece']['value']:.3f}, Brier {figures['event_brier']['value']:.3f}"
    note = f"{result['n_events']} events, {result['n_spans']} spans; right at IoU .5, whatever the class"
    reliability_plot(target, result["reliability"], title, note, ("events that are right", "event_prob", "events"))
    return {"curve_plot": str(curve), "reliability_plot": str(target)}


def gate(options: GateOptions, screen: Screen) -> int:
    """Show the verdict on events; exit code 4 unless it is promote."""
    from moola.stages import judge_events

    result = judge_events.gate_events(options)
    screen.write(f"Challenger {result['events']}")
    screen.write(f"Baseline   {result['baseline_events']}")
    screen.write(f"Evaluated on {result['n_spans']} spans")
    _write_chart(screen, result)
    screen.write(NO_MODEL)
    screen.comparisons(result["comparisons"], "figure", "random")
    if result["detectable_gain"] is not None:
        screen.write(f"  Minimum detectable gain in average precision at 80 % power: {result['detectable_gain']:.3f}")
    _write_perfect_ece(screen, result)
    screen.write(f"Verdict: {result['verdict']}: {result['reason']}.")
    if result["verdict"] == "promote":
        screen.next_step("moola scan with the challenger's model on further bars")
    else:
        screen.next_step("annotate longer stretches, or moola train with other options")
    screen.result(result)
    return 0 if result["verdict"] == "promote" else NOT_PROMOTED


def cross_validate(options: CvOptions, screen: Screen) -> int:
    """Show the pooled figures of events on later blocks, and those of each block."""
    from moola.stages import cv_events

    with FitProgress("cv") as progress:
        result = cv_events.cross_validate_events(options, progress)
    screen.write(
        f"{result['n_folds']} blocks of later time, each scanned by a model of what came before it: "
        f"{result['n_events']} events against {result['n_spans']} spans, {result['seconds']:.0f} s"
    )
    _write_chart(screen, result)
    screen.table(["figure", "value", "95 % interval", "random", "strongest moves"], _figure_rows(result["figures"]))
    screen.write(RULE)
    screen.write(f"  Precision, recall and false alarms at the folds' mean threshold, {result['min_prob']:.3f}.")
    rows = [
        [str(row["fold"]), row["from"][:16], str(row["n_spans"]), *(figure_text(row[name]) for name in cv_events.SHOWN)]
        for row in result["by_fold"]
    ]
    screen.table(["fold", "from", "spans", *cv_events.SHOWN], rows)
    screen.write(f"Events and figures in {result['cv']}")
    words = ("--truth", f"{result['cv']}/{cv_events.SPANS}", "--stretches", f"{result['cv']}/{cv_events.STRETCHES}")
    bars = ("--bars", f"{result['cv']}/bars.parquet")
    screen.next_command("moola", "compare", f"{result['cv']}/{cv_events.EVENTS}", "<other events>", *words, *bars)
    screen.write(result["cv_id"])
    screen.result(result)
    return 0


def compare(names: list[str], options: CompareOptions, screen: Screen) -> int:
    """Show tables of events side by side, with differences from a baseline."""
    from moola.stages import judge_events

    result = judge_events.compare_events(names, options)
    screen.write(f"Baseline {result['baseline']}, {result['n_spans']} spans")
    _write_chart(screen, result)
    screen.differences(result["rows"], "events")
    keep_comparison(screen, options, result, f"{result['n_spans']} spans")
    screen.next_command(*_gate_words(options, result["best"], result["baseline"]))
    screen.result(result)
    return 0


def keep_comparison(screen: Screen, options: CompareOptions, result: dict[str, Any], of: str) -> None:
    """Name the table of a comparison, and draw its plot, where they were asked for."""
    if options.output is not None:
        screen.write(f"Table in {options.output}")
    if options.plot is not None:
        from moola.reports.png_charts import comparison_plot

        comparison_plot(options.plot, result, of)
        screen.write(f"Plot in {options.plot}")


def _write_chart(screen: Screen, result: dict[str, Any]) -> None:
    screen.write(
        f"  {result['n_bars']:,} bars looked at, {result['stretches_from']} to {result['stretches_to']}, in "
        f"{result['n_blocks']} blocks of time for the intervals"
    )
    if len(result["annotators"]) > 1:
        names = ", ".join(result["annotators"][:5])
        screen.write(
            f"  Spans of {len(result['annotators'])} annotators count together ({names}): what several marked "
            "is several spans, of which an event finds one, so that no recall of all is 1; --annotator takes one."
        )
    if result["stretches_assumed"]:
        screen.write(
            "  ASSUMED: a person looked at every bar from the first span to the last. Where that is not so, events "
            "count as false that nobody looked for; name what was looked at with --stretches or --annotated."
        )
    if result["bars"] is None:
        screen.write("  ASSUMED: bars follow each other without gaps, weekends included; name them with --bars.")
    for what in ("events", "spans"):
        if n := result[f"n_{what}_outside"]:
            screen.write(f"  {n} {what} do not count: outside the stretches, or the same span again.")


def _figure_rows(figures: dict[str, dict[str, Any]]) -> list[list[str]]:
    from moola.evaluation.figures import interval_text, value_text

    rows = []
    for name, figure in figures.items():
        interval = interval_text(name, figure["low"], figure["high"], " .. ")
        value, random, moves = (value_text(name, figure[key]) for key in ("value", "random", "moves"))
        rows.append(
            [name, "-", figure["reason"], "", ""] if figure["reason"] else [name, value, interval, random, moves]
        )
    return rows


def _gate_words(options: EventTruthOptions, events: str, baseline: str) -> list[Any]:
    words: list[Any] = ["moola", "gate", "--events", events, "--baseline-events", baseline, "--truth", options.truth]
    for field in fields(EventTruthOptions):
        value = getattr(options, field.name)
        if field.name not in ("truth", "min_prob") and value != field.default:
            shown = value if isinstance(value, tuple) else (str(value).lower() if isinstance(value, bool) else value,)
            words += [f"--{field.name.replace('_', '-')}", *shown]
    return words
