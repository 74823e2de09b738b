"""Options of the labelling page and of the commands under `labels`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from moola.options.option_fields import (
    DATA,
    DEFAULT_SEED,
    EVERYDAY,
    MACHINE,
    MAX_CONTEXT,
    MAX_PORT,
    MODEL,
    ONLY_ON,
    OUTPUT,
    Annotator,
    Bars,
    FilesLength,
    LabelledBars,
    LabelStoreFile,
    Machine,
    MaxGapHours,
    NoExpansion,
    Output,
    Range,
    Seed,
    Stride,
    Symbol,
    WindowBars,
    WindowLength,
    advanced,
    basic,
    with_help,
)
from moola.options.table_options import AnnotatedTimes, SpanReading, Stretches, Timezone


@dataclass(frozen=True, kw_only=True)
class LabelsExportOptions(WindowLength):
    """Options of `labels export`."""

    store: LabelStoreFile
    output: Annotated[
        Output, with_help("File to write: windows, a table of spans (.parquet or .csv), or JSON for Label Studio.")
    ]
    bars: Annotated[LabelledBars, with_help("Bars that the windows were labelled on; windows need them.")] | None = None
    as_: Annotated[
        Literal["windows", "spans", "label-studio"],
        basic(
            "`windows` that were labelled, `spans` (imported ones, and the expansions of labelled windows), or the "
            "same spans for `label-studio`.",
            OUTPUT,
        ),
    ] = "windows"
    stretches: Annotated[Path | None, advanced("File for the annotated stretches, beside spans.", OUTPUT)] = None
    annotator: Annotated[Annotator, with_help("Take the labels of this annotator alone.")] | None = None
    no_expansion: (
        Annotated[
            NoExpansion, with_help("Class to write for windows without an expansion; by default they are left out.")
        ]
        | None
    ) = None
    symbol: Symbol | None = None
    min_grade: Annotated[
        Literal["A", "B", "C", "D"] | None, basic("Leave out windows of a lower grade or without one.", DATA)
    ] = None
    resolve: Annotated[
        str,
        basic(
            "Which label counts where several annotators labelled a window: `latest`, the last one saved; `agree`, "
            "what all agree on (same class, pointers within 3 bars, written as their mean; windows in conflict are "
            "left out and listed); or the name of the annotator who decides (`agree` where that one has no label).",
            DATA,
        ),
    ] = "latest"


@dataclass(frozen=True, kw_only=True)
class LabelsImportOptions(SpanReading):
    """Options of `labels import`."""

    store: Annotated[LabelStoreFile, with_help("Label store to write; created when missing.")]
    bars: Annotated[LabelledBars, with_help("Bars that the labels were made on.")]
    input: Annotated[
        Path,
        basic(
            "Spans (CSV, TSV, JSON, parquet with start, end and label; or a JSON, JSON-MIN or CSV export of Label "
            "Studio with time-series labels), or labelled windows (parquet, or a Label Studio export with one window "
            "per task).",
            DATA,
        ),
    ]
    timezone: Annotated[Timezone, EVERYDAY] = "UTC"
    stretches: Stretches | None = None
    annotated: Annotated[AnnotatedTimes, EVERYDAY] = ()
    overwrite: Annotated[
        bool, basic("Save labels that differ as a new revision; by default the store's label stays.", DATA)
    ] = False
    no_expansion: NoExpansion | None = None
    window_bars: WindowBars = 105


@dataclass(frozen=True, kw_only=True)
class LabelsStatsOptions(WindowLength):
    """Options of `labels stats`."""

    store: LabelStoreFile
    bars: (
        Annotated[
            LabelledBars,
            with_help(
                "Bars that the windows were labelled on: distances between pointers are then counted in bars. Without "
                "them they are elapsed times over the usual bar interval, gaps included."
            ),
        ]
        | None
    ) = None
    symbol: Symbol | None = None


@dataclass(frozen=True, kw_only=True)
class LabelOptions(FilesLength, Machine):
    """Options of `label`."""

    bars: Annotated[Bars, with_help("Bar table for the charts and all times.")]
    windows: Annotated[Path | None, basic("Windows to label, with times; by default cut from the bars.", DATA)] = None
    model: Annotated[
        tuple[Path, ...],
        basic(
            "Model files (one, or several seeds of one) for the queues by uncertainty and disagreement, and for "
            "assist mode.",
            MODEL,
        ),
    ] = ()
    predictions: Annotated[
        Path | None,
        basic(
            "Out-of-sample predictions (predictions.parquet of `cv` or of a run), for the queue of likely label "
            "errors.",
            MODEL,
        ),
    ] = None
    store: Annotated[LabelStoreFile, with_help("Label store; created when missing.")] = Path(
        "artifacts/labels/labels.db"
    )
    annotator: (
        Annotated[Annotator, with_help("Your name, kept with your labels; by default the login name.")] | None
    ) = None
    classes: Annotated[tuple[str, ...], basic("Classes to choose from, in the order of their keys 1 to 9.", DATA)] = (
        "consolidation",
        "retracement",
    )
    symbol: Symbol | None = None
    port: Annotated[int, Range(0, MAX_PORT), basic("Port of the page on 127.0.0.1; 0 for any free one.", MACHINE)] = (
        8765
    )
    stride: (
        Annotated[Stride, with_help("Bars from one window to the next; by default the length of the inner zone.")]
        | None
    ) = None
    max_gap_hours: MaxGapHours | None = None
    context_bars: Annotated[int, Range(0, MAX_CONTEXT), advanced("Bars shown before and after the window.", DATA)] = 30
    no_model: Annotated[bool, basic("Learn nothing beside the chart, and propose nothing there.", MODEL), ONLY_ON] = (
        False
    )
    seed: Annotated[Seed, with_help("Seed of the random queue, and of the queue by diversity.")] = DEFAULT_SEED
