"""Options that several commands share: type, range, default, help text and place in the help, each written once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Group, Parameter

from moola.errors import WrongUsage

MAX_HIDDEN, MAX_LAYERS, MAX_HEADS, MAX_DEVICES, MAX_RATIO = 4096, 16, 100, 256, 100
# Beyond it the optimiser's products of two or three of them leave what 32 bits hold.
MAX_RATE = 1e12
MAX_PORT, MAX_CONTEXT = 65_535, 1000


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end is not among them."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        return above and (number < self.high if self.open_high else number <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.open_low else 'at least'} {self.low:g}"
        if not self.open_low and not self.open_high:
            return f"within {self.low:g} to {self.high:g}"
        if self.open_low and self.open_high:
            return f"between {self.low:g} and {self.high:g}"
        low, high = ("above", "at most") if self.open_low else ("at least", "below")
        return f"{low} {self.low:g} and {high} {self.high:g}"


COUNT, COUNT_OR_NONE, SEVERAL = Range(1), Range(0), Range(2)
NOT_NEGATIVE, POSITIVE = Range(0.0), Range(0.0, open_low=True)
BETWEEN_0_AND_1, BELOW_1 = Range(0.0, 1.0, True, True), Range(0.0, 1.0, open_high=True)
SHARE = Range(0.0, 1.0, open_low=True)
PROBABILITY = Range(0.0, 1.0)
RATIO, RATE = Range(0.0, MAX_RATIO), Range(0.0, MAX_RATE, open_low=True)


@cache
def ranges_of(options: type) -> dict[str, Range]:
    """Return the range of each option of a class that has one at its field; of two, the outer one."""
    hints = get_type_hints(options, include_extras=True)
    found = {name: [mark for mark in _marks(hint) if isinstance(mark, Range)] for name, hint in hints.items()}
    return {name: marks[-1] for name, marks in found.items() if marks}


def _marks(hint: Any) -> list[Any]:
    inner = [mark for one in get_args(hint) for mark in _marks(one)]
    return [*inner, *getattr(hint, "__metadata__", ())]


def plain_kind(hint: Any) -> type | None:
    """Return bool, int or float for a type that is it, or it or None; else None."""
    kinds = {one for one in (get_args(hint) or (hint,)) if one is not type(None)}
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, int, float} else None


def refuse_out_of_range(options: Any) -> None:
    """Refuse options with a number that cannot work, before any file is looked at.

    Raises
    ------
    WrongUsage
        Names the option, its range and what was given.
    """
    kind: type = type(options)
    for name, allowed in ranges_of(kind).items():
        value = getattr(options, name)
        for number in value if isinstance(value, tuple) else (value,):
            refuse_number(name, allowed, number)


def refuse_number(name: str, allowed: Range, number: Any) -> None:
    """Refuse one option's number in the same way; None is left out."""
    if isinstance(number, int | float) and number not in allowed:
        raise WrongUsage(f"--{name.replace('_', '-')} must be {allowed}, but it is {number}. Give another one.")


# Names and defaults that several commands share.


RUNS_ROOT = Path("artifacts/runs")
PROMOTED_ROOT = Path("artifacts/models/supervised")
METRICS_ROOT = Path("artifacts/metrics")
PROMOTED_NAME = "enhanced_baseline_v2_relative.pt"
DEFAULT_SEED = 17
# The smallest gain in Brier that is worth a change of models.
MIN_GAIN = 0.01

TaskName = Literal["masked", "latent", "structure", "moves", "ts2vec"]
HeadKind = Literal["linear", "mlp"]
DeviceName = Literal["auto", "cpu", "cuda"]
EngineName = Literal["processes", "ray"]
PrecisionName = Literal["auto", "float32", "bfloat16"]


DATA = Group.create_ordered("Data")
MODEL = Group.create_ordered("Model")
TRAINING = Group.create_ordered("Training")
EVALUATION = Group.create_ordered("Evaluation")
OUTPUT = Group.create_ordered("Output")
MACHINE = Group.create_ordered("Machine")


def basic(text: str, group: Group) -> Parameter:
    """Return the help of an option that ``--help`` shows."""
    return Parameter(help=text, group=group, show=True)


def advanced(text: str, group: Group) -> Parameter:
    """Return the help of an option that ``--help-all`` alone shows."""
    return Parameter(help=text, group=group)


def with_help(text: str) -> Parameter:
    """Return another help text for a shared option, where a command needs one."""
    return Parameter(help=text)


