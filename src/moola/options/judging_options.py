"""Options of eval, gate, promote, report, leakcheck and runs prune."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from moola.errors import WrongUsage
from moola.options.option_fields import (
    EVALUATION,
    OUTPUT,
    Bars,
    BootstrapSeed,
    Comparison,
    FilesLength,
    Machine,
    Output,
    PretrainedEncoder,
    Run,
    Seed,
    SplitData,
    everyday,
    says,
)
from moola.options.option_ranges import COUNT_OR_NONE, DEFAULT_SEED, PROMOTED_NAME


@dataclass(frozen=True, kw_only=True)
class VerdictOptions(Comparison):
    """What decides a verdict, for every command."""

    name: Annotated[str, everyday("File name of the promoted model.", OUTPUT)] = PROMOTED_NAME


@dataclass(frozen=True, kw_only=True)
class GateOptions(VerdictOptions):
    """Options of `gate`."""

    run: Annotated[Run, says("Challenger: run id, or its folder under artifacts/runs.")]


@dataclass(frozen=True, kw_only=True)
class PromoteOptions(VerdictOptions):
    """Options of `promote`: those of `gate`, and the way back."""

    run: Annotated[Run, says("Challenger: run id, or its folder under artifacts/runs; not with --back.")] | None = None
    back: Annotated[
        bool,
        everyday(
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
class EvalOptions:
    """Options of `eval`."""

    run: Run
    metrics: Annotated[tuple[ClassMetric, ...], everyday("Class metrics to show.", EVALUATION)] = get_args(ClassMetric)
    event_metrics: Annotated[tuple[EventMetric, ...], everyday("Pointer metrics to show.", EVALUATION)] = get_args(
        EventMetric
    )
    save_metrics: (
        Annotated[Output, says("JSON file for the figures; by default artifacts/metrics/<RUN_ID>.json.")] | None
    ) = None
    save_reliability_plot: Annotated[Output, says("PNG file for the reliability diagram.")] | None = None
    seed: BootstrapSeed = DEFAULT_SEED


# Options of `report`.


REPORTS_ROOT = Path("artifacts/reports")


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Comparison):
    """Options of `report`."""

    run: Annotated[Run, says("Id or folder of a run or of a cv.")]
    compare: Annotated[
        tuple[str, ...],
        everyday("Further runs (or cvs) of the same windows to compare with it on the page.", EVALUATION),
    ] = ()
    output: Annotated[Output, says("HTML file to write; by default artifacts/reports/<RUN_ID>.html.")] | None = None


def gate_options(options: ReportOptions) -> GateOptions:
    """Return the options of the gate whose verdict the page shows."""
    return GateOptions(run=options.run, baseline=options.baseline, seed=options.seed, min_gain=options.min_gain)


# Options of `leakcheck`.


@dataclass(frozen=True, kw_only=True)
class LeakcheckOptions(SplitData, FilesLength, Machine):
    """Options of `leakcheck`."""

    run: Annotated[Run, says("Run id, or its folder, to check against this data and split.")] | None = None
    pretrained_encoder: Annotated[PretrainedEncoder, says("Encoder file to check for held-out bars.")] | None = None
    bars: (
        Annotated[Bars, says("Bars for a live scan with the run's model, to prove that it depends on past bars alone.")]
        | None
    ) = None
    quick: Annotated[bool, everyday("Skip the checks that train small networks.", EVALUATION)] = False
    seed: Seed = DEFAULT_SEED


# Options of `runs prune`.


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Options of `runs prune`."""

    keep: Annotated[int, COUNT_OR_NONE, everyday("Newest runs that are always kept.", OUTPUT)] = 10
    apply: Annotated[bool, everyday("Remove what is listed; by default nothing is removed.", OUTPUT)] = False
