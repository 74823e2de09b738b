"""One window: its bars, the true and the predicted expansion, and the pointer curves below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from moola.core.windows import inner_zone
from moola.reports.svg import Axes, drawing, element, line, number, polyline, rect, text

WIDTH, LEFT, ROOM = 300.0, 50.0, 240.0
PRICE_TOP, PRICE_HEIGHT = 20.0, 130.0
CURVE_HEIGHT = 38.0
BODY_SHARE = 0.7
DOJI_HEIGHT = 0.8
ENDS = ("start", "end")


@dataclass(frozen=True)
class WindowPicture:
    """What one window is drawn from; pointers are -1 where there is none."""

    ohlc: np.ndarray | None
    curves: np.ndarray | None
    true_bar: tuple[int, int]
    predicted_bar: tuple[int, int]
    n_bars: int


def window_chart(picture: WindowPicture, label: str) -> Markup:
    """Draw a window; without prices or without curves that part is left out."""
    n_bars = picture.n_bars
    has_prices = picture.ohlc is not None
    height = PRICE_HEIGHT if has_prices else 40.0
    axes = Axes(LEFT, PRICE_TOP, ROOM, height, (-0.5, n_bars - 0.5), _price_range(picture.ohlc))
    bottom = axes.bottom + (CURVE_HEIGHT + 18 if picture.curves is not None else 0)
    parts = _zones(axes, n_bars, bottom)
    parts += _expansion(axes, picture.true_bar, "true-expansion")
    if picture.ohlc is not None:
        parts += _price_labels(axes)
        parts += bar_paths(picture.ohlc, axes)
    parts += _expansion(axes, picture.predicted_bar, "predicted-expansion")
    if picture.curves is not None:
        parts += _curves(picture.curves, axes, Axes(LEFT, axes.bottom + 18, ROOM, CURVE_HEIGHT, axes.x_range, (0, 1)))
    parts.append(line(LEFT, bottom, axes.right, bottom, "axis"))
    for bar in (0, *inner_zone(n_bars), n_bars - 1):
        parts.append(text(axes.x(bar), bottom + 13, str(bar), "middle", "tick"))
    return drawing(WIDTH, bottom + 18, label, parts)


def _price_range(ohlc: np.ndarray | None) -> tuple[float, float]:
    if ohlc is None:
        return (0.0, 1.0)
    low, high = float(ohlc[:, 2].min()), float(ohlc[:, 1].max())
    pad = (high - low) * 0.04 or abs(high) * 0.01
    return low - pad, high + pad


def _zones(axes: Axes, n_bars: int, bottom: float) -> list[Markup]:
    first, last = inner_zone(n_bars)
    zones = (("past", 0, first), ("inner zone", first, last), ("what followed", last, n_bars))
    parts = []
    for name, start, stop in zones:
        left, right = axes.x(start - 0.5), axes.x(stop - 0.5)
        if name != "inner zone":
            parts.append(rect(left, axes.top, right - left, bottom - axes.top, "zone"))
        parts.append(text((left + right) / 2, axes.top - 6, name, "middle", "tick"))
    return parts


def _expansion(axes: Axes, bars: tuple[int, int], class_: str) -> list[Markup]:
    if min(bars) < 0:
        return []
    left, right = axes.x(min(bars) - 0.5), axes.x(max(bars) + 0.5)
    return [rect(left, axes.top, right - left, axes.height, class_)]


def _price_labels(axes: Axes) -> list[Markup]:
    low, high = axes.y_range
    pad = (high - low) * 0.1
    return [
        text(axes.left - 4, axes.y(price) + 3.5, price_text(price), "end", "tick") for price in (low + pad, high - pad)
    ]


def price_text(price: float) -> str:
    """Write a price so that it fits beside the chart: five digits, tiny ones with their power of ten."""
    return (
        f"{price:.2e}"
        if 0 < abs(price) < 0.001 or abs(price) >= 1e7
        else f"{price:.{max(0, 5 - len(str(int(abs(price)))))}f}"
    )


def bar_paths(ohlc: np.ndarray, axes: Axes) -> list[Markup]:
    """Draw bars as wicks and bodies, rising and falling apart: four paths however many bars there are."""
    wicks: dict[str, str] = {"up": "", "down": ""}
    bodies: dict[str, str] = {"up": "", "down": ""}
    for bar, prices in enumerate(ohlc.tolist()):
        y_open, y_high, y_low, y_close = (axes.y(price) for price in prices)
        side = "up" if prices[3] >= prices[0] else "down"
        # A bar that closes where it opened still shows a line.
        top, bottom = min(y_open, y_close), max(y_open, y_close)
        grow = max(DOJI_HEIGHT - (bottom - top), 0.0) / 2
        x = number(axes.x(bar))
        wicks[side] += f"M{x} {number(y_high)}V{number(y_low)}"
        bodies[side] += f"M{x} {number(top - grow)}V{number(bottom + grow)}"
    width = axes.width / len(ohlc) * BODY_SHARE
    drawn = [element("path", d=path, class_=f"wick {side}") for side, path in wicks.items() if path]
    return drawn + [
        element("path", d=path, class_=f"body {side}", stroke_width=width) for side, path in bodies.items() if path
    ]


def _curves(curves: np.ndarray, above: Axes, axes: Axes) -> list[Markup]:
    """Draw start and end probability of each bar, scaled to the highest of both."""
    top = float(np.nanmax(curves)) or 1.0
    panel = Axes(axes.left, axes.top, axes.width, axes.height, above.x_range, (0, top))
    parts = [
        text(axes.left - 4, axes.top + 4, f"{top:.2f}", "end", "tick"),
        text(axes.left - 4, axes.bottom + 1, "0", "end", "tick"),
    ]
    bars = [float(bar) for bar in range(len(curves))]
    for i, end in enumerate(ENDS):
        parts.append(polyline(panel.points(bars, curves[:, i].tolist()), f"curve {end}"))
    return parts
