"""Options of `scan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.options import DeviceName
from moola.errors import WrongUsage

OUTPUT_SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """Options of `scan`.

    Parameters
    ----------
    model
        Model file that predicts pointers: a promoted .pt, or the model.pkl of a run.
    bars
        Bar table, any number of bars and symbols.
    output
        Events to write (.parquet, .csv or .jsonl).
    stride
        Bars from one window to the next; smaller lets more windows judge an event and takes longer.
    max_gap_hours
        Longest time between neighbouring bars inside a window; windows over a longer one are dropped and counted.
    min_prob
        Least probability of an event, that both its pointers are within 3 bars; when left out, the square of the
        model's pointer threshold, which is that of one pointer.
    max_overlap
        Largest overlap (bars in both over bars in either) of two events; of two that overlap more, the more probable
        one stays.
    plot
        Folder for a picture of each event; none when left out.
    plot_limit
        Most pictures; the most probable events have them.
    resume
        Go on from the finished parts of a scan that was stopped.
    batch_windows
        Windows read and predicted at a time; memory grows with it.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    """

    model: Path
    bars: Path
    output: Path
    stride: int = 5
    max_gap_hours: float = 72.0
    min_prob: float | None = None
    max_overlap: float = 0.1
    plot: Path | None = None
    plot_limit: int = 50
    resume: bool = False
    batch_windows: int = 1024
    device: DeviceName = "auto"
    threads: int = 1

    def check(self) -> None:
        """Refuse values that cannot work, before hours of work.

        Raises
        ------
        WrongUsage
            Names the option, its rule and what was given.
        """
        rules = (
            (self.output.suffix in OUTPUT_SUFFIXES, "--output", f"end in {', '.join(OUTPUT_SUFFIXES)}", self.output),
            (self.stride >= 1, "--stride", "be at least 1", self.stride),
            (self.max_gap_hours > 0, "--max-gap-hours", "be above 0", self.max_gap_hours),
            (self.min_prob is None or 0 <= self.min_prob <= 1, "--min-prob", "be within 0 to 1", self.min_prob),
            (0 <= self.max_overlap < 1, "--max-overlap", "be at least 0 and below 1", self.max_overlap),
            (self.plot_limit >= 1, "--plot-limit", "be at least 1", self.plot_limit),
            (self.batch_windows >= 1, "--batch-windows", "be at least 1", self.batch_windows),
            (self.threads >= 0, "--threads", "be at least 0", self.threads),
        )
        for holds, name, rule, found in rules:
            if not holds:
                raise WrongUsage(f"{name} must {rule}, but it is {found}. Give another one.")
