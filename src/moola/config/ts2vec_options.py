"""Options of `pretrain-ts2vec`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from moola.config.options import DEFAULT_SEED, DeviceName, EngineName, PrecisionName, PretrainOptions


@dataclass(frozen=True, kw_only=True)
class PretrainTs2VecOptions:
    """Options of `pretrain-ts2vec`.

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
        How fast a bar's weight as a positive falls with its distance in bars: 1.5 leaves the next bar a third
        of it, large values contrast all other bars alike.
    soft_tau_windows
        The same between windows, by the distance of their first bars in window lengths.
    epochs
        Passes over the training windows; the best one is kept.
    patience
        Stop after this many epochs without a better validation loss; 0 never stops early.
    batch_size
        Windows a step, each contrasted with all others; memory grows with its square.
    learning_rate
        Peak learning rate.
    val_fraction
        Share of the windows, the latest in time, that validates.
    split
        Split file: only windows that end before its val and test parts are used.
    stride
        Bars between windows cut from bars.
    max_gap_hours
        Longest gap inside a window cut from bars.
    window_bars
        Bars a window.
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
    epochs: int = 50
    patience: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    val_fraction: float = 0.15
    split: Path | None = None
    stride: int = 5
    max_gap_hours: float = 72.0
    window_bars: int = 105
    device: DeviceName = "auto"
    devices: int = 1
    engine: EngineName = "processes"
    threads: int = 1
    precision: PrecisionName = "auto"
    seed: int = DEFAULT_SEED
    resume: bool = False

    def as_pretraining(self) -> PretrainOptions:
        """Return the same as options of pretraining by the arm `ts2vec` alone."""
        return PretrainOptions(arms=("ts2vec",), **{field.name: getattr(self, field.name) for field in fields(self)})
