"""Options of `pretrain-bilstm` and `pretrain-ts2vec`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from moola.config.options import DEFAULT_SEED, ArmName, DeviceName, EngineName, PrecisionName


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
