"""Charts with their heading, legend and caption, as the template shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend: the class of its swatch, and what it stands for."""

    swatch: str
    name: str


@dataclass(frozen=True)
class Picture:
    """A chart with its heading, legend and caption."""

    heading: str
    chart: Markup
    caption: str
    keys: list[Key] = field(default_factory=list)
