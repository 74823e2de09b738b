"""Stages that a notebook calls by name (foreign bars, spans, pretraining, similar spans, the gate), and their
answers as tables."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from markupsafe import escape

from moola.api.frame_conversion import (
    ADVICE,
    NAME,
    Frame,
    bars_of,
    foreign_of,
    import_options,
    is_frame,
    like,
    path_given,
    polars_of,
)
from moola.api.input_tables import table_of
from moola.errors import WrongUsage
from moola.models.model_files import BASE_NAME, read_encoder
from moola.options.judging_options import GateOptions
from moola.options.table_options import ImportOptions, SpanReading
from moola.options.training_options import PretrainOptions
from moola.scan.similar_spans import similar_spans
from moola.stages import pretrain as pretraining
from moola.stages.cv_gate import gate_named
from moola.stages.find_similar import marked_rows, similar_frame
from moola.tables import span_file
from moola.tables.bar_table import bars_from_frame, write_bars
from moola.tables.foreign.columns import ForeignTable
from moola.tables.foreign.importing import import_frame, import_table
from moola.tables.window_file import write_windows

VERDICT_COLUMNS = ("metric", "challenger", "baseline", "trivial", "difference", "low", "high", "holds")


def table_html(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a small table for a notebook; every text is escaped."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell_text(cell))}</td>' for cell in row)}</tr>" for row in rows)
    heading = f"<thead><tr>{cells}</tr></thead>" if head else ""
    return f"<table><caption>{escape(title)}</caption>{heading}<tbody>{body}</tbody></table>"


def cell_text(value: Any) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell_text(one) for one in value)
    return str(value)


class Record(dict[str, Any]):
    """What a stage answered: a dict, shown as a table in a notebook."""

    def __init__(self, title: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.title = title

    def _repr_html_(self) -> str:
        return table_html(self.title, (), [(name, value) for name, value in self.items() if value is not None])


class Verdict(Record):
    """What the gate answered: a dict with `verdict`, `reason` and `comparisons`, shown as a table in a notebook."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(f"{content['verdict']}: {content['reason']}", content)

    def _repr_html_(self) -> str:
        rows = [[row.get(name) for name in VERDICT_COLUMNS] for row in self["comparisons"]]
        head = ("metric", "challenger", "baseline", "uninformed", "difference", "low", "high", "rule holds")
        title = f"{self.title}. {self['n_windows']} windows of {self['part']}, against {self['baseline']}"
        return table_html(title, head, rows)


OptionsT = TypeVar("OptionsT")


def import_bars(
    source: Path | str | Frame,
    *,
    columns: Mapping[str, str] | None = None,
    timezone: str = "UTC",
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns", "excel"] = "auto",
    timestamp_format: str | None = None,
    day_first: bool | None = None,
    symbol: str | None = None,
    repair: bool = False,
) -> Any:
    """Bring another program's bars to moola's columns, sorted in time, as `moola bars import` does.

    Parameters
    ----------
    source
        File (CSV of any layout, JSON, Feather, parquet), or a frame of pandas, polars or numpy. Frames that obey the
        rules need no import: every function takes them as they are.
    columns
        Column by name, such as `{"timestamp": "Date", "open": "Bid open"}`, where names are not recognised.
    timezone
        Zone of times without one, as `America/New_York`.
    timestamp_unit, timestamp_format, day_first
        How numbers and texts are read as times; found from the values when left out.
    symbol
        Symbol to write in every row.
    repair
        Drop rows that are not bars, fix highs and lows that rounding put inside the bar; each kind is logged with its
        count.

    Returns
    -------
    frame
        `timestamp` (UTC), `open`, `high`, `low`, `close`, and `volume` and `symbol` where they are known: of polars for
        a file, else of the kind that came.

    Raises
    ------
    InvalidData
        A column is not found, or rows are not bars: each broken rule with its count and first row.
    WrongUsage
        A pair of `columns` names no column.

    Examples
    --------
    >>> import moola
    >>> bars = moola.sample_bars().rename({"timestamp": "Local time", "open": "Bid"})[::-1]
    >>> moola.import_bars(bars, columns={"open": "Bid"}).equals(moola.sample_bars())
    True
    """
    given: dict[str, Any] = {
        "columns": tuple(f"{name}={column}" for name, column in (columns or {}).items()),
        "timezone": timezone,
        "timestamp_unit": timestamp_unit,
        "timestamp_format": timestamp_format,
        "day_first": day_first,
        "symbol": symbol,
        "repair": repair,
    }
    if isinstance(source, str | Path):
        path = Path(source)
        frame = import_frame(ImportOptions(input=path, output=Path("bars.parquet"), **given))
        bars_from_frame(frame, f"what was read of {path}")
        return frame
    frame = import_table(ForeignTable(foreign_of(source)), import_options(**given))
    bars_from_frame(frame, NAME, ADVICE)
    return like(source, frame)


