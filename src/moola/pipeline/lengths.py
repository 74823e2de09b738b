"""The length of windows where files record it: taken from them, and refused where they or the option disagree."""

from __future__ import annotations

from pathlib import Path

from moola.core.windows import WINDOW_BARS
from moola.errors import InvalidData


def agreed_window_bars(asked: int | None, recorded: dict[Path, int]) -> int:
    """Return the length that `--window-bars` and every file agree on; 105 bars where neither says one.

    Parameters
    ----------
    asked
        Value of `--window-bars`, None where it was left out.
    recorded
        Files (models, encoders, splits) with the length that each records.

    Raises
    ------
    InvalidData
        Two files, or a file and the option, disagree.
    """
    said = [("--window-bars", asked)] if asked is not None else []
    said += [(str(path), length) for path, length in recorded.items()]
    if len({length for _, length in said}) > 1:
        # The last of them is a file: an option alone cannot disagree.
        name, length = said[-1]
        other, found = next(one for one in said if one[1] != length)
        advice = "Leave it out" if other == "--window-bars" else "Name files of one length"
        raise InvalidData(
            f"windows must have the {length} bars of {name}, but {other} says {found}. {advice}, or cut windows anew."
        )
    return said[0][1] if said else WINDOW_BARS
