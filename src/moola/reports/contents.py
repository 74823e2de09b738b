"""What a report shows, as plain data, with the prices of its windows and the lines that make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars
from moola.errors import InvalidData
from moola.evaluation.calibration import DRIFT_HEADER, calibration_by_time, drift_rows
from moola.evaluation.span_metrics import JudgedEvents
from moola.files import sha256_file
from moola.options.judging_options import ReportOptions
from moola.options.option_sources import command_line as shell_line
from moola.stages.run_summary import NEW_RUN, RunSummary
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import read_windows


@dataclass(frozen=True)
class ShownVerdict:
    """A verdict's word (`promote`, `inconclusive`, `hold` or another) and the sentence that says why."""

    word: str
    sentence: str


@dataclass(frozen=True)
class ShownTable:
    """A table with its caption: header, rows of text as they are shown, and a note below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class EventsShown:
    """Events of a scan beside the spans of a person: figures of `eval --events`, and what they are of."""

    result: dict[str, Any]
    judged: JudgedEvents
    bars: Bars
    class_names: Sequence[str]
    has_prices: bool


@dataclass(frozen=True)
class ReportContent:
    """All that one page shows.

    Attributes
    ----------
    title
        The page's heading.
    evaluation
        What `Evaluation.as_dict()` gives: `part`, `n_windows`, `block_windows`, `figures` by name (each with
        `value`, `low`, `high`, `trivial`, `reason`), `reliability` bins and `perfect_ece`.
    predictions
        The evaluated windows, in time order.
    verdict
        The verdict on top; None shows `no_verdict` in its place.
    no_verdict
        Why there is no verdict.
    trust
        The answer to whether the model can be trusted; empty shows none.
    leaks
        Sentences on what the models saw of these windows; each is shouted on top.
    leak_proof
        True when proved, None when it could not be checked, False when parts overlap.
    ohlc
        Prices of the evaluated windows `(windows, bars, 4)`, row by row those of `predictions`.
    no_ohlc
        Why there are no prices.
    references
        Further columns beside the trivial one: heading to figure name to value.
    chosen_by_val
        A sentence on what the evaluated windows selected, for a page on val rows.
    history
        One row per epoch, with `epoch` and `train_*_loss`, `val_*_loss`, `best`.
    tables
        Further tables (folds, seeds, the gate), shown behind the figures.
    facts
        Groups of facts: heading to name to text.
    fact_tables
        Tables shown with the facts (the parts of the split).
    commands
        Lines to type to make the same again.
    events
        Events of a scan by the run's model beside the spans of a person.
    """

    title: str
    evaluation: Mapping[str, Any]
    predictions: Predictions
    verdict: ShownVerdict | None = None
    no_verdict: str = ""
    trust: str = ""
    leaks: Sequence[str] = ()
    leak_proof: bool | None = True
    ohlc: np.ndarray | None = None
    no_ohlc: str = ""
    references: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    chosen_by_val: str = ""
    history: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[ShownTable] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fact_tables: Sequence[ShownTable] = ()
    commands: Sequence[str] = ()
    events: EventsShown | None = None


# How calibration drifts, on the pages of runs and of cross-validations.


def drift_tables(predictions: Predictions, seed: int) -> list[ShownTable]:
    """Return how calibration drifts over the evaluated windows as a table; none where they are too few."""
    if not (found := calibration_by_time(predictions, seed)):
        return []
    note = "Difference: mean probability less share, with its 95 % interval; * where that leaves 0 out."
    return [ShownTable("Calibration over time", DRIFT_HEADER, drift_rows(found), note)]


# The prices of evaluated windows, from the data file where it still exists.


def judged_bars(config: dict[str, Any], data_sha256: str, predictions: Predictions) -> tuple[np.ndarray | None, str]:
    """Return the evaluated windows' prices, or why there are none."""
    data = Path(str(config.get("data")))
    if not data.is_file():
        return None, f"the run's data file {data} no longer exists"
    if sha256_file(data) != data_sha256:
        return None, f"the run's data file {data} has changed since"
    try:
        table = read_windows(data, config.get("window_bars"))
    except InvalidData as error:
        return None, f"the run's data file cannot be read: {error}".rstrip(".")
    if table.ohlc is None:
        return None, f"the run's data file {data} holds features without their prices"
    rows = predictions.row
    if not len(rows) or rows.max() >= len(table) or [table.window_id[row] for row in rows] != predictions.window_id:
        return None, f"the rows of {data} are not those that were evaluated"
    return table.ohlc[rows], ""


# The lines that make a run and its page again.


def commands_of(summary: RunSummary, options: ReportOptions) -> list[str]:
    """Return the commands, in order; the training line names each option that is not at its default."""
    baseline = [] if options.baseline is None else ["--baseline", str(options.baseline)]
    words = ("--run", NEW_RUN, "--seed", str(options.seed), *baseline)
    return [*summary.commands(options.seed), *(shell_line("moola", command, *words) for command in ("gate", "report"))]
