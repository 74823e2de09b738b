"""Which windows or events lie in times that an encoder or a model has learned from."""

from __future__ import annotations

from typing import Any

import numpy as np

from moola.core.windows import intersects
from moola.data.contracts.split_file import time_us


def seen_among(record: dict[str, Any], start_us: np.ndarray | None, end_us: np.ndarray | None) -> np.ndarray | None:
    """Tell which of these closed intervals share a time with what was learned from.

    `record` is what an encoder says of its pretraining or a model of its training. Of which bars those times were is
    not on it: bars of another symbol at the same times count too. None where it or the intervals have no times.
    """
    span = record.get("time_range")
    if span is None or start_us is None or end_us is None:
        return None
    return intersects(start_us, end_us, *(time_us(text) for text in span))


def seen_sentence(n_seen: int | None, of: str, span: list[str] | None) -> str:
    """Say how many windows or events a model has learned from; empty where none or unknown."""
    if not n_seen or span is None:
        return ""
    first, last = (text[:10] for text in span)
    return (
        f"{n_seen} of {of} lie in the times of the labels that the model learned from ({first} to {last}): "
        "they do not tell how it does on new bars."
    )
