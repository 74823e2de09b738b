"""Options of `scan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.errors import WrongUsage
from moola.options.option_ranges import DeviceName, EngineName, refuse_out_of_range

OUTPUT_SUFFIXES = (".parquet", ".csv", ".jsonl")
GROWING_SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """Options of `scan`.

    Parameters
    ----------
    model
        Model file that predicts pointers: a promoted .pt, or the model.pkl of a run.
    bars
        Bar table, any number of bars and symbols.
    follow
        In place of --bars: a bar table, or a folder of them, that grows; each event is told once, as with --live.
    output
        Events to write (.parquet, .csv or .jsonl; with --follow .csv or .jsonl, which grow).
    stride
        Bars from one window to the next; smaller lets more windows judge an event and takes longer.
    max_gap_hours
        Longest time between neighbouring bars inside a window; windows over a longer one are dropped and counted. Left
        out, it is found from each symbol's bars: 72, or 11 usual bars or 1.4 usual breaks of a week where longer.
    min_prob
        Least probability of an event, that both its pointers are within 3 bars; when left out, the square of the
        model's pointer threshold, which is that of one pointer, and at least 0.1.
    max_overlap
        Largest overlap (bars in both over bars in either) of two events; of two that overlap more, the more probable
        one stays.
    live
        Tell each event at the first moment at which enough is known of it, from the bars up to then alone.
    live_windows
        Least number of windows that must have seen an event before it is told live; more are later and surer.
    strict
        With --follow, stop at the first line that is no bar, is out of order, or differs from the bar read for its
        time; when left out, they are skipped and counted.
    poll_s
        Seconds from one look at what --follow names to the next.
    polls
        Looks after which --follow ends; 0 goes on until it is interrupted.
    overview
        HTML page of the events over their bars, with zoom and a table; opens without a network.
    overview_bars
        Most bars on that page, the latest; they are all in it.
    plot
        Folder for a picture of each event; none when left out.
    plot_limit
        Most pictures; the most probable events have them.
    resume
        Go on from the finished parts of a scan that was stopped.
    batch_windows
        Windows read and predicted at a time; memory grows with it.
    processes
        Parts of that many windows read at a time, each by a process of its own; 0 for one a core. The events are
        the same bytes.
    engine
        processes of this machine, or ray: a task a part on the cluster of RAY_ADDRESS (--processes workers of this
        machine where it is not set), done anew where a worker dies. The working folder must be on every node under
        the same path.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads, 0 for one a core.
    """

    model: Path
    bars: Path | None = None
    follow: Path | None = None
    output: Path
    stride: int = 5
    max_gap_hours: float | None = None
    min_prob: float | None = None
    max_overlap: float = 0.1
    live: bool = False
    live_windows: int = 2
    strict: bool = False
    poll_s: float = 5.0
    polls: int = 0
    overview: Path | None = None
    overview_bars: int = 200_000
    plot: Path | None = None
    plot_limit: int = 50
    resume: bool = False
    batch_windows: int = 1024
    processes: int = 1
    engine: EngineName = "processes"
    device: DeviceName = "auto"
    threads: int = 1

    def check(self) -> None:
        """Refuse values that cannot work, before hours of work.

        Raises
        ------
        WrongUsage
            Names the option, its rule and what was given.
        """
        refuse_out_of_range(self)
        if (self.bars is None) == (self.follow is None):
            given = "neither is" if self.bars is None else "both are"
            raise WrongUsage(f"one of --bars and --follow must be given, but {given}. Give one.")
        idle = [f"--{name}" for name in ("plot", "overview", "resume") if getattr(self, name)]
        idle += ["--processes"] if self.processes != 1 else []
        idle += ["--engine"] if self.engine != "processes" else []
        if self.follow is not None and idle:
            raise WrongUsage(
                f"--follow must stand without options of a whole scan, but {' and '.join(idle)} came with it. "
                "Leave them out; the same command goes on with what is followed."
            )
        if self.strict and self.follow is None:
            raise WrongUsage("--strict must come with --follow, but --bars came. A scan refuses such bars anyway.")
        suffixes = OUTPUT_SUFFIXES if self.follow is None else GROWING_SUFFIXES
        if self.output.suffix not in suffixes:
            raise WrongUsage(f"--output must end in {', '.join(suffixes)}, but it is {self.output}. Give another one.")
