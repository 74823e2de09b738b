"""Options that several commands share: type, range, help text and place in the help, each written once.

An option's field says everything about it: ``Annotated[int, COUNT, advanced("Bars per window.", DATA)]``. Everyday
options are in ``--help``, the others in ``--help-all`` only; the groups of the help come in the order below.
Annotations of options are objects, not text (no ``from __future__ import annotations``): the parser reads those of an
inherited field in the namespace of the class that inherits it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from moola.options.option_ranges import (
    BELOW_1,
    BETWEEN_0_AND_1,
    COUNT,
    COUNT_OR_NONE,
    DEFAULT_SEED,
    MAX_HIDDEN,
    MAX_LAYERS,
    MIN_GAIN,
    POSITIVE,
    RATE,
    RATIO,
    DeviceName,
    EngineName,
    HeadKind,
    PrecisionName,
    Range,
)

DATA = Group.create_ordered("Data")
MODEL = Group.create_ordered("Model")
TRAINING = Group.create_ordered("Training")
EVALUATION = Group.create_ordered("Evaluation")
OUTPUT = Group.create_ordered("Output")
MACHINE = Group.create_ordered("Machine")


def everyday(text: str, group: Group) -> Parameter:
    """Return the help of an option that ``--help`` shows."""
    return Parameter(help=text, group=group, show=True)


def advanced(text: str, group: Group) -> Parameter:
    """Return the help of an option that ``--help-all`` alone shows."""
    return Parameter(help=text, group=group)


def says(text: str) -> Parameter:
    """Return another help text for a shared option, where a command needs one."""
    return Parameter(help=text)


EVERYDAY = Parameter(show=True)
# A switch whose name says no already.
ONLY_ON = Parameter(negative="")

# Data.
LabelledData = Annotated[Path, everyday("Labelled windows, relative or 4-D.", DATA)]
SplitFile = Annotated[Path, everyday("Split file.", DATA)]
Bars = Annotated[Path, everyday("Bar table.", DATA)]
LabelledBars = Annotated[Path, everyday("Bars that the windows were labelled on.", DATA)]
CutBars = Annotated[Path, advanced("Bars that the windows were cut from; `recut` needs them.", DATA)]
LabelStoreFile = Annotated[Path, everyday("Label store, as the labelling page writes it.", DATA)]
Annotator = Annotated[str, everyday("Who labelled.", DATA)]
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
    everyday("Encoder file, or `base`, which comes with moola; two stand side by side.", MODEL),
    Parameter(converter=_one_or_two, consume_multiple=True, n_tokens=-1, metavar="PATHS", env_var_split=_words),
]
FreezeEncoder = Annotated[bool, everyday("Train the heads alone; default with an encoder.", MODEL)]
Head = Annotated[
    HeadKind,
    everyday(
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
ModelFile = Annotated[Path, everyday("Model file: a promoted .pt, or a run (its id, `latest`).", MODEL)]

# Training.
Epochs = Annotated[int, COUNT, everyday("Passes over the data; the best one is kept.", TRAINING)]
Patience = Annotated[
    int, COUNT_OR_NONE, advanced("Stop after this many epochs without a lower validation loss; 0: never.", TRAINING)
]
BatchSize = Annotated[int, COUNT, advanced("Batch size.", TRAINING)]
LearningRate = Annotated[float, RATE, everyday("Peak learning rate.", TRAINING)]
Seed = Annotated[int, everyday("Random seed.", TRAINING)]
AugmentData = Annotated[
    bool,
    everyday(
        "Add synthetic windows (CPSA); by default where possible.",
        TRAINING,
    ),
]
CpsaRatio = Annotated[float, RATIO, everyday("Synthetic windows per real window.", TRAINING)]
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
Run = Annotated[Path, everyday("Run: its id or the beginning of it, `latest`, or its folder.", DATA)]
Baseline = Annotated[
    Path,
    everyday(
        "Run (id, its beginning or folder) or model file to beat; by default the promoted model, else the newest "
        "from-scratch run on the same data and split.",
        EVALUATION,
    ),
]
BootstrapSeed = Annotated[int, advanced("Seed of the bootstrap.", EVALUATION)]
MinGain = Annotated[
    float,
    BELOW_1,
    everyday("Smallest Brier gain worth having: a smaller one is inconclusive, however certain.", EVALUATION),
]

# Output and machine.
Output = Annotated[Path, everyday("File to write.", OUTPUT)]
Overwrite = Annotated[bool, everyday("Replace existing files that differ.", OUTPUT)]
Cache = Annotated[
    bool,
    advanced(
        "Keep windows that a frozen encoder has read under artifacts/cache/vectors (at most 512 MB), so that a second "
        "fit starts at once; the results are the same.",
        MACHINE,
    ),
]
Device = Annotated[DeviceName, everyday("auto: a GPU where there is one.", MACHINE)]
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
