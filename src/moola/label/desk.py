"""The labelling desk: one shelf of windows, one label store, and what the page is told of both."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moola.core.windows import inner_zone
from moola.data.contracts.label_store import GRADES, Expansion, LabelStore, WindowLabel
from moola.errors import WrongUsage
from moola.files import sha256_bytes
from moola.label.labels_here import LabelsHere
from moola.label.model import ModelAnswers
from moola.label.out_of_fold import OutOfFold
from moola.label.queue import SECOND_LOOKS, Queues, next_look
from moola.label.review import Review
from moola.label.telling import tell
from moola.label.windows import Shelf
from moola.pipeline.labels.mark_warnings import mark_warnings
from moola.pipeline.labels.places import Mark, bars_content

REASONS = ("no clear move", "two moves run together", "gap or bad data", "news spike", "too short", "not sure")


@dataclass
class Desk:
    """Everything that the page's requests work on."""

    shelf: Shelf
    store: LabelStore
    answers: ModelAnswers | None
    annotator: str
    classes: tuple[str, ...]
    context_bars: int
    seed: int
    model_name: str | None = None
    out_of_fold: OutOfFold | None = None
    _number: dict[str, int] = field(init=False)
    _labels: LabelsHere = field(init=False)
    _saved_here: dict[str, set[str]] = field(init=False, default_factory=dict)
    queues: Queues = field(init=False)
    review: Review = field(init=False)

    def __post_init__(self) -> None:
        self._number = {name: i for i, name in enumerate(self.shelf.window_id)}
        self.queues = Queues(self.shelf, self.answers, self.seed, self.out_of_fold)
        self._labels = LabelsHere(self.shelf, self.store, self._number)
        self.review = Review(self.shelf, self.store, self._labels, self._number)

    def settings(self) -> dict[str, Any]:
        """Return what the page needs once."""
        return {
            # Drafts in the browser are of one store: another one behind the same port must not get them.
            "scope": sha256_bytes(os.path.realpath(self.store.path).encode())[:12],
            "annotator": self.annotator,
            "classes": list(self.classes),
            "grades": list(GRADES),
            "reasons": list(REASONS),
            "queues": self.queues.names,
            "n_suspected": 0 if self.out_of_fold is None else self.out_of_fold.n_suspected,
            "model": self.model_name,
            "window_bars": self.shelf.window_bars,
            "inner_zone": list(inner_zone(self.shelf.window_bars)),
            "n_windows": len(self.shelf),
        }

    def knows(self, window_id: str) -> bool:
        """Tell whether a window is on the shelf."""
        return window_id in self._number

    def window(self, window_id: str, annotator: str, assist: bool) -> dict[str, Any]:
        """Return a window's bars with context, the annotator's label, and the model's answer where it may be shown.

        The model's answer is there when the annotator has given theirs, or asks for help (`assist`). Where the window
        was predicted out of fold, that is shown: a model agrees too readily with labels that it learned.
        """
        number = self._number[window_id]
        low, high = self.shelf.with_context(number, self.context_bars)
        label = self.store.get(window_id, annotator)
        has_answered = label is not None and label.status != "skipped"
        return {
            "id": window_id,
            "symbol": self.shelf.symbol(number),
            "bar_us": self.shelf.bar_us(number),
            "number": number,
            "first": int(self.shelf.first_bar[number]) - low,
            "times_us": self.shelf.bars.start_us[low:high].tolist(),
            "ohlc": self.shelf.bars.ohlc[low:high].tolist(),
            "label": self.told(label),
            "model": self._answer(number) if assist or has_answered else None,
        }

    def _answer(self, number: int) -> dict[str, Any] | None:
        if self.out_of_fold is not None and number in self.out_of_fold.answers:
            return self.out_of_fold.answers[number]
        return None if self.answers is None else self.answers.of(number)

    def told(self, label: WindowLabel | None) -> dict[str, Any] | None:
        """Turn a stored label into bar positions; None where there is none.

        Raises
        ------
        InvalidData
            It is over other bars than its window.
        """
        return None if label is None else tell(self.shelf, self._number[label.window_id], label)

    def save(
        self, window_id: str, annotator: str, status: str, marks: list[Mark], texts: dict[str, str], expected: int
    ) -> dict[str, Any]:
        """Save a label; its times are those of the bars that were marked.

        Raises
        ------
        WrongUsage
            A mark is outside the window or its class unknown; grade D and `rejected` do not go together.
        LabelConflict
            Another save was first.
        """
        number = self._number[window_id]
        before = self.store.get(window_id, annotator)
        self.told(before)
        kept = () if before is None else tuple(mark.label for mark in before.expansions)
        self._check(status, marks, texts, kept)
        times = self.shelf.times(number)
        marked = tuple(Expansion(int(times[mark.start]), int(times[mark.end]), mark.label) for mark in marks)
        label = WindowLabel(
            window_id=window_id,
            symbol=self.shelf.symbol(number),
            start_us=int(times[0]),
            end_us=int(times[-1]),
            annotator=annotator,
            expansions=marked,
            status=status,
            grade=texts["grade"],
            reason=texts["reason"],
            note=texts["note"],
        )
        first = int(self.shelf.first_bar[number])
        ohlc = self.shelf.bars.ohlc[first : first + self.shelf.window_bars]
        return self._remember(self.store.save(label, expected, bars_content(times, ohlc)))

    def warnings(self, marks: list[Mark]) -> list[str]:
        """Say what is unusual about the marks of one window; it is saved all the same."""
        return [text for _, text in mark_warnings(marks, self.shelf.window_bars)]

    def undo(self, window_id: str, annotator: str, expected: int) -> dict[str, Any] | None:
        """Bring back what was saved before; None where nothing was."""
        found = self.store.undo(window_id, annotator, expected)
        return None if found is None else self._remember(found)

    def _remember(self, saved: WindowLabel) -> dict[str, Any]:
        self._labels.remember(saved)
        self._saved_here.setdefault(saved.annotator, set()).add(saved.window_id)
        told = self.told(saved)
        assert told is not None
        return told

    def _check(self, status: str, marks: list[Mark], texts: dict[str, str], kept: tuple[str, ...]) -> None:
        last = self.shelf.window_bars - 1
        outside = [mark for mark in marks if not 0 <= mark.start <= mark.end <= last]
        if outside:
            raise WrongUsage(
                f"0 <= start <= end <= {last} must hold for every expansion, but {len(outside)} of {len(marks)} "
                f"breaks it, first {outside[0].start} to {outside[0].end}. Mark it anew."
            )
        unknown = [mark.label for mark in marks if mark.label not in (*self.classes, *kept)]
        if unknown:
            raise WrongUsage(
                f"a class must be one of {', '.join(self.classes)}, but {len(unknown)} of {len(marks)} is not: "
                f"{unknown[0][:40]!r}. Choose one, or start again with --classes."
            )
        if (status == "rejected") != (texts["grade"] == "D" and status != "skipped"):
            raise WrongUsage(
                f"a window must be rejected with grade D and with no other, but status is {status} and grade "
                f"{texts['grade'] or 'empty'}. Change one."
            )

    def next(self, queue: str, annotator: str, after: str | None, assist: bool) -> dict[str, Any]:
        """Return the next window of a queue, None where all are done, and how many are left."""
        if queue not in self.queues.names:
            raise WrongUsage(
                f"a queue must be one of {', '.join(self.queues.names)}, but it is {queue[:40]!r}. Choose one"
                f"{'' if self.answers else ', or start with --model for uncertainty'}."
            )
        if queue in SECOND_LOOKS:
            number, n_left = self._second_look(queue, annotator, None if after is None else self._number.get(after))
        else:
            number, n_left = self.queues.next(queue, self._labels.status(annotator), after)
        found = None if number is None else self.window(self.shelf.window_id[number], annotator, assist)
        return {"window": found, "left": n_left}

    def _second_look(self, queue: str, annotator: str, after: int | None) -> tuple[int | None, int]:
        """Return the next window to look at again, and how many wait for that."""
        if queue == "conflicts":
            waiting = self.review.waiting(annotator)
            by_time = self.queues.order("time")
            return next_look(waiting, by_time, after), len(waiting)
        assert self.out_of_fold is not None
        seen = self._seen_again(annotator)
        waiting = [number for number in self.out_of_fold.order if self.shelf.window_id[number] not in seen]
        return next_look(waiting, self.out_of_fold.order, after), len(waiting)

    def _seen_again(self, annotator: str) -> set[str]:
        """Windows whose given label was judged again: saved since the start, or said otherwise than predicted upon."""
        assert self.out_of_fold is not None
        seen = set(self._saved_here.get(annotator, ()))
        for label in self._labels.of(annotator).values():
            given = self.out_of_fold.given.get(self._number[label.window_id])
            said = frozenset(mark.label for mark in label.expansions) if label.status == "labelled" else frozenset()
            if given is not None and label.status != "skipped" and said != given:
                seen.add(label.window_id)
        return seen

    def progress(self, annotator: str) -> dict[str, Any]:
        """Count an annotator's windows on this shelf by status, and their expansions in the store by class."""
        status = np.array(list(self._labels.status(annotator).values()), dtype=object)
        counts = self.store.counts(annotator)
        classes = {name: counts.get(f"class:{name}", 0) for name in self.classes}
        classes |= {key[6:]: count for key, count in counts.items() if key.startswith("class:")}
        by_status = {name: int((status == name).sum()) for name in ("labelled", "rejected", "skipped")}
        return {"n_windows": len(self.shelf), "left": len(self.shelf) - len(status), **by_status, "classes": classes}