EVERYDAY = Parameter(show=True)
# A switch whose name says no already.
ONLY_ON = Parameter(negative="")

# Data.
LabelledData = Annotated[Path, basic("Labelled windows, relative or 4-D.", DATA)]
SplitFile = Annotated[Path, basic("Split file.", DATA)]
Bars = Annotated[Path, basic("Bar table.", DATA)]
LabelledBars = Annotated[Path, basic("Bars that the windows were labelled on.", DATA)]
CutBars = Annotated[Path, advanced("Bars that the windows were cut from; `recut` needs them.", DATA)]
LabelStoreFile = Annotated[Path, basic("Label store, as the labelling page writes it.", DATA)]
Annotator = Annotated[str, basic("Who labelled.", DATA)]
NoExpansion = Annotated[str, advanced("Class that a window file uses for windows without an expansion.", DATA)]
WindowBars = Annotated[
    int, COUNT, advanced("Bars per window; where no default is shown, as the named files record, else 105.", DATA)
]
Stride = Annotated[int, COUNT, advanced("Bars from one window to the next.", DATA)]
MaxGapHours = Annotated[
    float,
    POSITIVE,
    advanced(
        "Longest time between neighbouring bars in a window; windows with a longer gap are dropped and counted. By "
        "default found from each symbol's bars: 72, or 11 usual bars or 1.4 usual weekly breaks where longer.",
        DATA,
    ),
]
Symbol = Annotated[str, advanced("Symbol of bars that name none.", DATA)]
AllowOverlap = Annotated[
    bool, advanced("Accept an old split whose parts overlap; results are then marked as not leak-proof.", DATA)
]
ValFraction = Annotated[
    float, BETWEEN_0_AND_1, advanced("Share of the training windows, the latest, that selects the epoch.", TRAINING)
]
InitialFraction = Annotated[
    float, BETWEEN_0_AND_1, advanced("Share of the windows before the first test block (walk-forward).", EVALUATION)
]
Embargo = Annotated[
    int,
    COUNT_OR_NONE,
    advanced(
        "Further bars around held-out windows in which no window may train; taken as that many usual bar intervals.",
        EVALUATION,
    ),
]

# Model.


def _one_or_two(_kind: Any, tokens: Sequence[Any]) -> Path | tuple[Path, ...]:
    """One name is that file; several, which a frozen encoder alone takes, stand side by side."""
    paths = tuple(Path(token.value) for token in tokens)
    return paths[0] if len(paths) == 1 else paths


def _words(_kind: Any, value: str, **_: Any) -> list[str]:
    return value.split()


PretrainedEncoder = Annotated[
    Path | tuple[Path, ...],
    basic("Encoder file, or `base`, which comes with moola; two are used side by side.", MODEL),
    Parameter(converter=_one_or_two, consume_multiple=True, n_tokens=-1, metavar="PATHS", env_var_split=_words),
]
FreezeEncoder = Annotated[bool, basic("Train the heads alone; default with an encoder.", MODEL)]
Head = Annotated[
    HeadKind,
    basic(
        "linear (default where frozen) or mlp.",
        MODEL,
    ),
]
InputDim = Annotated[int, advanced("Features per bar; found from the data, and refused when it disagrees.", MODEL)]
HiddenDim = Annotated[
    int, Range(1, MAX_HIDDEN), advanced("LSTM units per direction; by default 64, or as in the encoder file.", MODEL)
]
NumLayers = Annotated[
    int, Range(1, MAX_LAYERS), advanced("LSTM layers; by default 1, or as in the encoder file.", MODEL)
]
PredictPointers = Annotated[
    bool, advanced("Learn start and end of the expansion; on when the data has pointers.", MODEL)
]
VisibleBars = Annotated[
    int,
    advanced("Let the network see only these first bars of a window (75 of 105: to the end of the inner zone).", MODEL),
]
ModelFile = Annotated[Path, basic("Model file: a promoted .pt, or a run (its id, `latest`).", MODEL)]

