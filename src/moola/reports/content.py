"""What a report shows, as plain data: whoever gathers it, the page is built the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions


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
        The judged windows, in time order.
    verdict
        The verdict on top; None shows `no_verdict` in its place.
    no_verdict
        Why there is no verdict.
    leaks
        Sentences on what the models saw of these windows; each is shouted on top.
    leak_proof
        True when proved, None when it could not be checked, False when parts overlap.
    ohlc
        Prices of the judged windows `(windows, bars, 4)`, row by row those of `predictions`.
    no_ohlc
        Why there are no prices.
    references
        Further columns beside the trivial one: heading to figure name to value.
    history
        One row an epoch, with `epoch` and `train_*_loss`, `val_*_loss`, `best`.
    tables
        Further tables (folds, seeds, the gate), shown behind the figures.
    facts
        Groups of facts: heading to name to text.
    fact_tables
        Tables that stand with the facts (the parts of the split).
    commands
        Lines to type to make the same again.
    """

    title: str
    evaluation: Mapping[str, Any]
    predictions: Predictions
    verdict: ShownVerdict | None = None
    no_verdict: str = ""
    leaks: Sequence[str] = ()
    leak_proof: bool | None = True
    ohlc: np.ndarray | None = None
    no_ohlc: str = ""
    references: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[ShownTable] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fact_tables: Sequence[ShownTable] = ()
    commands: Sequence[str] = ()
