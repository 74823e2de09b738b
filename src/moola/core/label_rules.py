"""How one annotator labels a window or a chart: classes with bar times, a grade, a note; and the rules of a label."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from moola.core.spans import ACCEPTED, CORRECTED, is_one_line
from moola.errors import InvalidData

GRADES = ("A", "B", "C", "D")
STATUSES = ("labelled", "rejected", "skipped")
MAX_NAME_CHARACTERS = 300
MAX_TEXT_CHARACTERS = 20_000
MAX_EXPANSIONS = 100
INT64 = 2**63


@dataclass(frozen=True)
class Expansion:
    """One marked move.

    Attributes
    ----------
    start_us, end_us
        Times of its first and last bar, inclusive, microseconds since 1970 in UTC: taken from the bars.
    label
        Class, as `consolidation`.
    """

    start_us: int
    end_us: int
    label: str


# Where a span came from: a person alone, or what a model proposed and a person accepted or corrected.
SOURCES = ("", ACCEPTED, CORRECTED)


@dataclass(frozen=True)
class ChartSpan:
    """One piece of a chart with a class: times of its first and last bar, as of `Expansion`, and a note.

    `source` is one of `SOURCES`; `bars` the SHA-256 of the bars under it (`label_positions.on_bars`), the empty string
    where they are not known.
    """

    start_us: int
    end_us: int
    label: str
    note: str = ""
    source: str = ""
    bars: str = field(default="", compare=False)


@dataclass(frozen=True)
class ChartLabels:
    """What one annotator marked on one chart.

    Attributes
    ----------
    symbol
        Symbol of the chart's bars; the empty string where they name none.
    annotator
        Who marked it.
    spans
        Marked pieces, of any length.
    stretches
        First and last moment, microseconds since 1970 in UTC, of each stretch of which the annotator saw all bars.
    revision, saved_us
        As of `WindowLabel`.
    rejected
        What a model proposed and the annotator rejected: no labels, but bars that were looked at.
    """

    symbol: str
    annotator: str
    spans: tuple[ChartSpan, ...]
    stretches: tuple[tuple[int, int], ...] = ()
    revision: int = 0
    saved_us: int = 0
    rejected: tuple[ChartSpan, ...] = ()


@dataclass(frozen=True)
class WindowLabel:
    """How one annotator labels one window.

    Attributes
    ----------
    window_id
        Id of the window.
    symbol
        Symbol of its bars; the empty string where the bars name none.
    start_us, end_us
        Times of its first and last bar, microseconds since 1970 in UTC.
    annotator
        The annotator.
    grade
        `A` to `D`; the empty string where it was not graded.
    reason
        Why a window is rejected; the empty string otherwise.
    note
        Free text.
    expansions
        Marked moves in their order; empty where the window has none.
    status
        `labelled`, `rejected` or `skipped`.
    revision
        How many saves there were of this window by this annotator; 0 before the first.
    saved_us
        Clock time of the save. It is for history alone: no time of a bar is ever taken from it.
    """

    window_id: str
    symbol: str
    start_us: int
    end_us: int
    annotator: str
    grade: str
    reason: str
    note: str
    expansions: tuple[Expansion, ...]
    status: str
    revision: int = 0
    saved_us: int = 0

    @property
    def class_text(self) -> str:
        """Classes of the expansions in time order, joined by `+`; `none` where there is no expansion."""
        ordered = sorted(self.expansions, key=lambda expansion: (expansion.start_us, expansion.end_us))
        return "+".join(expansion.label for expansion in ordered) or "none"

    def has_same_content(self, other: WindowLabel) -> bool:
        """Return whether two labels differ in nothing but the number and time of their save."""
        return replace(self, revision=0, saved_us=0) == replace(other, revision=0, saved_us=0)


def check_label(label: WindowLabel) -> None:
    """Refuse a label that no window can have.

    Raises
    ------
    InvalidData
        Every broken rule in one message; nothing was saved.
    """
    broken = _text_rules(label) + _mark_rules(label)
    if broken:
        rules = "; ".join(broken)
        raise InvalidData(f"a label must obey every rule, but {label.window_id[:100]!r} breaks {len(broken)}: {rules}.")


def _text_rules(label: WindowLabel) -> list[str]:
    broken = []
    names = {"window_id": label.window_id, "annotator": label.annotator}
    names |= {f"label of expansion {i + 1}": expansion.label for i, expansion in enumerate(label.expansions)}
    for name, text in names.items():
        if not text.strip() or len(text) > MAX_NAME_CHARACTERS:
            broken.append(f"{name} must have 1 to {MAX_NAME_CHARACTERS} characters (found {len(text)})")
    for i, expansion in enumerate(label.expansions):
        if not is_one_line(expansion.label):
            broken.append(f"the class of expansion {i + 1} must be one printable line (found {expansion.label[:40]!a})")
    texts = {"symbol": label.symbol, "reason": label.reason, "note": label.note}
    for name, text in texts.items():
        if len(text) > MAX_TEXT_CHARACTERS:
            broken.append(f"{name} must have at most {MAX_TEXT_CHARACTERS:,} characters (found {len(text):,})")
    for name, text in (names | texts).items():
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            broken.append(f"{name} must be plain Unicode text")
    if label.status not in STATUSES:
        broken.append(f"status must be one of {', '.join(STATUSES)} (found {label.status[:40]!r})")
    if label.grade not in ("", *GRADES):
        broken.append(f"grade must be A to D or empty (found {label.grade[:40]!r})")
    return broken


def _mark_rules(label: WindowLabel) -> list[str]:
    times = [label.start_us, label.end_us]
    times += [time for expansion in label.expansions for time in (expansion.start_us, expansion.end_us)]
    if any(not -INT64 <= time < INT64 for time in times):
        return ["times must be microseconds of 64 bits"]
    broken = []
    if label.end_us < label.start_us:
        broken.append("end_us must not be before start_us")
    if len(label.expansions) > MAX_EXPANSIONS:
        broken.append(f"a window must have at most {MAX_EXPANSIONS} expansions (found {len(label.expansions)})")
    for i, expansion in enumerate(label.expansions):
        if not label.start_us <= expansion.start_us <= expansion.end_us <= label.end_us:
            broken.append(f"expansion {i + 1} must start, then end, inside its window")
    if len({(expansion.start_us, expansion.end_us) for expansion in label.expansions}) < len(label.expansions):
        broken.append("two expansions must not have the same first and last bar")
    return broken
