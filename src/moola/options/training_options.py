"""Options of train, pretraining, predict and export."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from moola.options.option_ranges import DEFAULT_SEED, ArmName, DeviceName, EngineName, PrecisionName
from moola.options.table_options import AugmentationName


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `train`.

    Parameters
    ----------
    data
        Labelled windows, relative or 4-D (features are then computed).
    split
        Split file; refused when a train window runs into val or test.
    model
        The network.
    pretrained_encoder
        Encoder file to start from; without one the encoder starts from scratch.
    freeze_encoder
        Train the heads alone. On by default with an encoder file, off without.
    encoder_rate
        Learning rate of a pretrained, unfrozen encoder as a share of the heads'.
    frozen_epochs
        Epochs at the beginning in which a pretrained encoder stays frozen, so that fresh heads do not spoil it.
    input_dim
        Features a bar; found from the data, and refused when it disagrees.
    hidden_dim
        LSTM units in each direction: 64 from scratch, the encoder file's with one.
    num_layers
        LSTM layers: 1 from scratch, the encoder file's with one.
    n_heads
        Heads on one encoder, trained side by side and averaged.
    epochs
        Passes over the training windows; the best by validation loss is kept.
    patience
        Stop after this many epochs without a better validation loss; 0 never stops early.
    batch_size
        Windows a step.
    learning_rate
        Peak learning rate of the heads.
    dropout
        Share of values dropped in the heads while training.
    weight_decay
        AdamW's weight decay.
    predict_pointers
        Learn start and end of the expansion; on when the data has pointers.
    visible_bars
        Show the network these first bars of a window alone: 75 of 105 are known when the inner zone ends.
    pointer_weight
        Weight of the pointer loss beside the class loss (both are 1 at a blind guess).
    pointer_sigma
        Width in bars of the soft pointer targets.
    label_smoothing
        Share of the class target spread evenly over classes while training.
    input_noise
        Spread of noise added to scaled features while training.
    augment_data
        Add synthetic windows (CPSA) made from training rows. On where the data carries its bars and a class that
        mirrors by itself or by --mirror-classes.
    cpsa_ratio
        Synthetic windows a real one in each epoch.
    cpsa_schedule
        Ratios in place of --cpsa-ratio, as 0.25 0.5 1.0: equal stages over the epochs.
    augmentations
        How synthetic windows are made; of several, each window takes a chain drawn at random.
    bars
        Bars that the windows were cut from; `recut` needs them, and --spans.
    spans
        Spans that a person marked on --bars (symbol, start, end, label in UTC): the model learns where nothing is, and
        a scan tells how probable it is that a person would have marked an event.
    stretches
        Annotated stretches of --bars (symbol, from, to): what in them is in no span is background. No other bar is.
    mirror_classes
        How the price mirror treats classes: `same`, or swaps such as `bull:bear`. Without it only
        consolidation and retracement are mirrored.
    mirror_average
        Read every window upside down too and average; on where every class mirrors by itself or by
        --mirror-classes.
    refit
        Once all is chosen on val rows, train anew on train and val rows together; test rows are judged by that
        model, val rows by the one before. On where the encoder is frozen and the split has a test part; refused
        where it has none, for val rows would judge a model that is not kept.
    calibration_folds
        With --refit: blocks of time over train and val rows, each judged by heads that the others train, whose answers
        give the temperature, such as 4; 0 leaves that of the val rows.
    unlabelled
        Windows or bars for self-training: a student learns what the trained heads say of them. Only windows
        that end before the split's val and test begin are used.
    stride
        Bars between windows cut from --unlabelled bars.
    n_unlabelled
        Windows that the student learns from, spread evenly over --unlabelled; all where there are fewer.
    n_teachers
        Unfrozen networks, of other seeds, that teach the student together with the model itself.
    student_epochs
        Passes of the student over the unlabelled windows.
    student_rounds
        Students in a row, each taught by the one before.
    student_rate
        Peak learning rate of the student; its encoder learns at half of it.
    confidence_weighting
        Let an unlabelled window's class count by how sure the teacher is.
    allow_overlap
        Accept an old split whose parts overlap; every result is then marked as not leak-proof.
    window_bars
        Bars a window; as the files named say when left out.
    save_run
        Keep the run under artifacts/runs.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core; results depend on it in the last bits. Two help on an idle
        machine and can be slower than one beside another busy process.
    precision
        What the LSTM multiplies in while it learns; auto takes bfloat16 where the machine has it in hardware.
        Reading windows is in float32 always.
    seed
        Seed of everything random.
    resume
        Run id (or folder) of an interrupted run to go on with, given the same options.
    """

    data: Path
    split: Path
    model: Literal["enhanced_simple_lstm"] = "enhanced_simple_lstm"
    pretrained_encoder: Path | None = None
    freeze_encoder: bool | None = None
    encoder_rate: float = 0.25
    frozen_epochs: int = 5
    input_dim: int | None = None
    hidden_dim: int | None = None
    num_layers: int | None = None
    n_heads: int = 3
    epochs: int = 40
    patience: int = 0
    batch_size: int = 32
    learning_rate: float = 2e-3
    dropout: float = 0.3
    weight_decay: float = 0.01
    predict_pointers: bool | None = None
    visible_bars: int | None = None
    pointer_weight: float = 8.0
    pointer_sigma: float = 2.0
    label_smoothing: float = 0.05
    input_noise: float = 0.1
    augment_data: bool | None = None
    cpsa_ratio: float = 1.0
    cpsa_schedule: tuple[float, ...] = ()
    augmentations: tuple[AugmentationName, ...] = ("mirror",)
    bars: Path | None = None
    spans: Path | None = None
    stretches: Path | None = None
    mirror_classes: tuple[str, ...] = ()
    mirror_average: bool | None = None
    refit: bool | None = None
    calibration_folds: int = 0
    unlabelled: Path | None = None
    stride: int = 1
    n_unlabelled: int = 10_000
    n_teachers: int = 3
    student_epochs: int = 3
    student_rounds: int = 1
    student_rate: float = 1e-3
    confidence_weighting: bool = True
    allow_overlap: bool = False
    window_bars: int | None = None
    save_run: bool = True
    device: DeviceName = "auto"
    threads: int = 1
    precision: PrecisionName = "auto"
    seed: int = DEFAULT_SEED
    resume: str | None = None


