"""Options of `scan` and `similar`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from moola.errors import WrongUsage
from moola.options.option_fields import (
    BELOW_1,
    COUNT,
    COUNT_OR_NONE,
    DATA,
    EVERYDAY,
    MACHINE,
    MODEL,
    NOT_NEGATIVE,
    OUTPUT,
    POSITIVE,
    PROBABILITY,
    Bars,
    Engine,
    Machine,
    MaxGapHours,
    ModelFile,
    Output,
    Processes,
    Stride,
    advanced,
    basic,
    refuse_out_of_range,
    with_help,
)
from moola.options.table_options import Timezone

OUTPUT_SUFFIXES = (".parquet", ".csv", ".jsonl")
GROWING_SUFFIXES = (".csv", ".jsonl")
SPAN_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class ScanOptions(Machine):
    """Options of `scan`."""

    model: Annotated[
        ModelFile, with_help("Model file that predicts pointers: a promoted .pt, or a run (its id, `latest`).")
    ]
    bars: Annotated[Bars, with_help("Bar table with any number of bars and symbols.")] | None = None
    follow: Annotated[
        Path | None,
        basic("Instead of --bars: a growing bar table, or a folder of them; each event is reported once.", DATA),
    ] = None
    output: Annotated[Output, with_help("Events to write (.parquet, .csv or .jsonl; with --follow .csv or .jsonl).")]
    stride: (
        Annotated[
            Stride,
            EVERYDAY,
            with_help("Bars from one window to the next; by default 5, or those that presence learned with."),
        ]
        | None
    ) = None
    max_gap_hours: MaxGapHours | None = None
    min_prob: Annotated[
        float | None,
        PROBABILITY,
        basic(
            "Least event_prob; by default the threshold that presence chose, else the square of the pointer threshold, "
            "and at least 0.1.",
            MODEL,
        ),
    ] = None
    annotator: Annotated[
        str | None,
        advanced(
            "Of several people whose spans the model learned, the one by whom events would have been marked; by "
            "default any one of them.",
            MODEL,
        ),
    ] = None
    max_overlap: Annotated[
        float,
        BELOW_1,
        advanced(
            "Largest overlap (IoU in bars) of two events; of two that overlap more, the likelier one stays.", MODEL
        ),
    ] = 0.1
    live: Annotated[
        bool, basic("Report each event as soon as enough is known of it, from the bars up to then alone.", MODEL)
    ] = False
    live_windows: Annotated[
        int,
        COUNT,
        advanced("Windows that must have seen an event before --live reports it; more are later and surer.", MODEL),
    ] = 2
    strict: Annotated[
        bool,
        advanced(
            "With --follow, stop at the first line that is invalid, is out of order or differs from the bar read for "
            "its time; by default such lines are skipped and counted.",
            DATA,
        ),
    ] = False
    poll_s: Annotated[float, NOT_NEGATIVE, advanced("Seconds between two reads of what --follow names.", DATA)] = 5.0
    polls: Annotated[
        int, COUNT_OR_NONE, advanced("Reads after which --follow ends; 0: only when interrupted.", DATA)
    ] = 0
    on_event: Annotated[
        str | None,
        basic("With --follow, your program for each event: one JSON line on its stdin.", OUTPUT),
    ] = None
    on_event_timeout_s: Annotated[
        float, POSITIVE, advanced("Seconds that the program may take; then it is stopped and counts as failed.", OUTPUT)
    ] = 10.0
    on_event_retries: Annotated[
        int,
        COUNT_OR_NONE,
        advanced("Further attempts where it fails; then the event goes to <output>.dead.jsonl.", OUTPUT),
    ] = 3
    overview: Annotated[
        Path | None, basic("HTML page of the events on their bars, with zoom and a table; works offline.", OUTPUT)
    ] = None
    overview_bars: Annotated[int, COUNT, advanced("Most bars on that page, the latest ones.", OUTPUT)] = 200_000
    plot: Annotated[Path | None, basic("Folder for a picture of each event.", OUTPUT)] = None
    plot_limit: Annotated[int, COUNT, advanced("Most pictures, of the likeliest events.", OUTPUT)] = 50
    resume: Annotated[bool, basic("Continue an interrupted scan from its finished parts.", OUTPUT)] = False
    overwrite: Annotated[bool, advanced("With --live, replace an output that is there.", OUTPUT)] = False
    batch_windows: Annotated[
        int, COUNT, advanced("Windows read and predicted at a time; memory grows with it.", MACHINE)
    ] = 1024
    processes: Annotated[
        Processes,
        with_help("Processes that read at the same time; 0 for one per core. The output is the same to the byte."),
    ] = 1
    engine: Engine = "processes"

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
        idle = [f"--{name}" for name in ("plot", "overview", "resume", "overwrite") if getattr(self, name)]
        idle += ["--processes"] if self.processes != 1 else []
        idle += ["--engine"] if self.engine != "processes" else []
        if self.follow is not None and idle:
            raise WrongUsage(
                f"--follow must come without options of a whole scan, but {' and '.join(idle)} came with it. "
                "Leave them out; the same command continues where it stopped."
            )
        if self.strict and self.follow is None:
            raise WrongUsage("--strict must come with --follow, but --bars came. A scan refuses such bars anyway.")
        if self.on_event is not None and (self.follow is None or self.output.suffix != ".jsonl"):
            given = "--bars came" if self.follow is None else f"the output is {self.output}"
            raise WrongUsage(
                f"--on-event must come with --follow and an output in .jsonl, but {given}. Correct that or leave "
                "--on-event out."
            )
        suffixes = OUTPUT_SUFFIXES if self.follow is None else GROWING_SUFFIXES
        if self.output.suffix not in suffixes:
            raise WrongUsage(f"--output must end in {', '.join(suffixes)}, but it is {self.output}. Give another one.")


@dataclass(frozen=True, kw_only=True)
class SimilarOptions(Machine):
    """Options of `similar`."""

    bars: Annotated[
        tuple[Path, ...], basic("Bar tables to search, any number of them; the marked span is in the first.", DATA)
    ]
    at: Annotated[
        tuple[str, ...],
        basic("START END: times of the marked span's first and last bar, in UTC unless --timezone is given.", DATA),
    ]
    symbol: Annotated[str | None, basic("Symbol of the marked span, where the first table has several.", DATA)] = None
    timezone: Timezone = "UTC"
    encoder: Annotated[
        Path, basic("Encoder that reads the bars: `base`, which comes with moola, or an encoder file.", MODEL)
    ] = Path("base")
    n: Annotated[int, COUNT, basic("Most spans to find.", MODEL)] = 20
    mirror: Annotated[bool, basic("Find spans that are alike upside down, too.", MODEL)] = True
    label: Annotated[str, advanced("Class of the found spans in the file.", OUTPUT)] = "similar"
    output: Annotated[Output, with_help("Found spans to write (.csv or .parquet); `labels import` reads them.")] = Path(
        "artifacts/similar/similar.csv"
    )
    page: Annotated[
        Path | None, basic("HTML page of their charts; by default beside --output, ending in .html.", OUTPUT)
    ] = None
    vectors: Annotated[
        Path,
        advanced(
            "Folder where the vectors of bars are kept (200 bytes a bar), so that another search starts at once.",
            OUTPUT,
        ),
    ] = Path("artifacts/similar/vectors")

    def check(self) -> None:
        """Refuse values that cannot work, before any bar is read.

        Raises
        ------
        WrongUsage
            Names the option, its rule and what was given.
        """
        refuse_out_of_range(self)
        if len(self.at) != 2:
            raise WrongUsage(
                f"--at must be two times START END, but it has {len(self.at)}. Write each as 2017-03-01T10:00, or in "
                "quotes."
            )
        if self.output.suffix not in SPAN_SUFFIXES:
            raise WrongUsage(
                f"--output must end in {', '.join(SPAN_SUFFIXES)}, but it is {self.output}. Give another one."
            )
        if not self.label.strip():
            raise WrongUsage("--label must be a class, but it is empty. Leave it out, or name the class.")
