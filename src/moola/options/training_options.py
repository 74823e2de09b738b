"""Options of train, pretraining, predict and export."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from moola.options.option_fields import (
    BELOW_1,
    BETWEEN_0_AND_1,
    COUNT,
    COUNT_OR_NONE,
    DATA,
    DEFAULT_SEED,
    EVERYDAY,
    MACHINE,
    MAX_DEVICES,
    MAX_HEADS,
    MAX_RATE,
    MODEL,
    NOT_NEGATIVE,
    OUTPUT,
    POSITIVE,
    RATE,
    RATIO,
    TRAINING,
    AllowOverlap,
    Augmentations,
    AugmentData,
    BatchSize,
    Cache,
    CpsaRatio,
    CutBars,
    Device,
    Epochs,
    FilesLength,
    FreezeEncoder,
    Head,
    HiddenDim,
    InputDim,
    LabelledData,
    LearningRate,
    Machine,
    MaxGapHours,
    MirrorClasses,
    ModelFile,
    NumLayers,
    Output,
    Patience,
    Precision,
    PredictPointers,
    PretrainedEncoder,
    Range,
    Seed,
    SplitData,
    SplitFile,
    Stride,
    TaskName,
    Threads,
    ValFraction,
    VisibleBars,
    WindowBars,
    advanced,
    basic,
    with_help,
)
from moola.options.table_options import SpanTable, Stretches


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SplitData, SpanTable):
    """Options of `train`. A study of `tune` depends on their order."""

    model: Annotated[Literal["enhanced_simple_lstm"], advanced("The network.", MODEL)] = "enhanced_simple_lstm"
    pretrained_encoder: PretrainedEncoder | None = None
    freeze_encoder: FreezeEncoder | None = None
    head: Head | None = None
    encoder_rate: Annotated[
        float, RATE, advanced("Learning rate of a pretrained, unfrozen encoder as a share of the heads'.", TRAINING)
    ] = 0.25
    frozen_epochs: Annotated[
        int,
        COUNT_OR_NONE,
        advanced("First epochs in which a pretrained encoder stays frozen while the heads converge.", TRAINING),
    ] = 5
    input_dim: InputDim | None = None
    hidden_dim: HiddenDim | None = None
    num_layers: NumLayers | None = None
    n_heads: Annotated[
        int, Range(1, MAX_HEADS), advanced("Ensemble size: heads that share one encoder and are averaged.", MODEL)
    ] = 3
    epochs: Epochs = 40
    patience: Patience = 0
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 2e-3
    dropout: Annotated[float, BELOW_1, advanced("Dropout in the heads.", TRAINING)] = 0.3
    weight_decay: Annotated[float, Range(0.0, MAX_RATE), advanced("Weight decay of AdamW.", TRAINING)] = 0.01
    predict_pointers: PredictPointers | None = None
    visible_bars: VisibleBars | None = None
    pointer_weight: Annotated[
        float, NOT_NEGATIVE, advanced("Weight of the pointer loss beside the class loss.", TRAINING)
    ] = 8.0
    pointer_sigma: Annotated[float, NOT_NEGATIVE, advanced("Width in bars of the soft pointer targets.", TRAINING)] = (
        2.0
    )
    label_smoothing: Annotated[
        float, BELOW_1, advanced("Share of the class target spread evenly over classes in training.", TRAINING)
    ] = 0.05
    input_noise: Annotated[
        float, NOT_NEGATIVE, advanced("Standard deviation of noise on scaled features in training.", TRAINING)
    ] = 0.1
    augment_data: AugmentData | None = None
    cpsa_ratio: CpsaRatio = 1.0
    cpsa_schedule: Annotated[
        tuple[float, ...],
        RATIO,
        advanced("Ratios instead of --cpsa-ratio, as 0.25 0.5 1.0: equal stages over the epochs.", TRAINING),
    ] = ()
    augmentations: Augmentations = ("mirror",)
    bars: (
        Annotated[CutBars, with_help("Bars that the windows were cut from; `recut` and --spans need them.")] | None
    ) = None
    spans: (
        Annotated[
            Path,
            basic(
                "Spans that a person marked on --bars: the model learns where nothing is, and a scan gives each event "
                "the probability that a person would have marked it.",
                DATA,
            ),
        ]
        | None
    ) = None
    stretches: Stretches | None = None
    mirror_classes: MirrorClasses = ()
    mirror_average: Annotated[
        bool | None,
        advanced("Predict each window and its price mirror, and average; on where every class may be mirrored.", MODEL),
    ] = None
    refit: Annotated[
        bool | None,
        advanced(
            "When everything is selected on val rows, train again on train and val rows together: this model is kept "
            "and evaluated on test rows; val figures are of the model before. On where the encoder is frozen and the "
            "split has a test part; refused where it has none.",
            TRAINING,
        ),
    ] = None
    calibration_folds: Annotated[
        int,
        COUNT_OR_NONE,
        advanced(
            "With --refit: blocks of time over train and val rows (such as 4), each predicted by heads trained on the "
            "others, that give the temperature; 0 keeps that of the val rows.",
            TRAINING,
        ),
    ] = 0
    unlabelled: Annotated[
        Path | None,
        advanced(
            "Windows or bars for self-training: a student learns the trained model's predictions of them. Only "
            "windows that end before val and test are used.",
            DATA,
        ),
    ] = None
    stride: Annotated[Stride, with_help("Bars between windows cut from --unlabelled bars.")] = 1
    n_unlabelled: Annotated[
        int, COUNT, advanced("Most windows for the student, spread evenly over --unlabelled.", DATA)
    ] = 10_000
    n_teachers: Annotated[
        int,
        COUNT_OR_NONE,
        advanced("Unfrozen networks with other seeds that teach the student together with the model.", TRAINING),
    ] = 3
    student_epochs: Annotated[int, COUNT, advanced("Passes of the student over the unlabelled windows.", TRAINING)] = 3
    student_rounds: Annotated[int, COUNT, advanced("Students in a row, each taught by the one before.", TRAINING)] = 1
    student_rate: Annotated[
        float, RATE, advanced("Peak learning rate of the student; half of it for its encoder.", TRAINING)
    ] = 1e-3
    confidence_weighting: Annotated[
        bool, advanced("Weight the class loss of an unlabelled window by the teacher's confidence.", TRAINING)
    ] = True
    allow_overlap: AllowOverlap = False
    window_bars: WindowBars | None = None
    save_run: Annotated[bool, basic("Keep the run under artifacts/runs.", OUTPUT)] = True
    device: Device = "auto"
    threads: Threads = 1
    precision: Precision = "auto"
    seed: Seed = DEFAULT_SEED
    live_presence: Annotated[
        bool,
        advanced(
            "Learn presence a second time, from what is known a few bars after a piece, so that `scan --live` and "
            "`--follow` can report events by it; takes twice the time.",
            TRAINING,
        ),
    ] = False
    annotator: Annotated[
        str | None,
        advanced(
            "Of several people in --spans, the one from whom presence is learned; by default from all, with an offset "
            "for each.",
            DATA,
        ),
    ] = None
    cache: Cache = True
    resume: Annotated[
        str | None, basic("Id or folder of an interrupted run to continue, with the same options.", OUTPUT)
    ] = None


# Options of `pretrain-bilstm` and `pretrain-ts2vec`.

CutStride = Annotated[Stride, EVERYDAY, with_help("Bars between windows cut from bars.")]
LatestFraction = Annotated[ValFraction, with_help("Share of the windows, the latest, for validation.")]


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions(FilesLength, Machine):
    """What both commands take."""

    input: Annotated[
        Path,
        basic("Windows (4-D or relative, labelled or not), or bars, from which windows are cut at --stride.", DATA),
    ]
    output: Annotated[Output, with_help("Encoder file to write.")]
    input_dim: InputDim | None = None
    start_from: (
        Annotated[
            Path,
            basic(
                "Encoder file to go on from, or `base`; by default from scratch.",
                MODEL,
            ),
        ]
        | None
    ) = None
    hidden_dim: Annotated[
        HiddenDim | None, with_help("LSTM units per direction; by default 128, or as in --start-from.")
    ] = None
    num_layers: Annotated[NumLayers | None, with_help("LSTM layers; by default 2, or as in --start-from.")] = None
    mirror_windows: Annotated[
        bool | None, advanced("Show every other window upside down; on where windows have prices.", TRAINING)
    ] = None
    soft_tau: Annotated[
        float,
        POSITIVE,
        advanced(
            "How fast a bar's weight as a positive falls with its distance in bars (task ts2vec): 1.5 leaves the next "
            "bar a third of it; large values contrast all other bars alike.",
            TRAINING,
        ),
    ] = 1.5
    soft_tau_windows: Annotated[
        float,
        POSITIVE,
        advanced("The same between windows, by the distance of their first bars in window lengths.", TRAINING),
    ] = 5.0
    epochs: Epochs = 10
    patience: Patience = 0
    batch_size: BatchSize = 128
    learning_rate: LearningRate = 2e-3
    val_fraction: LatestFraction = 0.1
    split: (
        Annotated[SplitFile, with_help("Split file: only windows that end before its val and test parts are used.")]
        | None
    ) = None
    stride: CutStride = 1
    max_gap_hours: MaxGapHours | None = None
    devices: Annotated[
        int,
        Range(1, MAX_DEVICES),
        advanced(
            "Processes that train together, one per GPU or, on a CPU, one per core; each takes its share of every "
            "batch. Leave it out under torchrun.",
            MACHINE,
        ),
    ] = 1
    precision: Precision = "auto"
    seed: Seed = DEFAULT_SEED
    resume: Annotated[bool, basic("Continue an interrupted run, to the same bytes.", OUTPUT)] = False


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(PretrainingOptions):
    """Options of `pretrain-bilstm`."""

    arms: Annotated[
        tuple[TaskName, ...] | None,
        basic(
            "Pretext tasks: masked and latent hide bars, structure and moves learn price structure and moves of random "
            "definitions, ts2vec contrasts crops. By default masked, structure and moves; without prices masked.",
            TRAINING,
        ),
    ] = None
    mask_strategy: Annotated[
        Literal["random", "block", "patch", "edge"],
        basic("Which bars are hidden: random ones, one block, whole patches, or the first or last bars.", TRAINING),
    ] = "patch"
    mask_ratio: Annotated[
        float, BETWEEN_0_AND_1, basic("Share of hidden bars, for tasks that hide bars.", TRAINING)
    ] = 0.15
    patch_size: Annotated[int, COUNT, advanced("Bars per patch.", TRAINING)] = 7
    epoch_windows: Annotated[
        int, COUNT_OR_NONE, advanced("Windows per epoch, redrawn for each; 0 takes all.", TRAINING)
    ] = 20_000


@dataclass(frozen=True, kw_only=True)
class PretrainTs2VecOptions(PretrainingOptions):
    """Options of `pretrain-ts2vec`."""

    epochs: Epochs = 50
    patience: Patience = 10
    batch_size: Annotated[
        BatchSize, with_help("Batch size; each window is contrasted with all others, and memory grows with its square.")
    ] = 64
    learning_rate: LearningRate = 1e-3
    val_fraction: LatestFraction = 0.15
    stride: CutStride = 5

    def as_pretraining(self) -> PretrainOptions:
        """Return the same as options of pretraining by the task `ts2vec` alone."""
        return PretrainOptions(arms=("ts2vec",), **{field.name: getattr(self, field.name) for field in fields(self)})


# Options of `predict`.


@dataclass(frozen=True, kw_only=True)
class PredictOptions(FilesLength, Machine):
    """Options of `predict`."""

    model: ModelFile
    data: Annotated[LabelledData, with_help("Windows, 4-D or relative, labelled or not.")]
    output: Annotated[Output, with_help("Table to write (.parquet or .csv).")]


# Options of `export`.


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export`."""

    model: ModelFile
    output: Annotated[Output, with_help("File to write: .onnx, or .py for freqtrade; for mt5 a folder of its own.")]
    format: Annotated[
        Literal["onnx", "mt5", "freqtrade"],
        basic(
            "onnx: one graph. mt5: the graph with an indicator for MetaTrader 5 and a check of it. freqtrade: a "
            "strategy that reads the events of a live scan.",
            OUTPUT,
        ),
    ] = "onnx"
    input: Annotated[
        Literal["features", "ohlc"] | None,
        basic(
            "What an onnx graph takes: the eleven features of any number of windows (default), or the prices of one "
            "window, with features and decoding in the graph.",
            OUTPUT,
        ),
    ] = None
    events: Annotated[
        Path | None,
        basic("For freqtrade: the events that the strategy reads, as scan --follow or --live writes them.", DATA),
    ] = None
