"""A model that learns beside the page, in the background, from what one person marks; it never changes a label."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from moola.core.bars import Bars
from moola.core.seeds import generator
from moola.core.spans import bars_covered
from moola.errors import MoolaError
from moola.label.chart_state import ChartState

if TYPE_CHECKING:
    from moola.fit.label_learning import PersonMarks, Proposals
    from moola.models.model_files import ModelFile

log = logging.getLogger(__name__)
# Saves after which the first fit is made again, and the longer one; bars that the view may move before it is.
FEW_SAVES, MORE_SAVES, MOVED_BARS = 3, 10, 600
# Similar spans: how many, and in pieces of how many bars they are searched.
N_LIKE, LIKE_BARS = 20, 2000


@dataclass
class Learned:
    """What is known of one person's labels on one chart.

    Attributes
    ----------
    revision, around
        Labels and bar that the proposals are of.
    version
        Goes up with every new answer.
    """

    revision: int = -1
    around: int = 0
    version: int = 0
    proposals: Proposals | None = None
    progress: dict[str, Any] | None = None
    model: ModelFile | None = None
    model_revision: int = -1
    problem: str = ""
    n_asked: int = 0
    doubted: set[tuple[int, int, str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Learner:
    """Fits in threads of its own: a short fit after every few saves, a longer one and figures when there is time.

    Parameters
    ----------
    is_on
        Whether anything is learned at all.
    """

    def __init__(self, page_state: ChartState, seed: int, *, is_on: bool) -> None:
        self.page_state, self.seed, self.is_on = page_state, seed, is_on
        self._known: dict[tuple[str, str], Learned] = {}
        self._busy: dict[str, threading.Thread] = {}
        self._alike: dict[tuple[str, int, int], list[tuple[int, int, float]] | str] = {}

    def status(self, symbol: str, annotator: str, around: int, version: int) -> dict[str, Any]:
        """Return what is known, and start to learn what is not; proposals only where they are newer than `version`."""
        if not self.is_on:
            return {
                "is_on": False,
                "is_busy": False,
                "message": "Off (--no-model).",
                "version": 0,
                "proposals": [],
                "progress": None,
            }
        known = self._of(symbol, annotator)
        marks, revision = self._marks(symbol, annotator)
        first = known.revision < 0 and len(marks.span) > 0
        if first or revision >= known.revision + FEW_SAVES or self._moved(known, around, revision):
            self._start("short", lambda: self._short(known, marks, revision, around))
        elif known.proposals is not None and revision >= known.model_revision + MORE_SAVES and known.revision >= 0:
            self._start("long", lambda: self._long(known, marks, revision, around))
        found = known.proposals
        n_spans = len(marks.span)
        nothing_yet = f"Learning from {n_spans} spans ..." if n_spans else "Mark spans: proposals come after eight."
        message = known.problem or (found.message if found is not None else nothing_yet)
        status = {
            "is_on": True,
            "is_busy": self.is_busy,
            "message": message,
            "version": known.version,
            "progress": known.progress,
        }
        if found is not None and known.version > version:
            shown = np.flatnonzero(found.prob >= found.threshold)
            status["proposals"] = [_proposal_row(found, int(row)) for row in shown]
        return status

    @property
    def is_busy(self) -> bool:
        """Whether a fit is under way."""
        return any(thread.is_alive() for thread in self._busy.values())

    def wait(self) -> None:
        """Wait until no fit is under way."""
        for thread in list(self._busy.values()):
            thread.join()

    def _of(self, symbol: str, annotator: str) -> Learned:
        return self._known.setdefault((symbol, annotator), Learned())

    def _moved(self, known: Learned, around: int, revision: int) -> bool:
        if known.revision < 0:
            return False
        grew = revision > known.revision and (known.proposals is None or not len(known.proposals.bar))
        return grew or abs(known.around - around) > MOVED_BARS

    def _start(self, what: str, work: Callable[[], None]) -> None:
        if what in self._busy and self._busy[what].is_alive():
            return
        self._busy[what] = threading.Thread(target=work, name=f"moola {what} fit", daemon=True)
        self._busy[what].start()

    def _short(self, known: Learned, marks: PersonMarks, revision: int, around: int) -> None:
        from moola.fit.label_learning import propose

        try:
            file, device = _encoder()
            found = propose(marks, file, around, self.seed, device, known.model)
            problem = ""
        except MoolaError as error:
            found, problem = None, str(error)
        with known.lock:
            known.revision, known.around, known.problem = revision, around, problem
            known.proposals = found if found is not None else known.proposals
            known.version += 1

    def _long(self, known: Learned, marks: PersonMarks, revision: int, around: int) -> None:
        from moola.fit.label_learning import learn_presence, may_learn_presence, propose
        from moola.fit.label_progress import learning_progress

        file, device = _encoder()
        found, progress, model = None, known.progress, known.model
        try:
            progress = learning_progress(marks, file, self.seed, device)
            known.progress = progress
            if may_learn_presence(marks):
                model = learn_presence(marks, file, around, self.seed, device)
                found = propose(marks, file, around, self.seed, device, model)
        except MoolaError as error:
            log.info("Not learned yet: %s", error)
        with known.lock:
            known.model_revision, known.progress, known.model = revision, progress, model
            known.proposals = found if found is not None else known.proposals
            known.version += 1

    def _marks(self, symbol: str, annotator: str) -> tuple[PersonMarks, int]:
        from moola.fit.label_learning import PersonMarks

        labels = self.page_state.labels(symbol, annotator)
        bars: Bars = self.page_state.bars.of(symbol)
        spans = labels["spans"]
        return PersonMarks(
            bars,
            _pieces([(one["start"], one["end"]) for one in spans]),
            [one["label"] for one in spans],
            np.array([one["source"] != "" for one in spans], dtype=bool),
            _pieces(labels["stretches"]),
            _pieces([(one["start"], one["end"]) for one in labels["rejected"]]),
        ), labels["revision"]

    # Spans like a marked one.

    def like(self, symbol: str, start: int, end: int, label: str) -> dict[str, Any]:
        """Return the spans most similar to one, in the bars around it; search for them first where nobody did."""
        if not self.is_on:
            return {"is_busy": False, "message": "Off (--no-model).", "proposals": []}
        key = (symbol, start, end)
        if key not in self._alike:
            self._start("similar", lambda: self._search(key))
            return {"is_busy": True, "message": "Searching the bars around it.", "proposals": []}
        found = self._alike[key]
        if isinstance(found, str):
            return {"is_busy": False, "message": found, "proposals": []}
        rows = [{"start": first, "end": last, "label": label, "prob": alike} for first, last, alike in found]
        message = f"{len(rows)} spans like it within {LIKE_BARS} bars; their figure is a similarity, not a probability."
        return {"is_busy": False, "message": message, "proposals": rows}

    def _search(self, key: tuple[str, int, int]) -> None:
        from moola.scan.similar_spans import similar_spans

        symbol, start, end = key
        bars = self.page_state.bars.of(symbol)
        # A piece of the grid: another span near it meets vectors that were kept.
        first = max((start // LIKE_BARS - 1) * LIKE_BARS, 0)
        piece = slice(first, min(first + 3 * LIKE_BARS, len(bars)))
        folder = self.page_state.store.path.parent / "page" / "vectors"
        try:
            found = similar_spans(bars.take(piece), (start - first, end - first), _encoder()[0], N_LIKE, folder=folder)
        except MoolaError as error:
            self._alike[key] = str(error)
            return
        pairs = zip(found.bar.tolist(), found.similarity.tolist(), strict=True)
        self._alike[key] = sorted((first + one, first + last, round(alike, 3)) for (one, last), alike in pairs)

    # What to look at next.

    def next(self, symbol: str, annotator: str, queue: str, after: int) -> dict[str, Any]:
        """Return a bar to look at, and why; every other place of `mixed` is drawn without the model."""
        known = self._of(symbol, annotator)
        marks, _ = self._marks(symbol, annotator)
        known.n_asked += 1
        found = known.proposals if self.is_on else None
        if queue == "mixed":
            by_model = known.n_asked % 2 == 0 and found is not None and len(found.bar)
            queue = "unsure" if by_model else "drawn"
        if queue == "annotators":
            return self._differing(symbol, annotator, after)
        if queue == "errors":
            return self._doubted(marks, found, known)
        pieces = np.concatenate([marks.stretches, marks.span, marks.rejected])
        taken = bars_covered(len(marks.bars), pieces[:, 0], pieces[:, 1])
        return self._unmarked(taken, found, queue, f"{annotator} {known.n_asked}")

    def _unmarked(self, taken: np.ndarray, found: Proposals | None, queue: str, turn: str) -> dict[str, Any]:
        """Return a place that nobody marked: by a rule, or drawn."""
        free = np.flatnonzero(~taken)
        if not len(free):
            return _place(None, "Every bar was looked at.")
        if queue == "drawn":
            bar = int(generator(self.seed, "look", turn).choice(free))
            return _place(bar, "Drawn at random, without the model.")
        far = [] if found is None or queue != "different" else [bar for bar in found.far_bar if not taken[bar]]
        if far:
            return _place(far[0], "Unlike anything that is marked.")
        if queue in ("unsure", "unseen") and found is not None and len(found.bar):
            return _by_probability(found, taken, queue)
        return _place(None, "Nothing of this kind yet: it comes with more labels.")

    def _doubted(self, marks: PersonMarks, found: Proposals | None, known: Learned) -> dict[str, Any]:
        """Return the span whose class is likeliest wrong of those that were not asked for yet, each once."""
        held = set(zip(*marks.span.T.tolist(), marks.label, strict=True))
        order = [] if found is None else [one for one in found.suspicion if one in held]
        if not order:
            return _place(None, "No span can be doubted yet: it comes with more labels of two classes.")
        if not set(order) - known.doubted:
            known.doubted.clear()
        start, end, label = next(one for one in order if one not in known.doubted)
        known.doubted.add((start, end, label))
        return _place((start + end) // 2, f"Is this {label}? Others of its kind look different.", (start, end))

    def _differing(self, symbol: str, annotator: str, after: int) -> dict[str, Any]:
        rows = [one for one in self.page_state.all() if one["symbol"] == symbol and one["start"] is not None]
        mine = [one for one in rows if one["annotator"] == annotator]
        for other in sorted(rows, key=lambda one: (one["start"] <= after, one["start"])):
            if other["annotator"] == annotator:
                continue
            met = [one for one in mine if one["start"] <= other["end"] and one["end"] >= other["start"]]
            if met and all(one["label"] != other["label"] for one in met):
                question = f"{other['annotator']} says {other['label']} here, you say {met[0]['label']}."
                return _place(other["start"], question, (met[0]["start"], met[0]["end"]))
        return _place(None, "No span of yours has another class by another annotator.")


def _by_probability(found: Proposals, taken: np.ndarray, queue: str) -> dict[str, Any]:
    free = np.flatnonzero([not taken[first : last + 1].any() for first, last in found.bar])
    if not len(free):
        return _place(None, "Every proposal here was answered.")
    if queue == "unsure":
        row = int(free[np.abs(found.prob[free] - found.threshold).argmin()])
        why = f"The model is unsure: {found.label[row]}, {100 * found.prob[row]:.0f} %."
    else:
        row = int(free[found.prob[free].argmax()])
        why = f"The model is sure and nobody has looked: {found.label[row]}, {100 * found.prob[row]:.0f} %."
    return _place(int(found.bar[row].mean()), why)


def _place(bar: int | None, why: str, span: tuple[int, int] | None = None) -> dict[str, Any]:
    return {"bar": bar, "why": why, "span": span}


def _pieces(pieces: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pieces, dtype=np.int64).reshape(-1, 2)


def _proposal_row(found: Proposals, row: int) -> dict[str, Any]:
    start, end = found.bar[row].tolist()
    return {"start": start, "end": end, "label": found.label[row], "prob": round(float(found.prob[row]), 3)}


@cache
def _encoder() -> Any:
    from moola.models.model_files import BASE_NAME, read_encoder
    from moola.training.device import prepare_device

    return read_encoder(BASE_NAME), prepare_device("cpu", 1)
