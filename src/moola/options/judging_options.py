"""Options of eval, gate, promote, report, leakcheck and runs prune."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from moola.errors import WrongUsage
from moola.options.option_ranges import DEFAULT_SEED, MIN_GAIN, PROMOTED_NAME, DeviceName
from moola.options.span_options import SpanReading


@dataclass(frozen=True, kw_only=True)
class VerdictOptions:
    """What decides a verdict, whoever asks for it.

    Parameters
    ----------
    baseline
        Run id, run folder or model file to beat. Left out: the promoted model, else the newest
        from-scratch run on the same data and split.
    name
        File name of the promoted model.
    seed
        Seed of the bootstrap.
    min_gain
        Smallest gain in Brier that is worth having: a smaller one is inconclusive, however sure. 0 takes any gain.
    """

    baseline: Path | None = None
    name: str = PROMOTED_NAME
    seed: int = DEFAULT_SEED
    min_gain: float = MIN_GAIN


@dataclass(frozen=True, kw_only=True)
class EventTruthOptions(SpanReading):
    """What the events of a scan are evaluated against.

    Parameters
    ----------
    truth
        File of the spans that a person marked.
    stretches
        Table (from, to, symbol where known) of the stretches of which the person saw all bars. Without it and
        --annotated: from the first span's start to the last span's end.
    annotated
        The same as times FROM TO; further pairs may follow.
    bars
        Bars that were scanned. Left out: bars are taken to follow each other without gaps.
    min_prob
        Least event_prob for precision, recall and false alarms; average precision ranks all events.
    """

    truth: Path | None = None
    stretches: Path | None = None
    annotated: tuple[str, ...] = ()
    bars: Path | None = None
    min_prob: float = 0.0

    def truth_named(self) -> Path:
        """Return the file of spans.

        Raises
        ------
        WrongUsage
            It is not named.
        """
        if self.truth is None:
            raise WrongUsage("events must be evaluated with --truth, but it is not given. Name the spans of a person.")
        return self.truth

    def refuse_idle(self) -> None:
        """Refuse options of events where no events are evaluated.

        Raises
        ------
        WrongUsage
            Names the first that was given.
        """
        idle = [name for name in ("truth", "stretches", "annotated", "save_gallery") if getattr(self, name, None)]
        if idle:
            raise WrongUsage(
                f"--{idle[0].replace('_', '-')} must come with the events of a scan, but none are given. Leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class RunOrEventsOptions(EventTruthOptions):
    """What is evaluated: a run, or the events of a scan.

    Parameters
    ----------
    run
        Run id, or its folder under artifacts/runs.
    events
        In place of a run: the event table of `moola scan`, evaluated against --truth.
    """

    run: Path | None = None
    events: Path | None = None

    def run_named(self) -> Path:
        """Return the run.

        Raises
        ------
        WrongUsage
            No run is named, or events or options of events came with it.
        """
        if self.run is None or self.events is not None:
            given = "neither is" if self.events is None else "both are" if self.run else "--events is"
            raise WrongUsage(f"one of --run and --events must be given, but {given}. Give one.")
        self.refuse_idle()
        return self.run

    def events_named(self) -> Path:
        """Return the event table.

        Raises
        ------
        WrongUsage
            No events are named, or a run came with them.
        """
        if self.events is None or self.run is not None:
            given = "neither is" if self.run is None else "both are" if self.events else "--run is"
            raise WrongUsage(f"one of --run and --events must be given, but {given}. Give one.")
        return self.events


@dataclass(frozen=True, kw_only=True)
class GateOptions(RunOrEventsOptions, VerdictOptions):
    """Options of `gate`.

    Parameters
    ----------
    baseline_events
        The event table to beat, of the same bars.
    baseline_min_prob
        Least event_prob of the baseline's events, where it is not --min-prob.
    """

    baseline_events: Path | None = None
    baseline_min_prob: float | None = None


@dataclass(frozen=True, kw_only=True)
class PromoteOptions(VerdictOptions):
    """Options of `promote`: those of `gate`, and the way back.

    Parameters
    ----------
    run
        The challenger: run id, or its folder under artifacts/runs. Left out with --back.
    back
        Return to the model that was in use before the present one, without a gate; again, to the one before that.
    """

    run: Path | None = None
    back: bool = False

    def gate_options(self) -> GateOptions:
        """Return the options of the gate that the run must pass.

        Raises
        ------
        WrongUsage
            No run is named.
        """
        if self.run is None:
            raise WrongUsage("promote must be given --run or --back, but has neither. Name the run to promote.")
        return GateOptions(run=self.run, baseline=self.baseline, name=self.name, seed=self.seed, min_gain=self.min_gain)


# Options of `eval`.


ClassMetric = Literal[
    "pr_auc",
    "brier",
    "ece",
    "accuracy",
    "mcc",
    "f1_macro",
    "f1_per_class",
    "log_loss",
    "brier_skill",
    "brier_parts",
    "calibration",
]
EventMetric = Literal["hit_at_pm3", "lead_lag", "pointer_f1", "event_map", "expansion_iou"]


@dataclass(frozen=True, kw_only=True)
class EvalOptions(RunOrEventsOptions):
    """Options of `eval`.

    Parameters
    ----------
    metrics
        Class metrics to show.
    event_metrics
        Pointer metrics to show.
    save_metrics
        JSON file for the figures; artifacts/metrics/<RUN_ID>.json when left out, <events>.eval.json beside events.
    save_reliability_plot
        PNG file for the reliability diagram.
    save_gallery
        PNG file for found, missed and false pieces of the chart, with --events and --bars.
    seed
        Seed of the bootstrap.
    """

    metrics: tuple[ClassMetric, ...] = get_args(ClassMetric)
    event_metrics: tuple[EventMetric, ...] = get_args(EventMetric)
    save_metrics: Path | None = None
    save_reliability_plot: Path | None = None
    save_gallery: Path | None = None
    seed: int = DEFAULT_SEED


# Options of `report`.


REPORTS_ROOT = Path("artifacts/reports")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `report`.

    Parameters
    ----------
    run
        Id or folder of a run or of a cv.
    baseline
        Run id, run folder or model file to judge against. Left out: the promoted model, else the newest
        from-scratch run on the same data and split; without either the page has no verdict.
    compare
        Further runs (or cvs) of the same windows, to compare with it on the page.
    output
        HTML file to write; artifacts/reports/<RUN_ID>.html when left out.
    seed
        Seed of the bootstrap.
    min_gain
        Smallest gain in Brier that is worth having, as `gate` takes it for the verdict.
    """

    run: Path
    baseline: Path | None = None
    compare: tuple[str, ...] = ()
    output: Path | None = None
    seed: int = DEFAULT_SEED
    min_gain: float = MIN_GAIN