# Options of `pretrain-bilstm` and `pretrain-ts2vec`.


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions:
    """What both commands take.

    Parameters
    ----------
    input
        Windows (4-D or relative, labelled or not) or bars; from bars, windows are cut at --stride.
    output
        The encoder file to write.
    input_dim
        Features a bar; found from the data, and refused when it disagrees.
    hidden_dim
        LSTM units in each direction.
    num_layers
        LSTM layers.
    mirror_windows
        Show windows upside down every other time; on where they carry prices.
    soft_tau
        How fast a bar's weight as a positive falls with its distance in bars (arm ts2vec): 1.5 leaves the next bar
        a third of it, large values contrast all other bars alike.
    soft_tau_windows
        The same between windows, by the distance of their first bars in window lengths.
    epochs
        Passes over the training windows; the best one is kept.
    patience
        Stop after this many epochs without a better validation loss; 0 never stops early.
    batch_size
        Windows a step.
    learning_rate
        Peak learning rate.
    val_fraction
        Share of the windows, the latest in time, that validates.
    split
        Split file: only windows that end before its val and test parts are used.
    stride
        Bars between windows cut from bars.
    max_gap_hours
        Longest gap inside a window cut from bars; found from them when left out.
    window_bars
        Bars a window; as the input (windows) or the split says when left out, else 105.
    device
        cuda, cpu, or auto for a GPU where there is one.
    devices
        Processes that learn together, one a GPU or, on a CPU, one a core; each sees its share of every batch. Started
        here, on Ray, or by torchrun (then leave it out).
    engine
        processes of this machine, or ray: --devices processes of the cluster of RAY_ADDRESS (this machine where it is
        not set), which go on from the last finished epoch where one dies. The working folder must be on every node
        under the same path.
    threads
        CPU threads, 0 for one a core; results depend on it in the last bits. Two help on an idle
        machine and can be slower than one beside another busy process.
    precision
        What the LSTM multiplies in while it learns; auto takes bfloat16 where the machine has it in hardware.
        Reading windows is in float32 always.
    seed
        Seed of everything random.
    resume
        Go on after an interruption, to the same bytes as without one.
    """

    input: Path
    output: Path
    input_dim: int | None = None
    hidden_dim: int = 128
    num_layers: int = 2
    mirror_windows: bool | None = None
    soft_tau: float = 1.5
    soft_tau_windows: float = 5.0
    epochs: int = 10
    patience: int = 0
    batch_size: int = 128
    learning_rate: float = 2e-3
    val_fraction: float = 0.1
    split: Path | None = None
    stride: int = 1
    max_gap_hours: float | None = None
    window_bars: int | None = None
    device: DeviceName = "auto"
    devices: int = 1
    engine: EngineName = "processes"
    threads: int = 1
    precision: PrecisionName = "auto"
    seed: int = DEFAULT_SEED
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(PretrainingOptions):
    """Options of `pretrain-bilstm`.

    Parameters
    ----------
    arms
        What is learned: masked (say the hidden bars), latent (an averaged teacher's vectors of them), structure
        (what the price does around each bar), moves (point at moves of random definitions), ts2vec (tell bars and
        windows apart across two crops). Left out: masked, structure and moves, or masked alone where windows
        carry no prices.
    mask_strategy
        What is hidden: bars at random, one block of bars, whole patches, or the first or last bars.
    mask_ratio
        Share of the bars that is hidden, where an arm learns from hidden bars.
    patch_size
        Bars a patch.
    epoch_windows
        Windows a pass, drawn anew each time where there are more; 0 takes all.
    """

    arms: tuple[ArmName, ...] | None = None
    mask_strategy: Literal["random", "block", "patch", "edge"] = "patch"
    mask_ratio: float = 0.15
    patch_size: int = 7
    epoch_windows: int = 20_000


@dataclass(frozen=True, kw_only=True)
class PretrainTs2VecOptions(PretrainingOptions):
    """Options of `pretrain-ts2vec`.

    Parameters
    ----------
    batch_size
        Windows a step, each contrasted with all others; memory grows with its square.
    """

    epochs: int = 50
    patience: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    val_fraction: float = 0.15
    stride: int = 5

    def as_pretraining(self) -> PretrainOptions:
        """Return the same as options of pretraining by the arm `ts2vec` alone."""
        return PretrainOptions(arms=("ts2vec",), **{field.name: getattr(self, field.name) for field in fields(self)})


# Options of `predict`.


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `predict`.

    Parameters
    ----------
    model
        Model file: a promoted .pt, or the model.pkl of a run.
    data
        Windows, 4-D or relative, labelled or not.
    output
        Table to write (.parquet or .csv).
    window_bars
        Bars a window; as the model says when left out.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    """

    model: Path
    data: Path
    output: Path
    window_bars: int | None = None
    device: DeviceName = "auto"
    threads: int = 1


# Options of `export`.


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export`.

    Parameters
    ----------
    model
        Model file: a promoted .pt, or the model.pkl of a run.
    output
        File to write (.onnx).
    format
        Form of the file.
    """

    model: Path
    output: Path
    format: Literal["onnx"] = "onnx"
