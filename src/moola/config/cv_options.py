"""Options of `cv` and `compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.config.options import DEFAULT_SEED, DeviceName, EngineName

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
