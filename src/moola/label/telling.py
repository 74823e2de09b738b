"""A stored label as the page is told of it: bar positions of its window instead of times."""

from __future__ import annotations

from typing import Any

from moola.data.contracts.label_store import WindowLabel
from moola.errors import InvalidData
from moola.label.windows import Shelf
from moola.pipeline.labels.places import Mark


def marks_of(shelf: Shelf, number: int, label: WindowLabel) -> tuple[Mark, ...] | None:
    """Return a label's expansions as bars of its window; None where it is over other bars than the window's."""
    times = shelf.times(number)
    place = {int(time): bar for bar, time in enumerate(times)}
    marked = {time for mark in label.expansions for time in (mark.start_us, mark.end_us)}
    ours = (label.start_us, label.end_us) == (int(times[0]), int(times[-1])) and marked <= set(place)
    if not ours or label.symbol != shelf.symbol(number):
        return None
    return tuple(Mark(place[mark.start_us], place[mark.end_us], mark.label) for mark in label.expansions)


def tell(shelf: Shelf, number: int, label: WindowLabel) -> dict[str, Any]:
    """Turn a stored label into what the page shows.

    Raises
    ------
    InvalidData
        The store's label of this id is over other bars: nothing of it can be shown here, nor replaced.
    """
    marks = marks_of(shelf, number, label)
    if marks is None:
        raise InvalidData(
            f"a stored label must be over the bars of its window, but that of {label.window_id!r} by "
            f"{label.annotator!r} is over others. Give the bars it was made on, or another --store."
        )
    return {
        "expansions": [{"start": mark.start, "end": mark.end, "label": mark.label} for mark in marks],
        "grade": label.grade,
        "reason": label.reason,
        "note": label.note,
        "status": label.status,
        "revision": label.revision,
    }
