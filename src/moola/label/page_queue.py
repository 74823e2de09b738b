"""Which window comes next on the page: queues, second looks, and everybody's current labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from moola.core.features import relative_features
from moola.core.label_rules import WindowLabel
from moola.core.seeds import generator
from moola.errors import InvalidData, WrongUsage
from moola.label.page_model import ModelAnswers, OutOfFold
from moola.label.page_windows import WindowList
from moola.labels.label_positions import Mark
from moola.labels.label_stats import agreement, by_window, conflicts
from moola.tables.label_store import LabelStore

QueueName = Literal["time", "random", "uncertainty", "disagreement", "diversity", "label errors", "conflicts"]
QUEUES: tuple[QueueName, ...] = get_args(QueueName)
# Of windows that have labels already.
SECOND_LOOKS = ("label errors", "conflicts")
# Farthest first costs a pass over all windows for each one; nobody labels more in one sitting.
N_DIVERSE = 1000
CHUNK = 4096


class Queues:
    """The orders in which windows can be labelled.

    Parameters
    ----------
    window_list
        Windows to order.
    answers
        What models predict for them; None leaves `uncertainty` out, and a single head leaves `disagreement` out.
    seed
        Seed of `random`, and of what follows the diverse windows.
    out_of_fold
        Predictions by models that did not learn from a window; None leaves `label errors` out.
    """

    def __init__(
        self, window_list: WindowList, answers: ModelAnswers | None, seed: int, out_of_fold: OutOfFold | None = None
    ) -> None:
        self.window_list, self.answers, self.seed, self.out_of_fold = window_list, answers, seed, out_of_fold
        self._orders: dict[str, list[int]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the queues that can be asked for here."""
        missing = {
            "uncertainty": self.answers is None,
            "disagreement": self.answers is None or self.answers.disagreement is None,
            "label errors": self.out_of_fold is None,
        }
        return [name for name in QUEUES if not missing.get(name, False)]

    def order(self, name: str) -> list[int]:
        """Return the numbers of all windows in the order of a queue; the same at every call and start."""
        if name not in self._orders:
            self._orders[name] = self._computed(name).tolist()
        return self._orders[name]

    def _computed(self, name: str) -> np.ndarray:
        by_time = np.argsort(self.window_list.bars.start_us[self.window_list.first_bar], kind="stable")
        if name == "time":
            return by_time
        if name == "random":
            return generator(self.seed, "label", "random").permutation(len(self.window_list))
        if name == "uncertainty" and self.answers is not None:
            return by_time[np.argsort(-self.answers.entropy()[by_time], kind="stable")]
        if name == "disagreement" and self.answers is not None and self.answers.disagreement is not None:
            return by_time[np.argsort(-self.answers.disagreement[by_time], kind="stable")]
        if name == "diversity":
            return farthest_first(summaries(self.window_list), N_DIVERSE, self.seed)
        raise KeyError(name)

    def next(self, name: str, status: Mapping[str, str], after: str | None = None) -> tuple[int | None, int]:
        """Return the next window of a queue, and how many it has left.

        Parameters
        ----------
        status
            Status of the windows that the annotator has saved, by id. What was skipped comes again when all else
            is done.
        after
            Window that is open now; it is not given again unless no other is left.

        Returns
        -------
        tuple
            Number of the window (None where every one is labelled or rejected), and the windows not yet saved.
        """
        names = self.window_list.window_id
        order = self.order(name)
        n_left = sum(1 for known in names if known not in status)
        fresh = next((number for number in order if names[number] not in status and names[number] != after), None)
        if fresh is not None:
            return fresh, n_left
        waiting = [number for number in order if status.get(names[number], "skipped") == "skipped"]
        if not waiting:
            return None, n_left
        here = next((i for i, number in enumerate(waiting) if names[number] == after), -1)
        return waiting[(here + 1) % len(waiting)], n_left


def next_look(waiting: Sequence[int], order: Sequence[int], after: int | None) -> int | None:
    """Return the next of some windows that wait for a second look, behind the open one in the order, then around."""
    if not waiting:
        return None
    place = {number: i for i, number in enumerate(order)}
    here = -1 if after is None else place.get(after, -1)
    return min(waiting, key=lambda number: (place[number] <= here, place[number]))


def summaries(window_list: WindowList) -> Float[np.ndarray, "windows 22"]:
    """Return mean and spread of each of the eleven features of each window, every column on one scale."""
    parts = []
    for first in range(0, len(window_list), CHUNK):
        table = window_list.table(np.arange(first, min(first + CHUNK, len(window_list))))
        assert table.ohlc is not None
        features = relative_features(table.ohlc)
        parts.append(np.concatenate([features.mean(axis=1), features.std(axis=1)], axis=1))
    found = np.concatenate(parts)
    spread = found.std(axis=0)
    scaled: np.ndarray = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def farthest_first(
    points: Float[np.ndarray, "windows columns"], n_first: int, seed: int
) -> Int[np.ndarray, " windows"]:
    """Order points so that each of the first `n_first` is the farthest from all before it (Gonzalez 1985).

    Begins with the point nearest to the mean; the first of equals wins. The rest follows at random.
    """
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(n_first, len(points)):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    shuffled = generator(seed, "label", "diversity").permutation(rest)
    return np.concatenate([np.array(chosen, dtype=np.int64), shuffled])


# A stored label as the page gets it: bar positions of its window instead of times.


