"""What the page works on: one set of windows, one label store, opened from the options of `label`."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.label_rules import GRADES, Expansion, WindowLabel
from moola.core.windows import inner_zone
from moola.errors import OperationFailed, WrongUsage
from moola.files import sha256_bytes
from moola.label.chart_state import ChartBars, ChartState
from moola.label.page_files import PageFiles
from moola.label.page_learning import Learner
from moola.label.page_model import ModelAnswers, OutOfFold, read_answers, read_out_of_fold
from moola.label.page_queue import SECOND_LOOKS, LabelsHere, Queues, Review, next_look, shown_label
from moola.label.page_windows import WindowList, cut_window_list, window_list_of_file
from moola.labels.label_export import mark_warnings
from moola.labels.label_positions import BarPlaces, Mark, bars_content, learn_bars, read_named_bars, require_same_bars
from moola.options.label_options import LabelOptions
from moola.options.option_fields import refuse_out_of_range
from moola.tables.bar_table import read_volume
from moola.tables.label_store import LabelStore

REASONS = ("no clear move", "two moves run together", "gap or bad data", "news spike", "too short", "not sure")


@dataclass
class PageState:
    """Everything that the page's requests work on."""

    window_list: WindowList
    store: LabelStore
    answers: ModelAnswers | None
    annotator: str
    classes: tuple[str, ...]
    context_bars: int
    seed: int
    model_name: str | None = None
    out_of_fold: OutOfFold | None = None
    volume: np.ndarray | None = None
    bars_path: Path | None = None
    learns: bool = False
    _number: dict[str, int] = field(init=False)
    _labels: LabelsHere = field(init=False)
    _saved_here: dict[str, set[str]] = field(init=False, default_factory=dict)
    queues: Queues = field(init=False)
    review: Review = field(init=False)
    chart: ChartState = field(init=False)
    learner: Learner = field(init=False)
    files: PageFiles = field(init=False)

    def __post_init__(self) -> None:
        self._number = {name: i for i, name in enumerate(self.window_list.window_id)}
        self.queues = Queues(self.window_list, self.answers, self.seed, self.out_of_fold)
        self._labels = LabelsHere(self.window_list, self.store, self._number)
        self.review = Review(self.window_list, self.store, self._labels, self._number)
        self.chart = ChartState(ChartBars(self.window_list.bars, self.volume), self.store)
        self.learner = Learner(self.chart, self.seed, is_on=self.learns)
        self.files = PageFiles(self.store.path, self.bars_path, self.window_list.window_bars)

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
            "window_bars": self.window_list.window_bars,
            "inner_zone": list(inner_zone(self.window_list.window_bars)),
            "n_windows": len(self.window_list),
        }

    def knows(self, window_id: str) -> bool:
        """Return whether a window is on the list."""
        return window_id in self._number

    def window(self, window_id: str, annotator: str, assist: bool) -> dict[str, Any]:
        """Return a window's bars with context, the annotator's label, and the model's answer where it may be shown.

        The model's answer is there when the annotator has given theirs, or asks for help (`assist`). Where the window
        was predicted out of fold, that is shown: a model agrees too readily with labels that it learned.
        """
        number = self._number[window_id]
        low, high = self.window_list.with_context(number, self.context_bars)
        label = self.store.get(window_id, annotator)
        has_answered = label is not None and label.status != "skipped"
        return {
            "id": window_id,
            "symbol": self.window_list.symbol(number),
            "bar_us": self.window_list.bar_us(number),
            "number": number,
            "first": int(self.window_list.first_bar[number]) - low,
            "times_us": self.window_list.bars.start_us[low:high].tolist(),
            "ohlc": self.window_list.bars.ohlc[low:high].tolist(),
            "label": self.label_content(label),
            "model": self._answer(number) if assist or has_answered else None,
        }

    def _answer(self, number: int) -> dict[str, Any] | None:
        if self.out_of_fold is not None and number in self.out_of_fold.answers:
            return self.out_of_fold.answers[number]
        return None if self.answers is None else self.answers.of(number)

    def label_content(self, label: WindowLabel | None) -> dict[str, Any] | None:
        """Turn a stored label into bar positions; None where there is none.

        Raises
        ------
        InvalidData
            It is over other bars than its window.
        """
        return None if label is None else shown_label(self.window_list, self._number[label.window_id], label)

    def save(
        self, window_id: str, annotator: str, status: str, marks: list[Mark], texts: dict[str, str], expected: int
    ) -> dict[str, Any]:
        """Save a label; its times are those of the bars that were marked.

        Raises
        ------
        WrongUsage
            A mark is outside the window or its class unknown; grade D and `rejected` do not go together.
        LabelConflict
            Another save came first.
        """
        number = self._number[window_id]
        before = self.store.get(window_id, annotator)
        self.label_content(before)
        kept = () if before is None else tuple(mark.label for mark in before.expansions)
        self._check(status, marks, texts, kept)
        times = self.window_list.times(number)
        marked = tuple(Expansion(int(times[mark.start]), int(times[mark.end]), mark.label) for mark in marks)
        label = WindowLabel(
            window_id=window_id,
            symbol=self.window_list.symbol(number),
            start_us=int(times[0]),
            end_us=int(times[-1]),
            annotator=annotator,
            expansions=marked,
            status=status,
            grade=texts["grade"],
            reason=texts["reason"],
            note=texts["note"],
        )
        first = int(self.window_list.first_bar[number])
        ohlc = self.window_list.bars.ohlc[first : first + self.window_list.window_bars]
        return self._remember(self.store.save(label, expected, bars_content(times, ohlc)))

    def warnings(self, marks: list[Mark]) -> list[str]:
        """State what is unusual about the marks of one window; it is saved all the same."""
        return [text for _, text in mark_warnings(marks, self.window_list.window_bars)]

    def undo(self, window_id: str, annotator: str, expected: int) -> dict[str, Any] | None:
        """Restore what was saved before; None where nothing was."""
        found = self.store.undo(window_id, annotator, expected)
        return None if found is None else self._remember(found)

    def _remember(self, saved: WindowLabel) -> dict[str, Any]:
        self._labels.remember(saved)
        self._saved_here.setdefault(saved.annotator, set()).add(saved.window_id)
        content = self.label_content(saved)
        assert content is not None
        return content

    def _check(self, status: str, marks: list[Mark], texts: dict[str, str], kept: tuple[str, ...]) -> None:
        last = self.window_list.window_bars - 1
        outside = [mark for mark in marks if not 0 <= mark.start <= mark.end <= last]
        if outside:
            raise WrongUsage(
                f"0 <= start <= end <= {last} must hold for every expansion, but {len(outside)} of {len(marks)} "
                f"breaks it, first {outside[0].start} to {outside[0].end}. Mark it again."
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
        found = None if number is None else self.window(self.window_list.window_id[number], annotator, assist)
        return {"window": found, "left": n_left}

    def _second_look(self, queue: str, annotator: str, after: int | None) -> tuple[int | None, int]:
        """Return the next window to look at again, and how many wait for that."""
        if queue == "conflicts":
            waiting = self.review.waiting(annotator)
            by_time = self.queues.order("time")
            return next_look(waiting, by_time, after), len(waiting)
        assert self.out_of_fold is not None
        seen = self._seen_again(annotator)
        waiting = [number for number in self.out_of_fold.order if self.window_list.window_id[number] not in seen]
        return next_look(waiting, self.out_of_fold.order, after), len(waiting)

    def _seen_again(self, annotator: str) -> set[str]:
        """Windows whose given label was labelled again: saved since the start, or changed from the label evaluated."""
        assert self.out_of_fold is not None
        seen = set(self._saved_here.get(annotator, ()))
        for label in self._labels.of(annotator).values():
            given = self.out_of_fold.given.get(self._number[label.window_id])
            classes = frozenset(mark.label for mark in label.expansions) if label.status == "labelled" else frozenset()
            if given is not None and label.status != "skipped" and classes != given:
                seen.add(label.window_id)
        return seen

    def progress(self, annotator: str) -> dict[str, Any]:
        """Count an annotator's windows on this list by status, and their expansions in the store by class."""
        status = np.array(list(self._labels.status(annotator).values()), dtype=object)
        counts = self.store.counts(annotator)
        classes = {name: counts.get(f"class:{name}", 0) for name in self.classes}
        classes |= {key[6:]: count for key, count in counts.items() if key.startswith("class:")}
        by_status = {name: int((status == name).sum()) for name in ("labelled", "rejected", "skipped")}
        return {
            "n_windows": len(self.window_list),
            "left": len(self.window_list) - len(status),
            **by_status,
            "classes": classes,
        }


# `label` from its options to what the page works on: bars, windows, the model's answers, the store.


def require_label_extra() -> None:
    """State what to install where the server's packages are missing."""
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise OperationFailed(
            f"`moola label` must have FastAPI and uvicorn, but {error.name or 'fastapi'} is not installed. "
            'Install them: pip install "moola[label]".'
        ) from error
    assert fastapi
    assert uvicorn


def open_page_state(options: LabelOptions) -> PageState:
    """Read everything that the page needs; the store is opened last, so that wrong input makes none.

    Raises
    ------
    WrongUsage
        No class, a class twice or empty, too many for the digit keys, or a number out of its range.
    """
    _check(options)
    window_bars = _window_bars(options)
    bars = read_named_bars(options.bars, options.symbol)
    if options.windows is None:
        window_list = cut_window_list(bars, window_bars, options.stride, options.max_gap_hours)
    else:
        window_list = window_list_of_file(bars, options.windows, window_bars)
    answers = read_answers(options.model, window_list, options.device, options.threads) if options.model else None
    out_of_fold = None if options.predictions is None else read_out_of_fold(options.predictions, window_list)
    store = LabelStore(options.store)
    try:
        places = BarPlaces(bars, window_bars)
        require_same_bars(store, places, options.bars, bars.symbols)
        learn_bars(store, places, options.bars)
        store.learn({}, {symbol: places.interval_us(symbol) for symbol in bars.symbols})
        return PageState(
            window_list,
            store,
            answers,
            options.annotator.strip() if options.annotator is not None else _login(),
            options.classes,
            options.context_bars,
            options.seed,
            _name_of(options.model),
            out_of_fold,
            read_volume(options.bars),
            options.bars,
            not options.no_model,
        )
    except BaseException:
        store.close()
        raise


def _window_bars(options: LabelOptions) -> int:
    """Return the length that the options ask, else that of the models."""
    from moola.provenance.learned_times import agreed_window_bars

    if not options.model:
        return agreed_window_bars(options.window_bars, {})
    from moola.models.model_files import read_model

    return agreed_window_bars(options.window_bars, {path: read_model(path).window_bars for path in options.model})


def _check(options: LabelOptions) -> None:
    refuse_out_of_range(options)
    names = options.classes
    if not 1 <= len(names) <= 9 or len(set(names)) < len(names) or any(not name.strip() for name in names):
        raise WrongUsage(
            f"--classes must be 1 to 9 different names, but {len(names)} were given: {', '.join(names) or 'none'}. "
            "Each has a digit key."
        )
    unprintable = [name for name in names if not name.isprintable() or len(name) > 100]
    if unprintable:
        raise WrongUsage(
            f"a class must be one printable line of at most 100 characters, but {len(unprintable)} of --classes is "
            f"not: {unprintable[0][:40]!a}. Rename it."
        )
    if options.annotator is not None and not 1 <= len(options.annotator.strip()) <= 64:
        raise WrongUsage("--annotator must have 1 to 64 characters. Leave it out for the login name.")


def _name_of(models: tuple[Path, ...]) -> str | None:
    if len(models) > 1:
        return f"mean of {len(models)}"
    return models[0].name if models else None


def _login() -> str:
    try:
        return getpass.getuser()[:64]
    except (OSError, KeyError, ImportError):
        # A container may have no name for its user.
        return "annotator"
