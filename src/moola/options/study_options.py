"""Options of cv, compare, benchmark and tune, and what `tune` may choose from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from moola.errors import WrongUsage
from moola.options.option_ranges import DEFAULT_SEED, DeviceName, EngineName
from moola.options.toml_files import read_toml
from moola.options.training_options import TrainOptions

CV_ROOT = Path("artifacts/cv")
ModelName = Literal["enhanced_simple_lstm", "prevalence", "logistic", "summary_trees", "nearest"]


@dataclass(frozen=True, kw_only=True)
class CvOptions:
    """Options of `cv`.

    Parameters
    ----------
    data
        Labelled windows with times, relative or 4-D.
    model
        The network, or a cheap reference.
    scheme
        expanding and rolling walk forward; combinatorial makes every pair of blocks a test set once.
        Combinatorial folds train on bars after their test windows too: they show the spread of paths, not
        what would have been known at the time.
    folds
        Test blocks (walk-forward), or blocks to choose pairs from (combinatorial).
    initial_fraction
        Share of the windows before the first test block (walk-forward).
    val_fraction
        Share of each fold's training windows, the latest, that chooses its epoch.
    embargo
        Bars around held-out windows in which no window may train, beyond sharing no bar; taken as so many usual
        bar intervals of time.
    seeds
        Seeds a fold; their logits are averaged.
    calibration
        How pooled probabilities are calibrated, each fold on the others: temperature or Platt.
    conformal_alpha
        Share of windows that a conformal set or pointer range may miss.
    label_fractions
        Shares of the labelled training windows to learn from; the curve shows what fewer labels do.
    pretrained_encoder
        Encoder file to start from; marked as a leak where it saw a fold's test windows.
    pretrain_bars
        Bars to pretrain an encoder on in each fold, ending before its first held-out window.
    pretrain_epochs
        Epochs of that pretraining.
    freeze_encoder
        Train the heads alone.
    hidden_dim
        LSTM units in each direction.
    num_layers
        LSTM layers.
    epochs
        Passes over the training windows.
    augment_data
        Add synthetic windows made from each fold's train rows.
    cpsa_ratio
        Synthetic windows a real one in each epoch.
    mirror_classes
        How the price mirror treats classes.
    predict_pointers
        Learn start and end of the expansion; on when the data has pointers.
    visible_bars
        Show the network these first bars of a window alone: 75 of 105 are known when the inner zone ends.
    window_bars
        Bars a window; as the files named say when left out.
    controls
        Run leakcheck's controls on the folds; the gate asks that they pass.
    save_curve
        PNG of the figures over shares of the labels.
    processes
        Fits at a time, each with one thread; 0 for one a core.
    engine
        processes of this machine, or ray: a task a fit on the cluster of RAY_ADDRESS (this machine where it is not
        set), done anew where a worker dies. The working folder must be on every node under the same path.
    device
        cuda, cpu, or auto for a GPU where there is one.
    seed
        First seed; the others follow.
    resume
        Id (or folder) of an interrupted cv to go on with, given the same options.
    """

    data: Path
    model: ModelName = "enhanced_simple_lstm"
    scheme: Literal["expanding", "rolling", "combinatorial"] = "expanding"
    folds: int = 5
    initial_fraction: float = 0.4
    val_fraction: float = 0.2
    embargo: int = 0
    seeds: int = 5
    calibration: Literal["temperature", "platt"] = "temperature"
    conformal_alpha: float = 0.1
    label_fractions: tuple[float, ...] = (1.0,)
    pretrained_encoder: Path | None = None
    pretrain_bars: Path | None = None
    pretrain_epochs: int = 50
    freeze_encoder: bool | None = None
    hidden_dim: int | None = None
    num_layers: int | None = None
    epochs: int = 40
    augment_data: bool | None = None
    cpsa_ratio: float = 1.0
    mirror_classes: tuple[str, ...] = ()
    predict_pointers: bool | None = None
    visible_bars: int | None = None
    window_bars: int | None = None
    controls: bool = True
    save_curve: Path | None = None
    processes: int = 0
    engine: EngineName = "processes"
    device: DeviceName = "auto"
    seed: int = DEFAULT_SEED
    resume: str | None = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Options of `compare`.

    Parameters
    ----------
    baseline
        Run or cv to compare the others with; the first one named when left out.
    output
        Table to write (.csv).
    plot
        PNG of the paired differences with their intervals.
    seed
        Seed of the bootstrap.
    """

    baseline: str | None = None
    output: Path | None = None
    plot: Path | None = None
    seed: int = DEFAULT_SEED


# Options of `benchmark`.