def read_spans(path: Path | str, bars: Frame, *, columns: Mapping[str, str] | None = None, **options: Any) -> Any:
    """Read spans that a person marked on a chart, in any table or as a Label Studio export.

    Parameters
    ----------
    path
        File of spans: start, end and label of each, and perhaps symbol, annotator and note.
    bars
        Bars that the spans are marked on: their symbols and times say what is meant.
    columns
        Column by name, such as `{"start": "From", "label": "Pattern"}`, where names are not recognised.
    **options
        Options of `moola windows --spans` about reading, by name: `timezone`, `timestamp_format`, `timestamp_unit`,
        `day_first`, `annotator`, `symbol`, `task`.

    Returns
    -------
    frame
        `start` and `end` (UTC, both included), `label`, and what else is known: of the kind of `bars`.

    Raises
    ------
    InvalidData
        The file is no table of spans, or rows break rules.
    WrongUsage
        An option is none, or names a column that the file has not.

    Examples
    --------
    >>> import moola
    >>> import polars
    >>> bars = moola.sample_bars()
    >>> marked = bars.select(start="timestamp", end=bars["timestamp"].shift(-8))[[100, 300]]
    >>> marked.with_columns(label=polars.lit("flag")).write_csv("spans.csv")
    >>> moola.read_spans("spans.csv", bars).columns
    ['start', 'end', 'label']
    """
    pairs = tuple(f"{name}={column}" for name, column in (columns or {}).items())
    reading = _options(SpanReading, columns=pairs, **options)
    return like(bars, span_file.spans_frame(span_file.read_spans(path_given(path, "path"), reading, bars_of(bars))))


def pretrain(data: Path | str | Frame, output: Path | str, **options: Any) -> Record:
    """Pretrain an encoder on bars or windows without labels, as `moola pretrain-bilstm` does.

    Parameters
    ----------
    data
        Bars or windows: a file, or a frame of pandas, polars or numpy.
    output
        Encoder file to write; `moola.WindowClassifier(encoder=output)` starts from it.
    **options
        Options of `moola pretrain-bilstm` by name, with its defaults: `epochs`, `window_bars`, `stride`, `split`,
        `hidden_dim`, `num_layers`, `seed`, `device` and the others.

    Returns
    -------
    Record
        A dict of what was learned and on what times; a table in a notebook.

    Raises
    ------
    InvalidData
        The data break a rule, or leave no windows to learn from.
    WrongUsage
        An option is none of the command's, or out of its range.

    Examples
    --------
    >>> import moola
    >>> small = {"stride": 50, "epochs": 1, "hidden_dim": 4, "num_layers": 1, "device": "cpu"}
    >>> moola.pretrain(moola.sample_bars(), "encoder.pt", **small)["n_windows"]
    123
    """
    with _as_file(data) as path:
        chosen = _options(PretrainOptions, input=path, output=path_given(output, "output"), **options)
        return Record("Encoder", pretraining.pretrain(chosen, lambda _row: None))