# Training.
Epochs = Annotated[int, COUNT, basic("Passes over the data; the best one is kept.", TRAINING)]
Patience = Annotated[
    int, COUNT_OR_NONE, advanced("Stop after this many epochs without a lower validation loss; 0: never.", TRAINING)
]
BatchSize = Annotated[int, COUNT, advanced("Batch size.", TRAINING)]
LearningRate = Annotated[float, RATE, basic("Peak learning rate.", TRAINING)]
Seed = Annotated[int, basic("Random seed.", TRAINING)]
AugmentData = Annotated[
    bool,
    basic(
        "Add synthetic windows (CPSA); by default where possible.",
        TRAINING,
    ),
]
CpsaRatio = Annotated[float, RATIO, basic("Synthetic windows per real window.", TRAINING)]
MirrorClasses = Annotated[
    tuple[str, ...],
    advanced(
        "How the price mirror treats classes: `same`, or swaps such as `bull:bear`. By default only consolidation and "
        "retracement are mirrored.",
        TRAINING,
    ),
]
AugmentationName = Literal["mirror", "warp", "rescale", "recut", "transplant", "wicks"]
Augmentations = Annotated[
    tuple[AugmentationName, ...],
    advanced("How synthetic windows are made; of several, each window takes a random chain.", TRAINING),
]

# Evaluation.
Run = Annotated[Path, basic("Run: its id or the beginning of it, `latest`, or its folder.", DATA)]
Baseline = Annotated[
    Path,
    basic(
        "Run (id, its beginning or folder) or model file to beat; by default the promoted model, else the newest "
        "from-scratch run on the same data and split.",
        EVALUATION,
    ),
]
BootstrapSeed = Annotated[int, advanced("Seed of the bootstrap.", EVALUATION)]
MinGain = Annotated[
    float,
    BELOW_1,
    basic("Smallest Brier gain worth having: a smaller one is inconclusive, however certain.", EVALUATION),
]

# Output and machine.
Output = Annotated[Path, basic("File to write.", OUTPUT)]
Overwrite = Annotated[bool, basic("Replace existing files that differ.", OUTPUT)]
Cache = Annotated[
    bool,
    advanced(
        "Keep windows that a frozen encoder has read under artifacts/cache/vectors (at most 512 MB), so that a second "
        "fit starts at once; the results are the same.",
        MACHINE,
    ),
]
Device = Annotated[DeviceName, basic("auto: a GPU where there is one.", MACHINE)]
Threads = Annotated[
    int,
    COUNT_OR_NONE,
    advanced(
        "CPU threads, 0 for one per core; results depend on it in the last digits. On a busy machine, more can be "
        "slower.",
        MACHINE,
    ),
]
Precision = Annotated[
    PrecisionName,
    advanced(
        "Precision of the LSTM in training; auto takes bfloat16 where the hardware supports it. Inference is in "
        "float32.",
        MACHINE,
    ),
]
Processes = Annotated[
    int, COUNT_OR_NONE, advanced("Processes that work at the same time, one thread each; 0 for one per core.", MACHINE)
]
Engine = Annotated[
    EngineName,
    advanced(
        "processes of this machine, or ray: tasks on the cluster of RAY_ADDRESS (this machine where it is not set), "
        "repeated where a worker dies. All nodes must share the working folder under the same path.",
        MACHINE,
    ),
]


def shared_options(given: Any, kind: type) -> dict[str, Any]:
    """Return what a command was given of the options that another kind of work has too, by name."""
    return {field.name: getattr(given, field.name) for field in fields(kind) if hasattr(given, field.name)}


@dataclass(frozen=True, kw_only=True)
class SplitData:
    """Labelled windows and how they are split."""

    data: LabelledData
    split: SplitFile


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a model runs."""

    device: Device = "auto"
    threads: Threads = 1


@dataclass(frozen=True, kw_only=True)
class ManyFits:
    """How many fits at a time, and where."""

    processes: Processes = 0
    engine: Engine = "processes"
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class FilesLength:
    """Windows whose length the files record."""

    window_bars: WindowBars | None = None


@dataclass(frozen=True, kw_only=True)
class WindowLength:
    """Windows of a length that no file records yet."""

    window_bars: WindowBars = 105


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a run is compared with, and how."""

    baseline: Baseline | None = None
    seed: BootstrapSeed = DEFAULT_SEED
    min_gain: MinGain = MIN_GAIN


@dataclass(frozen=True, kw_only=True)
class LearnedFromRows(FilesLength):
    """What a network of a fold starts from and learns."""

    pretrained_encoder: PretrainedEncoder | None = None
    freeze_encoder: FreezeEncoder | None = None
    head: Head | None = None
    hidden_dim: HiddenDim | None = None
    num_layers: NumLayers | None = None
    augment_data: AugmentData | None = None
    mirror_classes: MirrorClasses = ()
    predict_pointers: PredictPointers | None = None
