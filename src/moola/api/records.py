"""What stages answer, as dicts that a notebook shows as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import escape

VERDICT_COLUMNS = ("metric", "challenger", "baseline", "trivial", "difference", "low", "high", "holds")


def table_html(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a small table for a notebook; every text is escaped."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell_text(cell))}</td>' for cell in row)}</tr>" for row in rows)
    heading = f"<thead><tr>{cells}</tr></thead>" if head else ""
    return f"<table><caption>{escape(title)}</caption>{heading}<tbody>{body}</tbody></table>"


def cell_text(value: Any) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell_text(one) for one in value)
    return str(value)


class Record(dict[str, Any]):
    """What a stage answered: a dict, shown as a table in a notebook."""

    def __init__(self, title: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.title = title

    def _repr_html_(self) -> str:
        return table_html(self.title, (), [(name, value) for name, value in self.items() if value is not None])


class Verdict(Record):
    """What the gate answered: a dict with `verdict`, `reason` and `comparisons`, shown as a table in a notebook."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(f"{content['verdict']}: {content['reason']}", content)

    def _repr_html_(self) -> str:
        rows = [[row.get(name) for name in VERDICT_COLUMNS] for row in self["comparisons"]]
        head = ("metric", "challenger", "baseline", "uninformed", "difference", "low", "high", "rule holds")
        title = f"{self.title}. {self['n_windows']} windows of {self['part']}, against {self['baseline']}"
        return table_html(title, head, rows)
