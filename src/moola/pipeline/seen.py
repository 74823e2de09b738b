"""Which windows or events lie in times that an encoder or a model has learned from."""

from __future__ import annotations

from typing import Any

import numpy as np

from moola.core.windows import intersects
from moola.data.contracts.split_file import time_us, utc_text

# What a record of times says where the second is when the last bar was over; older ones say when it began.
UNTIL_CLOSE = {"time_range_end": "close"}


def times_learned(start_us: np.ndarray | None, close_us: np.ndarray | None) -> dict[str, Any]:
    """Return what a record says of the times `[start, close)` that were learned from; `time_range` None where unknown.

    Raises
    ------
    ValueError
        There are no times at all.
    """
    if start_us is None or close_us is None:
        return {"time_range": None}
    return {"time_range": [utc_text(start_us.min()), utc_text(close_us.max())]} | UNTIL_CLOSE


def seen_among(record: dict[str, Any], start_us: np.ndarray | None, close_us: np.ndarray | None) -> np.ndarray | None:
    """Tell which of these intervals `[start, close)` share time with what was learned from.

    `record` is what an encoder says of its pretraining or a model of its training. Of which bars those times were is
    not on it: bars of another symbol at the same times count too. A record of an older version says when its last bar
    began and not how long it was: what begins after that moment counts as not seen. None where it or the intervals
    have no times.
    """
    span = record.get("time_range")
    if span is None or start_us is None or close_us is None:
        return None
    first_us, last_us = (time_us(text) for text in span)
    closed = UNTIL_CLOSE.items() <= record.items()
    return intersects(start_us, close_us, first_us, last_us if closed else last_us + 1)


def seen_sentence(n_seen: int | None, of: str, span: list[str] | None) -> str:
    """Say how many windows or events a model has learned from; empty where none or unknown."""
    if not n_seen or span is None:
        return ""
    first, last = (text[:10] for text in span)
    return (
        f"{n_seen} of {of} lie in the times of the labels that the model learned from ({first} to {last}): "
        "they do not tell how it does on new bars."
    )
