"""Several annotators on one shelf: what each said of a window, how far they agree, and what waits for a decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moola.data.contracts.label_store import LabelStore
from moola.errors import WrongUsage
from moola.label.labels_here import LabelsHere
from moola.label.telling import tell
from moola.label.windows import Shelf
from moola.pipeline.labels.choosing import by_window
from moola.pipeline.labels.comparing import agreement, conflicts
from moola.pipeline.labels.places import Mark


class Review:
    """The labels of everybody over one shelf."""

    def __init__(self, shelf: Shelf, store: LabelStore, labels: LabelsHere, number: Mapping[str, int]) -> None:
        self.shelf, self.store, self.labels, self._number = shelf, store, labels, number

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
        # Who labelled nothing that another did is in the pairs too.
        return {"agreement": agreement(self.labels.all(), self._marks()), "conflicts": self._conflicts(annotator)}

    def waiting(self, annotator: str) -> list[int]:
        """Return the numbers of windows in conflict that this annotator has not settled, in time order."""
        return [self._number[one["window_id"]] for one in self._conflicts(annotator) if not one["settled"]]

    def _conflicts(self, annotator: str) -> list[dict[str, Any]]:
        labels = self.labels.of_several()
        opinions = by_window([label for label in labels if label.status != "skipped"])
        found = []
        for entry in conflicts(labels, self._marks()):
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
        return found

    def _marks(self) -> dict[tuple[str, str], tuple[Mark, ...]]:
        labelled = (label for label in self.labels.of_several() if label.status == "labelled")
        placed = {(label.window_id, label.annotator): self.labels.marks(label) for label in labelled}
        return {key: marks for key, marks in placed.items() if marks is not None}