def gate_options(options: ReportOptions) -> GateOptions:
    """Return the options of the gate whose verdict the page shows."""
    return GateOptions(run=options.run, baseline=options.baseline, seed=options.seed, min_gain=options.min_gain)


# Options of `leakcheck`.


@dataclass(frozen=True, kw_only=True)
class LeakcheckOptions:
    """Options of `leakcheck`.

    Parameters
    ----------
    data
        Labelled windows, relative or 4-D.
    split
        Split file; one that leaks is examined, not refused.
    run
        Run id, or its folder under artifacts/runs, to check against this data and split.
    pretrained_encoder
        Encoder file to check for held-out bars.
    bars
        Bars that the run's model scans live, to prove that what it tells hangs on bars up to then alone.
    quick
        Leave out the checks that train small networks.
    window_bars
        Bars a window; as the data says when left out.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    seed
        Seed of everything random.
    """

    data: Path
    split: Path
    run: Path | None = None
    pretrained_encoder: Path | None = None
    bars: Path | None = None
    quick: bool = False
    window_bars: int | None = None
    device: DeviceName = "auto"
    threads: int = 1
    seed: int = DEFAULT_SEED


# Options of `runs prune`.


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Options of `runs prune`.

    Parameters
    ----------
    keep
        Newest runs that stay, whatever they are.
    apply
        Remove what is listed; without it nothing is.
    """

    keep: int = 10
    apply: bool = False
