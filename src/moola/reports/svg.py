"""Drawing elements that text cannot break: every attribute and child is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Tick = tuple[float, str]


def number(value: float) -> str:
    """Write a coordinate with two decimals at most, so that equal input gives equal bytes."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def element(tag: str, *children: str, **attributes: float | str | None) -> Markup:
    """Build `<tag ...>children</tag>`; `class_` is `class`, and `text_anchor` is `text-anchor`.

    Children that are markup stay as they are, any other text is escaped; attributes that are None
    are left out.
    """
    pairs = ""
    for name, value in attributes.items():
        if value is not None:
            shown = value if isinstance(value, str) else number(value)
            pairs += f' {name.rstrip("_").replace("_", "-")}="{escape(shown)}"'
    inside = "".join(str(escape(child)) for child in children)
    # Tag and attribute names are ours; what comes from outside went through escape.
    return Markup(f"<{tag}{pairs}>{inside}</{tag}>")  # noqa: S704


def drawing(width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """Wrap parts as one image with a text for those who cannot see it."""
    size = f"0 0 {number(width)} {number(height)}"
    return element("svg", *parts, viewBox=size, role="img", aria_label=label, class_="drawing")


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Draw a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """Draw a rectangle; a negative size is drawn as none."""
    return element("rect", x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=class_)


def text(x: float, y: float, content: str, anchor: str = "start", class_: str | None = None) -> Markup:
    """Write a line of text."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def polyline(points: Iterable[tuple[float, float]], class_: str) -> Markup:
    """Draw a line through points."""
    return element("polyline", points=" ".join(f"{number(x)},{number(y)}" for x, y in points), class_=class_)


@dataclass(frozen=True)
class Axes:
    """A rectangle of the drawing and the values that its edges stand for."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """Place a value across; the edges' values fall on the edges."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * self.width

    def y(self, value: float) -> float:
        """Place a value upwards."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * self.height

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
        """Place pairs of values."""
        return [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]

    def frame(self, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_title: str, y_title: str) -> list[Markup]:
        """Draw grid lines, tick labels and titles."""
        parts = []
        for value, label in y_ticks:
            parts.append(line(self.left, self.y(value), self.right, self.y(value), "gridline"))
            parts.append(text(self.left - 5, self.y(value) + 3.5, label, "end", "tick"))
        for value, label in x_ticks:
            parts.append(line(self.x(value), self.bottom, self.x(value), self.bottom + 3, "gridline"))
            parts.append(text(self.x(value), self.bottom + 14, label, "middle", "tick"))
        parts.append(line(self.left, self.bottom, self.right, self.bottom, "axis"))
        if x_title:
            parts.append(text(self.left + self.width / 2, self.bottom + 29, x_title, "middle", "name"))
        if y_title:
            parts.append(text(self.left - 30, self.top - 10, y_title, "start", "name"))
        return parts
