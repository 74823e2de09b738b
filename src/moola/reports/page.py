"""The page itself: one template, one style sheet, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

TEMPLATE, STYLE = "template.html.j2", "style.css"


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


def render(**context: Any) -> bytes:
    """Fill the template; whatever is not markup made here is escaped.

    The style sheet is named by its hash in the page's content policy, so that no style, script, image
    or request that text could smuggle in would be followed.
    """
    template, style = (_resource(name) for name in (TEMPLATE, STYLE))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # The style sheet is a file of this package.
    sheet = Markup(style)  # noqa: S704
    page = environment.from_string(template).render(style=sheet, style_hash=hashed, **context)
    return page.encode("utf-8", errors="replace")


def _resource(name: str) -> str:
    return resources.files("moola.reports").joinpath(name).read_text(encoding="utf-8")
