"""Options of cv, compare, benchmark and tune, and what `tune` may choose from."""

import math
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from moola.errors import WrongUsage
from moola.options.judging_options import EventTruthOptions
from moola.options.option_fields import (
    BETWEEN_0_AND_1,
    COUNT,
    DATA,
    DEFAULT_SEED,
    EVALUATION,
    MODEL,
    NOT_NEGATIVE,
    OUTPUT,
    SEVERAL,
    SHARE,
    TRAINING,
    Bars,
    BootstrapSeed,
    Cache,
    CpsaRatio,
    Embargo,
    Epochs,
    InitialFraction,
    LabelledData,
    LearnedFromRows,
    Machine,
    ManyFits,
    MirrorClasses,
    Output,
    PretrainedEncoder,
    Seed,
    SplitData,
    ValFraction,
    VisibleBars,
    WindowLength,
    advanced,
    basic,
    plain_kind,
    with_help,
)
from moola.options.table_options import SPAN_TABLE, SpanTable, Stretches
from moola.options.toml_files import read_toml
from moola.options.training_options import TrainOptions

CV_ROOT = Path("artifacts/cv")
ModelName = Literal["enhanced_simple_lstm", "prevalence", "logistic", "summary_trees", "nearest"]


@dataclass(frozen=True, kw_only=True)
class CvOptions(LearnedFromRows, ManyFits, SpanTable):
    """Options of `cv`."""

    data: Annotated[LabelledData, with_help("Labelled windows with times, relative or 4-D.")] | None = None
    spans: Annotated[Path, basic("Instead of --data: spans to find on later --stretches of --bars.", DATA)] | None = (
        None
    )
    stretches: Stretches | None = None
    bars: Annotated[Path | None, advanced("Bars on which --spans were marked.", DATA)] = None
    model: Annotated[ModelName, basic("Network or cheap reference.", MODEL)] = "enhanced_simple_lstm"
    scheme: Annotated[
        Literal["expanding", "rolling", "combinatorial"],
        basic(
            "expanding and rolling walk forward; combinatorial also trains on later bars.",
            EVALUATION,
        ),
    ] = "expanding"
    folds: Annotated[
        int,
        SEVERAL,
        basic("Test blocks; combinatorial: blocks to pair.", EVALUATION),
    ] = 5
    initial_fraction: InitialFraction = 0.4
    val_fraction: ValFraction = 0.2
    embargo: Embargo = 0
    seeds: Annotated[int, COUNT, basic("Seeds per fold; their logits are averaged.", EVALUATION)] = 5
    calibration: Annotated[
        Literal["temperature", "platt"],
        advanced("Calibration of pooled probabilities, each fold on the others.", EVALUATION),
    ] = "temperature"
    conformal_alpha: Annotated[
        float,
        BETWEEN_0_AND_1,
        advanced("Share of windows that a conformal set or pointer range may miss.", EVALUATION),
    ] = 0.1
    label_fractions: Annotated[
        tuple[float, ...],
        SHARE,
        advanced("Shares of the labelled training windows to learn from, for a learning curve.", EVALUATION),
    ] = (1.0,)
    pretrained_encoder: (
        Annotated[PretrainedEncoder, with_help("Encoder file, or `base`; marked where it saw tests.")] | None
    ) = None
    pretrain_bars: Annotated[
        Path | None,
        advanced("Bars to pretrain an encoder on in each fold, up to its first held-out window.", MODEL),
    ] = None
    pretrain_epochs: Annotated[int, COUNT, advanced("Epochs of that pretraining.", MODEL)] = 50
    epochs: Epochs = 40
    cpsa_ratio: CpsaRatio = 1.0
    visible_bars: VisibleBars | None = None
    controls: Annotated[
        bool, advanced("Run leakcheck's controls on the folds; the gate requires that they pass.", EVALUATION)
    ] = True
    save_curve: Annotated[Path | None, advanced("PNG of the learning curve.", OUTPUT)] = None
    seed: Annotated[Seed, with_help("First random seed; the others follow.")] = DEFAULT_SEED
    cache: Cache = True
    resume: Annotated[str | None, basic("Interrupted cv to continue, with the same options.", OUTPUT)] = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EventTruthOptions):
    """Options of `compare`."""

    baseline: Annotated[
        str | None, basic("Run or cv to compare the others with; by default the first one named.", EVALUATION)
    ] = None
    output: Annotated[Output, with_help("Table to write (.csv).")] | None = None
    plot: Annotated[Output, with_help("PNG of the paired differences with their intervals.")] | None = None
    seed: BootstrapSeed = DEFAULT_SEED


# Options of `benchmark`.


