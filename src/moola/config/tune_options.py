"""Options of `tune`: where the study is kept, what judges a trial, and what is held for every trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from moola.config.options import DEFAULT_SEED, DeviceName

TUNING_ROOT = Path("artifacts/tuning")
TuneMetric = Literal["brier", "log_loss", "pr_auc", "hit_at_pm3_both"]
TUNE_METRICS: tuple[str, ...] = get_args(TuneMetric)
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
