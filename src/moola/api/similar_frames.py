"""Spans similar to a marked one, on bars in a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moola.api.bars_given import NAME, bars_of
from moola.api.frames_given import Frame, like
from moola.errors import WrongUsage
from moola.models.model_files import BASE_NAME, read_encoder
from moola.scan.similar_spans import similar_spans
from moola.stages.find_similar import marked_rows, similar_frame


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