BENCHMARK_ROOT = Path("artifacts/benchmark")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(WindowLength, ManyFits, SpanTable):
    """Options of `benchmark`."""

    train: Annotated[
        Path | None,
        basic("Labelled windows with times; a column `draw` divides them into training sets used one at a time.", DATA),
    ] = None
    spans: Annotated[
        Path | None,
        basic("In place of --train, with --bars and --stretches.", DATA),
    ] = None
    stretches: Stretches | None = None
    n_draws: Annotated[
        int, COUNT, advanced("Of --spans: pieces of the earlier stretches that are learned from one at a time.", DATA)
    ] = 3
    initial_fraction: Annotated[
        InitialFraction, with_help("Of --spans: share of them, the earliest, that draws are taken from.")
    ] = 0.6
    pretrained_encoder: Annotated[
        PretrainedEncoder | None,
        with_help("Of --spans: encoder, a file or `base`."),
    ] = None
    mirror_classes: MirrorClasses = ()
    test: Annotated[
        Path | None,
        basic(
            "Labelled windows with times that test every fit and decide nothing; train windows that share a bar with "
            "one are left out.",
            DATA,
        ),
    ] = None
    models: Annotated[
        tuple[str, ...],
        basic(
            "References (prevalence, logistic, summary_trees, nearest), peers of the extra `peers` (quant, "
            "minirocket, multirocket_hydra), matching of closes (nearest_dtw, nearest_path), `scratch` (train with its "
            "defaults), and configurations of --arms.",
            MODEL,
        ),
    ] = ("prevalence", "logistic", "summary_trees", "scratch")
    arms: Annotated[
        Path | None,
        basic(
            "TOML file with a table per configuration; `pretrain` and `train` in it are tables of options of "
            'pretrain-bilstm and train. "{bars}" stands for the usable bars of --bars; a `seed` under `pretrain` '
            "gives all fits one encoder.",
            MODEL,
        ),
    ] = None
    draws: Annotated[tuple[int, ...], advanced("Draws to learn from; by default all.", DATA)] = ()
    seeds: Annotated[
        tuple[int, ...], basic("Seeds of each draw's fits; the average of several is evaluated too.", EVALUATION)
    ] = (DEFAULT_SEED,)
    judge: Annotated[
        Literal["test", "other-draws"],
        advanced(
            "test: the windows of --test. other-draws: windows of the other draws that share no bar with the draw, "
            "for choosing options; of --test only the first time is then read.",
            EVALUATION,
        ),
    ] = "test"
    against: Annotated[str | None, basic("Model that every other one is compared with, draw by draw.", EVALUATION)] = (
        None
    )
    bars: Annotated[Bars, with_help("Bars to pretrain on, up to --bars-before.")] | None = None
    bars_before: Annotated[
        str | None,
        advanced(
            "Time (UTC) at which --bars end; by default, and at the latest, the start of the first test window.", DATA
        ),
    ] = None
    labels_per_draw: (
        Annotated[
            int,
            COUNT,
            advanced(
                "Learn from this many random windows of each draw, the same for every model; smaller sets are part of "
                "larger ones.",
                DATA,
            ),
        ]
        | None
    ) = None
    positive: Annotated[str | None, advanced("Class for the PR-AUC; by default the mean over classes.", EVALUATION)] = (
        None
    )
    val_fraction: Annotated[
        ValFraction,
        with_help(
            "Share of a draw's windows, the latest, that selects a network's epoch; other models learn from all."
        ),
    ] = 0.15
    output: Annotated[
        Output, with_help("Folder of tables, fits and encoders; the same command continues from what is there.")
    ] = BENCHMARK_ROOT

    def train_named(self) -> Path:
        """Return --train; raises `WrongUsage` where neither it nor --spans is given."""
        if self.train is None:
            raise WrongUsage(
                "a benchmark must learn from labelled windows or from spans, but neither --train nor --spans is given. "
                "Name one of them."
            )
        return self.train


# Options of `tune`: where the study is kept, what evaluates a trial, and what is held for every trial.


TUNING_ROOT = Path("artifacts/tuning")
TuneMetric = Literal["brier", "log_loss", "pr_auc", "hit_at_pm3_both"]
HIGHER_IS_BETTER = ("pr_auc", "hit_at_pm3_both")
# Given on the command line, these are held for every trial in place of being tuned.
HELD = (
    "freeze_encoder",
    "hidden_dim",
    "num_layers",
    "epochs",
    "augment_data",
    "cpsa_ratio",
    "mirror_classes",
    "predict_pointers",
)


@dataclass(frozen=True, kw_only=True)
class TuneOptions(SplitData, LearnedFromRows, Machine):
    """Options of `tune`; an option of `train` given here is fixed for every trial."""

    trials: Annotated[int, COUNT, basic("Trials, earlier ones included.", TRAINING)] = 30
    inner_folds: Annotated[int, SEVERAL, basic("Test blocks inside the train rows.", EVALUATION)] = 3
    initial_fraction: InitialFraction = 0.5
    val_fraction: ValFraction = 0.2
    embargo: Embargo = 0
    metric: Annotated[TuneMetric, basic("Mean over the folds of this metric.", EVALUATION)] = "brier"
    ranges: Annotated[
        Path | None,
        advanced(
            "TOML file that replaces the range of each option it names; a single value fixes the option.", TRAINING
        ),
    ] = None
    study: Annotated[
        Path | None,
        advanced(
            "SQLite file of the study; by default named after data and options. The same command continues it.", OUTPUT
        ),
    ] = None
    output: Annotated[Output, with_help("File whose `[train]` table gets the values; a backup is kept.")] = Path(
        "moola.toml"
    )
    timeout_minutes: Annotated[
        float, NOT_NEGATIVE, advanced("Begin no trial after this many minutes; 0 sets no limit.", TRAINING)
    ] = 0.0
    confirm_seeds: Annotated[
        int,
        COUNT,
        advanced(
            "Fresh seeds to confirm the best trial against the defaults, as the best of many was lucky.", EVALUATION
        ),
    ] = 2
    epochs: Annotated[Epochs, with_help("Passes over the windows.")] | None = None
    cpsa_ratio: CpsaRatio | None = None
    seed: Seed = DEFAULT_SEED