def gate(run: Path | str, **options: Any) -> Verdict:
    """Compare a run with a baseline on the same windows and give a verdict, as `moola gate` does; nothing is promoted.

    The comparison is noted in the record of gates, as that of the command is.

    Parameters
    ----------
    run
        Run of `moola train`, or of `moola cv`: its id, or its folder under artifacts/runs.
    **options
        Options of `moola gate` by name: `baseline` (a run or a model file; left out, the model in use, or the newest
        run from scratch on the same data), `data` (later windows that nothing has touched), `ece_rule`, `min_gain`,
        `seed`, `name`.

    Returns
    -------
    Verdict
        A dict with `verdict` (`promote`, `hold` or `inconclusive`), `reason` and `comparisons`; a table in a notebook.

    Raises
    ------
    OperationFailed
        There is no such run, or no baseline.
    WrongUsage
        An option is none of the command's.

    Examples
    --------
    >>> import moola
    >>> try:
    ...     moola.gate("20200101T000000Z_none")
    ... except moola.MoolaError as error:
    ...     print(type(error).__name__)
    OperationFailed
    """
    chosen = _options(GateOptions, run=path_given(run, "run"), **options)
    return Verdict(gate_named(chosen))


def _options(kind: type[OptionsT], **given: Any) -> OptionsT:
    """Return the options of a command, by their names in Python."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [name for name in given if name not in known]:
        raise WrongUsage(f"an option must be one of {', '.join(known)}, but {unknown[0]} is none. Fix its name.")
    hints = get_type_hints(kind)
    named = {name for name in given if Path in (hints[name], *get_args(hints[name]))}
    return kind(**{name: Path(one) if name in named and isinstance(one, str) else one for name, one in given.items()})


@contextmanager
def _as_file(data: Path | str | Frame) -> Iterator[Path]:
    """Give the path of a file of the data; a frame is written to one for as long as it is needed."""
    if not is_frame(data):
        yield path_given(data, "data")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        if "features" in (data.dtype.names if hasattr(data, "dtype") else polars_of(data, "data").columns):
            write_windows(path, table_of(data, name="data"))
        else:
            write_bars(path, bars_of(data))
        yield path


def similar(
    bars: Frame,
    at: tuple[Any, Any],
    encoder: Path | str = BASE_NAME,
    n: int = 20,
    *,
    symbol: str | None = None,
    mirror: bool = True,
    vectors: Path | str | None = None,
) -> Any:
    """Find the spans of bars that are most similar to a marked one, as `moola similar` does.

    Parameters
    ----------
    bars
        Bars to search; the marked span is among them.
    at
        Start and end of the marked span: texts or datetimes, UTC where they have no zone.
    encoder
        `base`, or an encoder file.
    n
        Most spans to find.
    symbol
        Symbol of the marked span, where the bars have several.
    mirror
        Whether spans that are alike upside down count too.
    vectors
        Folder where vectors of the bars are kept, so that another search starts at once; left out, none are kept.

    Returns
    -------
    frame
        `symbol` where bars name any, `start`, `end` (UTC, both included), `label` (`similar`), `note`, `similarity` (1
        for the marked span itself; not a probability) and `mirrored`, most similar first: of the kind of `bars`.

    Raises
    ------
    WrongUsage
        The times are none, or mean no span that can be searched for: outside the bars, or of 1 bar or more than 105.
    InvalidData
        The bars break a rule, or are too few.

    Examples
    --------
    >>> import moola
    >>> bars = moola.sample_bars().head(600)
    >>> moola.similar(bars, ("2017-01-12T10:00", "2017-01-12T18:00"), n=2).columns
    ['start', 'end', 'label', 'note', 'similarity', 'mirrored']
    """
    table = bars_of(bars)
    if len(at) != 2:
        raise WrongUsage(f"at must be the start and the end of a span, but it has {len(at)} values. Give two times.")
    words = tuple(one if isinstance(one, str) else one.isoformat() for one in at)
    if n < 1:
        raise WrongUsage(f"n must be at least 1, but it is {n}. Give another one.")
    rows = marked_rows(table, words, symbol, "UTC", NAME)
    folder = None if vectors is None else Path(vectors)
    found = similar_spans(table, rows, read_encoder(Path(encoder)), n, mirror=mirror, folder=folder)
    return like(bars, similar_frame(found, [table], "similar"))
