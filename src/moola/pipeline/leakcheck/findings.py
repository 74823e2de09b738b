"""What a check says: `ok`, `note` or `leak`, with the row, bar and feature where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "leak"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    what
        The check, as named in `CHECKS`.
    state
        `ok`, `note` (could not be checked, or worth knowing) or `leak`.
    found
        What was found, with its count and the worst or first place.
    advice
        One thing to do; empty where there is nothing.
    row, bar, feature
        Row of the data file, bar of that window, and feature, where the finding has one.
    """

    what: str
    state: State
    found: str
    advice: str = ""
    row: int | None = None
    bar: int | None = None
    feature: str | None = None