# What `tune` may choose from: declared ranges, and a TOML file that replaces some of them.


Value = bool | int | float
RANGE_KEYS = {"low", "high", "log"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both among them; on a logarithmic scale where `log` says so."""

    low: float
    high: float
    log: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether a value lies in it."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of these values; a single one is held."""

    values: tuple[Value, ...]

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of them."""
        return value in self.values

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a check must try."""
        return self.values


Ranges = dict[str, Range | Choices]
DECLARED: Ranges = {
    "learning_rate": Range(3e-4, 1e-2, log=True),
    "weight_decay": Range(1e-4, 1e-1, log=True),
    "dropout": Range(0.0, 0.5),
    "pointer_weight": Range(1.0, 16.0, log=True),
    "pointer_sigma": Range(1.0, 3.0),
    "label_smoothing": Range(0.0, 0.2),
    "input_noise": Range(0.0, 0.3),
    "epochs": Choices((20, 40, 60)),
}
FROM_SCRATCH: Ranges = {"hidden_dim": Choices((32, 64, 128))}
# The encoder's rate is drawn only where the encoder is trained.
WITH_ENCODER: Ranges = {"freeze_encoder": Choices((True, False)), "encoder_rate": Range(0.02, 1.0, log=True)}
# Options of `train` that are no matter of taste: files, machines, seeds, and what marks a result.
NOT_TUNED = ("input_dim", "window_bars", "allow_overlap", "save_run", "threads", "seed", "cache", *SPAN_TABLE)


def tunable() -> dict[str, type]:
    """Return the options of `train` that a range may be given for, with their type."""
    hints = get_type_hints(TrainOptions)
    known = {name: plain_kind(hint) for name, hint in hints.items() if name not in NOT_TUNED}
    return {name: kind for name, kind in known.items() if kind is not None}


def declared_ranges(with_encoder: bool, path: Path | None = None, held: dict[str, Any] | None = None) -> Ranges:
    """Return what may be chosen: the declared ranges, then those of a file, less what is held.

    Raises
    ------
    WrongUsage
        The file is no TOML, names no option of `train` that can be tuned, or gives what is no range.
    """
    ranges = DECLARED | (WITH_ENCODER if with_encoder else FROM_SCRATCH)
    if path is not None:
        ranges = ranges | read_ranges(path)
    return {name: found for name, found in ranges.items() if name not in (held or {})}


def read_ranges(path: Path) -> Ranges:
    """Read ranges: `dropout = {low = 0.1, high = 0.3}`, `epochs = [20, 40]`, or `input_noise = 0.1` to hold it."""
    content = {name.replace("-", "_"): value for name, value in read_toml(path, f"--ranges {path}").items()}
    known = tunable()
    unknown = [name for name in content if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1)
        raise WrongUsage(
            f"every key of {path} must be an option of train that can be tuned, but {len(unknown)} of {len(content)} "
            f"is not: {', '.join(repr(name) for name in unknown[:5])}. "
            f"{f'Did you mean {near[0]}?' if near else 'Remove it.'}"
        )
    return {name: _range(name, value, known[name], path) for name, value in content.items()}


def _range(name: str, value: Any, kind: type, path: Path) -> Range | Choices:
    if not isinstance(value, dict):
        values = value if isinstance(value, list) else [value]
        if not values or not all(_is(kind, one) for one in values):
            _refuse(name, f"values of {kind.__name__}", value, path)
        return Choices(tuple(kind(one) for one in values))
    if not {"low", "high"} <= set(value) <= RANGE_KEYS or kind is bool:
        _refuse(name, "{low, high, log} or a list of values", value, path)
    low, high, log = value["low"], value["high"], value.get("log", False)
    if not (_is(kind, low) and _is(kind, high) and isinstance(log, bool)):
        _refuse(name, f"a low and a high of {kind.__name__}", value, path)
    if not low < high or (log and low <= 0):
        _refuse(name, "a low below its high, and above 0 where log is true", value, path)
    return Range(kind(low), kind(high), log)


def _is(kind: type, value: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))


def _refuse(name: str, must: str, found: Any, path: Path) -> None:
    raise WrongUsage(f"{name} of {path} must be {must}, but it is {found!r}. See `moola tune --help`.")


def plain_ranges(ranges: Ranges) -> dict[str, Any]:
    """Return ranges as plain values, for a digest and for people."""
    return {name: asdict(found) for name, found in sorted(ranges.items())}
