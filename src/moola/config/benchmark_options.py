"""Options of `benchmark`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.config.options import DEFAULT_SEED, DeviceName, EngineName

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
