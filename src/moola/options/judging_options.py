"""Options of eval, gate, promote, report, leakcheck and runs prune."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, get_args

from moola.errors import WrongUsage
from moola.options.option_fields import (
    COUNT_OR_NONE,
    DEFAULT_SEED,
    EVALUATION,
    OUTPUT,
    PROBABILITY,
    PROMOTED_NAME,
    AllowOverlap,
    Bars,
    BootstrapSeed,
    Comparison,
    FilesLength,
    LabelledData,
    Machine,
    Output,
    PretrainedEncoder,
    Run,
    Seed,
    SplitData,
    advanced,
    basic,
    with_help,
)
from moola.options.table_options import AnnotatedTimes, SpanReading, Stretches

EceRule = Literal["contract", "noise"]


@dataclass(frozen=True, kw_only=True)
class LaterOptions:
    """Labelled windows that came later than everything the model learned from."""

    data: (
        Annotated[
            LabelledData,
            with_help("Labelled windows that came later, in place of the run's own test windows."),
        ]
        | None
    ) = None
    allow_overlap: Annotated[
        AllowOverlap,
        with_help("Accept --data that the model or its encoder may have seen; the result is marked as not leak-proof."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class VerdictOptions(Comparison, LaterOptions):
    """What decides a verdict, for every command."""

    name: Annotated[str, basic("File name of the promoted model.", OUTPUT)] = PROMOTED_NAME
    ece_rule: Annotated[
        EceRule,
        basic(
            "If ECE alone breaks its rule: hold (contract), or inconclusive where chance explains it (noise).",
            EVALUATION,
        ),
    ] = "contract"


EVENT_OPTIONS = ("truth", "stretches", "annotated", "without_proposals", "save_gallery")


@dataclass(frozen=True, kw_only=True)
class EventTruthOptions(SpanReading):
    """What the events of a scan are evaluated against."""

    truth: Annotated[Path | None, basic("File of the spans that a person marked, for events.", EVALUATION)] = None
    stretches: (
        Annotated[
            Stretches,
            with_help(
                "Table (from, to, symbol where known) of the stretches of which the person saw all bars. By default "
                "from the first span's start to the last span's end."
            ),
        ]
        | None
    ) = None
    annotated: AnnotatedTimes = ()
    bars: (
        Annotated[
            Bars,
            basic("Bars that were scanned. By default bars are taken to follow each other without gaps.", EVALUATION),
        ]
        | None
    ) = None
    without_proposals: Annotated[
        bool,
        advanced(
            "Leave out spans that a model proposed (source accepted or corrected), and the bars that they cover.",
            EVALUATION,
        ),
    ] = False
    min_prob: Annotated[
        float,
        PROBABILITY,
        basic(
            "Least event_prob for precision, recall and false alarms; average precision ranks all events.", EVALUATION
        ),
    ] = 0.0

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
        idle = [name for name in EVENT_OPTIONS if getattr(self, name, None)]
        if idle:
            raise WrongUsage(
                f"--{idle[0].replace('_', '-')} must come with the events of a scan, but none are given. Leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class RunOrEventsOptions(EventTruthOptions):
    """What is evaluated: a run, or the events of a scan."""

    run: Run | None = None
    events: Annotated[
        Path | None,
        basic("In place of a run: the event table of `moola scan`, evaluated against --truth.", EVALUATION),
    ] = None

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
        if getattr(self, "allow_overlap", False) and getattr(self, "data", None) is None:
            raise WrongUsage("--allow-overlap must come with --data, but it is not given. Leave it out.")
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
        if getattr(self, "data", None) is not None:
            raise WrongUsage("--data must come with --run, but --events is given. Leave one of them out.")
        return self.events


@dataclass(frozen=True, kw_only=True)
class GateOptions(RunOrEventsOptions, VerdictOptions):
    """Options of `gate`."""

    run: Annotated[Run, with_help("Challenger: a run's id or the beginning of it, `latest`, or its folder.")] | None = (
        None
    )
    baseline_events: Annotated[Path | None, basic("The event table to beat, of the same bars.", EVALUATION)] = None
    baseline_min_prob: Annotated[
        float | None,
        PROBABILITY,
        advanced("Least event_prob of the baseline's events, where it is not --min-prob.", EVALUATION),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PromoteOptions(VerdictOptions):
    """Options of `promote`: those of `gate`, and the way back."""

    run: (
        Annotated[
            Run, with_help("Challenger: a run's id or the beginning of it, `latest`, or its folder; not with --back.")
        ]
        | None
    ) = None
    back: Annotated[
        bool,
        basic(
            "Return to the model used before the present one, without a gate; again, to the one before that.", OUTPUT
        ),
    ] = False

    def gate_options(self) -> GateOptions:
        """Return the options of the gate that the run must pass.

        Raises
        ------
        WrongUsage
            No run is named.
        """
        if self.run is None:
            raise WrongUsage("promote must be given --run or --back, but has neither. Name the run to promote.")
        asked = {field.name: getattr(self, field.name) for field in fields(VerdictOptions)}
        return GateOptions(run=self.run, **asked)


# Options of `eval`.


ClassMetric = Literal[
    "pr_auc",
    "brier",
    "ece",
    "accuracy",
    "balanced_accuracy",
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
class EvalOptions(RunOrEventsOptions, LaterOptions):
    """Options of `eval`."""

    metrics: Annotated[tuple[ClassMetric, ...], basic("Class metrics to show.", EVALUATION)] = get_args(ClassMetric)
    event_metrics: Annotated[tuple[EventMetric, ...], basic("Pointer metrics to show.", EVALUATION)] = get_args(
        EventMetric
    )
    save_metrics: (
        Annotated[
            Output,
            with_help("JSON file for the figures; by default under artifacts/metrics, or beside the events."),
        ]
        | None
    ) = None
    save_reliability_plot: Annotated[Output, with_help("PNG file for the reliability diagram.")] | None = None
    save_gallery: (
        Annotated[
            Output, with_help("PNG file for found, missed and false pieces of the chart, with --events and --bars.")
        ]
        | None
    ) = None
    seed: BootstrapSeed = DEFAULT_SEED


# Options of `report`.


REPORTS_ROOT = Path("artifacts/reports")


@dataclass(frozen=True, kw_only=True)
class ReportOptions(EventTruthOptions, Comparison):
    """Options of `report`."""

    run: Annotated[Run, with_help("Id or folder of a run or of a cv.")]
    events: Annotated[
        Path | None,
        basic("Event table of a scan to show on the page, evaluated against --truth.", EVALUATION),
    ] = None
    compare: Annotated[
        tuple[str, ...],
        basic("Further runs (or cvs) of the same windows to compare with it on the page.", EVALUATION),
    ] = ()
    output: Annotated[Output, with_help("HTML file to write; by default artifacts/reports/<RUN_ID>.html.")] | None = (
        None
    )


def gate_options(options: ReportOptions) -> GateOptions:
    """Return the options of the gate whose verdict the page shows."""
    return GateOptions(run=options.run, baseline=options.baseline, seed=options.seed, min_gain=options.min_gain)


# Options of `leakcheck`.


@dataclass(frozen=True, kw_only=True)
class LeakcheckOptions(SplitData, FilesLength, Machine):
    """Options of `leakcheck`."""

    run: (
        Annotated[Run, with_help("Run (id, its beginning, `latest` or folder) to check against this data and split.")]
        | None
    ) = None
    pretrained_encoder: Annotated[PretrainedEncoder, with_help("Encoder file to check for held-out bars.")] | None = (
        None
    )
    bars: (
        Annotated[
            Bars, with_help("Bars for a live scan with the run's model, to prove that it depends on past bars alone.")
        ]
        | None
    ) = None
    quick: Annotated[bool, basic("Skip the checks that train small networks.", EVALUATION)] = False
    seed: Seed = DEFAULT_SEED


# Options of `runs prune`.


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Options of `runs prune`."""

    keep: Annotated[int, COUNT_OR_NONE, basic("Newest runs that are always kept.", OUTPUT)] = 10
    apply: Annotated[bool, basic("Remove what is listed; by default nothing is removed.", OUTPUT)] = False
