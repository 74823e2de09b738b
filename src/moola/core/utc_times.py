"""Times as text and back: microseconds since 1970 in UTC."""

from __future__ import annotations

import numpy as np


def utc_text(time_us: int) -> str:
    """Write microseconds since 1970 as UTC, to the microsecond."""
    return str(np.datetime64(int(time_us), "us")) + "Z"


def minute_text(time_us: int) -> str:
    """Write microseconds since 1970 as UTC, to the minute, for people."""
    return utc_text(time_us)[:16].replace("T", " ")


def time_us(text: str) -> int:
    """Read what `utc_text` wrote."""
    return int(np.datetime64(text.removesuffix("Z"), "us").astype(np.int64))
