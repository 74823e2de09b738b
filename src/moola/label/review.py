"""Several annotators on one shelf: what each said of a window, how far they agree, and what waits for a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moola.data.contracts.label_store import LabelStore, WindowLabel
from moola.errors import WrongUsage
from moola.label.telling import marks_of, tell
from moola.label.windows import Shelf
from moola.pipeline.labels.choosing import by_window
from moola.pipeline.labels.comparing import agreement, conflicts
from moola.pipeline.labels.places import Mark


class Review:
    """The labels of everybody over one shelf, read from the store when they are asked for."""

    def __init__(self, shelf: Shelf, store: LabelStore, number: Mapping[str, int]) -> None:
        self.shelf, self.store, self._number = shelf, store, number

    def opinions(self, window_id: str, annotator: str) -> list[dict[str, Any]]:
        """Return what everybody but one annotator said of a window.

        Raises
        ------
        WrongUsage
            That one has not judged the window, and fewer than two others have: there is nothing to decide yet, and
            one's own answer comes before another's is seen.
        InvalidData
            A label is over other bars.
        """
        judged = [label for label in self.store.of_window(window_id) if label.status != "skipped"]
        others = [label for label in judged if label.annotator != annotator]
        if len(others) < 2 and len(others) == len(judged):
            raise WrongUsage(
                "a window must be judged by you or by two others before labels are compared, but it was judged by "
                f"{len(others)} other. Save yours first."
            )
        number = self._number[window_id]
        return [{"annotator": label.annotator, **tell(self.shelf, number, label)} for label in others]

    def of(self, annotator: str) -> dict[str, Any]:
        """Return the agreement of every pair, and the windows on which annotators differ, in time order.

        A window is settled for an annotator who judged it beside two or more others: that one's word decides
        (`labels export --resolve NAME`). One of two who differ settles it by coming to agree.
        """
        labels = [label for label in self.store.all() if label.window_id in self._number]
        marks = self._marks(labels)
        opinions = by_window([label for label in labels if label.status != "skipped"])
        found = []
        for entry in conflicts(labels, marks):
            names = [label.annotator for label in opinions[entry["window_id"]]]
            number = self._number[entry["window_id"]]
            found.append(
                {
                    **entry,
                    "symbol": self.shelf.symbol(number),
                    "start_us": int(self.shelf.times(number)[0]),
                    "annotators": names,
                    "settled": annotator in names and len(names) > 2,
                }
            )
        found.sort(key=lambda entry: (entry["start_us"], entry["window_id"]))
        return {"agreement": agreement(labels, marks), "conflicts": found}

    def waiting(self, annotator: str) -> list[int]:
        """Return the numbers of windows in conflict that this annotator has not settled, in time order."""
        return [self._number[one["window_id"]] for one in self.of(annotator)["conflicts"] if not one["settled"]]

    def _marks(self, labels: Sequence[WindowLabel]) -> dict[tuple[str, str], tuple[Mark, ...]]:
        placed = {}
        several = {name for name, found in by_window(labels).items() if len(found) > 1}
        for label in labels:
            if label.status == "labelled" and label.window_id in several:
                marks = marks_of(self.shelf, self._number[label.window_id], label)
                if marks is not None:
                    placed[label.window_id, label.annotator] = marks
        return placed