def marks_of(window_list: WindowList, number: int, label: WindowLabel) -> tuple[Mark, ...] | None:
    """Return a label's expansions as bars of its window; None where it is over other bars than the window's."""
    times = window_list.times(number)
    place = {int(time): bar for bar, time in enumerate(times)}
    marked = {time for mark in label.expansions for time in (mark.start_us, mark.end_us)}
    ours = (label.start_us, label.end_us) == (int(times[0]), int(times[-1])) and marked <= set(place)
    if not ours or label.symbol != window_list.symbol(number):
        return None
    return tuple(Mark(place[mark.start_us], place[mark.end_us], mark.label) for mark in label.expansions)


def shown_label(window_list: WindowList, number: int, label: WindowLabel) -> dict[str, Any]:
    """Turn a stored label into what the page shows.

    Raises
    ------
    InvalidData
        The store's label of this id is over other bars: nothing of it can be shown here, nor replaced.
    """
    marks = marks_of(window_list, number, label)
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


# Everybody's current labels of these windows, in memory, and true to the store.


class LabelsHere:
    """Labels by annotator and window; read again where another process wrote to the store."""

    def __init__(self, window_list: WindowList, store: LabelStore, number: Mapping[str, int]) -> None:
        self._window_list, self._store, self._number = window_list, store, number
        self._version: int | None = None
        self._by_annotator: dict[str, dict[str, WindowLabel]] = {}
        self._status: dict[str, dict[str, str]] = {}
        self._marks: dict[tuple[str, str], tuple[Mark, ...] | None] = {}

    def of(self, annotator: str) -> Mapping[str, WindowLabel]:
        """Return an annotator's labels by window."""
        self._read()
        return self._by_annotator.get(annotator, {})

    def status(self, annotator: str) -> Mapping[str, str]:
        """Return the status of each window that an annotator has saved."""
        self._read()
        return self._status.get(annotator, {})

    def all(self) -> list[WindowLabel]:
        """Return the labels of all annotators, annotator by annotator."""
        self._read()
        return [label for labels in self._by_annotator.values() for label in labels.values()]

    def of_several(self) -> list[WindowLabel]:
        """Return the labels of the windows that more than one annotator saved."""
        labels = self.all()
        count = Counter(label.window_id for label in labels)
        return [label for label in labels if count[label.window_id] > 1]

    def marks(self, label: WindowLabel) -> tuple[Mark, ...] | None:
        """Return the expansions of one of these labels as bars; None where it is over other bars than its window's."""
        key = (label.window_id, label.annotator)
        if key not in self._marks:
            self._marks[key] = marks_of(self._window_list, self._number[label.window_id], label)
        return self._marks[key]

    def remember(self, label: WindowLabel) -> None:
        """Take in what was just saved through this page."""
        self._read()
        self._take(label)

    def _read(self) -> None:
        version = self._store.foreign_changes()
        if version == self._version:
            return
        self._by_annotator, self._status, self._marks = {}, {}, {}
        for label in self._store.all():
            if label.window_id in self._number:
                self._take(label)
        self._version = version

    def _take(self, label: WindowLabel) -> None:
        # What a page that is open for weeks holds must not grow with every save of the same window.
        self._marks.pop((label.window_id, label.annotator), None)
        self._by_annotator.setdefault(label.annotator, {})[label.window_id] = label
        self._status.setdefault(label.annotator, {})[label.window_id] = label.status


# Several annotators on one list: how each labelled a window, how far they agree, and what waits for a decision.


class Review:
    """The labels of everybody over one list of windows."""

    def __init__(
        self, window_list: WindowList, store: LabelStore, labels: LabelsHere, number: Mapping[str, int]
    ) -> None:
        self.window_list, self.store, self.labels, self._number = window_list, store, labels, number

    def opinions(self, window_id: str, annotator: str) -> list[dict[str, Any]]:
        """Return how everybody but one annotator labelled a window.

        Raises
        ------
        WrongUsage
            That one has not labelled the window, and fewer than two others have: there is nothing to decide yet, and
            one's own answer comes before another's is seen.
        InvalidData
            A label is over other bars.
        """
        judged = [label for label in self.store.of_window(window_id) if label.status != "skipped"]
        others = [label for label in judged if label.annotator != annotator]
        if len(others) < 2 and len(others) == len(judged):
            raise WrongUsage(
                "a window must be labelled by you or by two others before labels are compared, but it was labelled by "
                f"{len(others)} other. Save yours first."
            )
        number = self._number[window_id]
        return [{"annotator": label.annotator, **shown_label(self.window_list, number, label)} for label in others]

    def of(self, annotator: str) -> dict[str, Any]:
        """Return the agreement of every pair, and the windows on which annotators differ, in time order.

        A window is decided for an annotator who labelled it beside two or more others: that one's word decides
        (`labels export --resolve NAME`). One of two who differ ends the conflict by changing the label.
        """
        # Who labelled nothing that another did is in the pairs too.
        return {"agreement": agreement(self.labels.all(), self._marks()), "conflicts": self._conflicts(annotator)}

    def waiting(self, annotator: str) -> list[int]:
        """Return the numbers of windows in conflict that this annotator has not decided, in time order."""
        return [self._number[one["window_id"]] for one in self._conflicts(annotator) if not one["decided"]]

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
                    "symbol": self.window_list.symbol(number),
                    "start_us": int(self.window_list.times(number)[0]),
                    "annotators": names,
                    "decided": annotator in names and len(names) > 2,
                }
            )
        found.sort(key=lambda entry: (entry["start_us"], entry["window_id"]))
        return found

    def _marks(self) -> dict[tuple[str, str], tuple[Mark, ...]]:
        labelled = (label for label in self.labels.of_several() if label.status == "labelled")
        placed = {(label.window_id, label.annotator): self.labels.marks(label) for label in labelled}
        return {key: marks for key, marks in placed.items() if marks is not None}