BENCHMARK_ROOT = Path("artifacts/benchmark")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """Options of `benchmark`.

    Parameters
    ----------
    train
        Labelled windows with times; a column `draw` divides them into sets that are learned from one at a time.
    test
        Labelled windows with times that judge every fit and decide nothing. A train window that shares a bar with
        one is left out.
    models
        Cheap references (prevalence, logistic, summary_trees, nearest), peers of the extra `peers` (quant, minirocket,
        multirocket_hydra), `scratch` (train as it is by default), and tables of --arms.
    arms
        TOML file with a table an arm; in it `pretrain` and `train` are tables of options of pretrain-bilstm and train.
        The text "{bars}" stands for the bars of --bars that may be seen; a `seed` under `pretrain` gives all fits
        of the arm one encoder.
    draws
        Draws to learn from; all when left out.
    seeds
        Seeds of each draw's fits; of several, their average is judged as well.
    judge
        test: the windows of --test. other-draws: those of the other draws that share no bar with the draw, for
        choosing options; of --test no more than its first time is then read.
    against
        Model that every other one is compared with, draw by draw.
    bars
        Bars to pretrain on; those from --bars-before on are cut off first.
    bars_before
        Time (UTC) that --bars end before; the first test window's start when left out, and never after it.
    labels_per_draw
        Learn from so many windows of each draw, drawn at random whatever their class, the same for every model; fewer
        are among more.
    positive
        Class that PR-AUC is of; the mean over classes when left out.
    val_fraction
        Share of a draw's windows, the latest, that chooses a network's epoch; references and peers learn from all.
    processes
        Fits at a time, each with one thread; 0 for one a core.
    engine
        processes of this machine, or ray: a task a fit on the cluster of RAY_ADDRESS (this machine where it is not
        set), done anew where a worker dies. The working folder must be on every node under the same path.
    output
        Folder of tables, fits and encoders. The same command goes on with what is done there.
    window_bars
        Bars a window.
    device
        cuda, cpu, or auto for a GPU where there is one.
    """

    train: Path
    test: Path | None = None
    models: tuple[str, ...] = ("prevalence", "logistic", "summary_trees", "scratch")
    arms: Path | None = None
    draws: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (DEFAULT_SEED,)
    judge: Literal["test", "other-draws"] = "test"
    against: str | None = None
    bars: Path | None = None
    bars_before: str | None = None
    labels_per_draw: int | None = None
    positive: str | None = None
    val_fraction: float = 0.15
    processes: int = 0
    engine: EngineName = "processes"
    output: Path = BENCHMARK_ROOT
    window_bars: int = 105
    device: DeviceName = "auto"


# Options of `tune`: where the study is kept, what judges a trial, and what is held for every trial.


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
class TuneOptions:
    """Options of `tune`.

    Parameters
    ----------
    data
        Labelled windows with times, relative or 4-D.
    split
        Split file; only its train rows are used, val and test are never looked at.
    pretrained_encoder
        Encoder file to start from; without one the encoder starts from scratch.
    trials
        Trials that the study is to have, those of earlier calls among them; the first is today's defaults.
    inner_folds
        Test blocks of the walk-forward folds inside the train rows.
    initial_fraction
        Share of the train rows before the first block.
    val_fraction
        Share of each fold's training windows, the latest, that chooses its epoch.
    embargo
        Bars around held-out windows in which no window may train, beyond sharing no bar.
    metric
        What a trial is judged by: its mean over the folds.
    ranges
        TOML file that replaces the declared range of each option it names; a single value holds the option.
    study
        SQLite file of the study; named after data and what decides the result when left out. The same command
        goes on with it.
    output
        File whose `[train]` table gets the values. Its other keys stay, and what it was is kept beside it.
    timeout_minutes
        Begin no trial after so many minutes; 0 sets no limit.
    confirm_seeds
        Fresh seeds with which the best trial and the defaults are fitted again, since the best of many trials
        was lucky too.
    freeze_encoder
        Hold this choice in place of tuning it.
    hidden_dim
        Hold the LSTM units in place of tuning them.
    num_layers
        LSTM layers, held.
    epochs
        Hold the epochs in place of tuning them.
    augment_data
        Synthetic windows made from each fold's train rows, or none; held.
    cpsa_ratio
        Synthetic windows a real one in each epoch, held.
    mirror_classes
        How the price mirror treats classes.
    predict_pointers
        Learn start and end of the expansion; on when the data has pointers.
    window_bars
        Bars a window; as the files named say when left out.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core; results depend on it in the last bits.
    seed
        Seed of the trials and of every fit.
    """

    data: Path
    split: Path
    pretrained_encoder: Path | None = None
    trials: int = 30
    inner_folds: int = 3
    initial_fraction: float = 0.5
    val_fraction: float = 0.2
    embargo: int = 0
    metric: TuneMetric = "brier"
    ranges: Path | None = None
    study: Path | None = None
    output: Path = Path("moola.toml")
    timeout_minutes: float = 0.0
    confirm_seeds: int = 2
    freeze_encoder: bool | None = None
    hidden_dim: int | None = None
    num_layers: int | None = None
    epochs: int | None = None
    augment_data: bool | None = None
    cpsa_ratio: float | None = None
    mirror_classes: tuple[str, ...] = ()
    predict_pointers: bool | None = None
    window_bars: int | None = None
    device: DeviceName = "auto"
    threads: int = 1
    seed: int = DEFAULT_SEED


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
        """Tell whether a value lies in it."""
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
        """Tell whether a value is one of them."""
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
NOT_TUNED = ("input_dim", "window_bars", "allow_overlap", "save_run", "threads", "seed")
KINDS = {"bool": bool, "bool | None": bool, "int": int, "int | None": int, "float": float, "float | None": float}


def tunable() -> dict[str, type]:
    """Return the options of `train` that a range may be given for, with their type."""
    known = {field.name: KINDS.get(str(field.type)) for field in fields(TrainOptions) if field.name not in NOT_TUNED}
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
