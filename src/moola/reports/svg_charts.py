"""Charts as SVG inside a page: figures, windows with their expansions and curves, each with heading, legend and
caption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

from moola.core.expansions import ENDS
from moola.core.windows import inner_zone
from moola.evaluation.class_metrics import PrecisionRecall

# Drawing elements that text cannot break: every attribute and child is escaped.


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


WIDTH, HEIGHT = 360.0, 320.0
LEFT, ROOM = 38.0, 310.0
SHARES: list[Tick] = [(value / 10, f"{value / 10:.1f}") for value in range(0, 11, 2)]
N_CLASS_COLOURS = 6
LEAD_LAG_BARS = 12
NEAR_BARS = 3


WINDOW_WORDS = ("share predicted right", "confidence of the predicted class", "windows")


def reliability_chart(bins: Sequence[Mapping[str, float]], words: tuple[str, str, str] = WINDOW_WORDS) -> Markup:
    """Draw accuracy against confidence, the band of a perfect model, the diagonal, and the counts.

    `words` name the upper axis, the lower axis, and what is counted.
    """
    axes = Axes(LEFT, 24, ROOM, 185, (0, 1), (0, 1))
    counts = [int(row["n"]) for row in bins]
    below = Axes(LEFT, 236, ROOM, 46, (0, 1), (0, max(counts)))
    parts = axes.frame([(value, "") for value, _ in SHARES], SHARES, "", words[0])
    for row in bins:
        low, high = axes.y(row["perfect_low"]), axes.y(row["perfect_high"])
        parts.append(rect(axes.x(row["bin"] / 10), high, ROOM / 10, low - high, "band"))
    parts.append(line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), "reference"))
    points = axes.points([row["confidence"] for row in bins], [row["accuracy"] for row in bins])
    parts.append(polyline(points, "model"))
    parts += [element("circle", cx=x, cy=y, r=3.5, class_="dot") for x, y in points]
    parts += below.frame(SHARES, [], words[1], "")
    parts.append(text(LEFT - 30, below.top - 8, words[2], "start", "name"))
    for row in bins:
        top = below.y(row["n"])
        left = below.x(row["bin"] / 10)
        parts.append(rect(left + 2, top, ROOM / 10 - 4, below.bottom - top, "bin"))
        parts.append(text(left + ROOM / 20, top - 3, str(int(row["n"])), "middle", "tick"))
    legend = "; ".join(
        f"{int(row['n'])} {words[2]} at confidence {row['confidence']:.2f} were right {row['accuracy']:.2f}"
        for row in bins
    )
    return drawing(WIDTH, HEIGHT, f"Reliability diagram. {legend}.", parts)


def precision_recall_chart(curves: Mapping[str, PrecisionRecall]) -> Markup:
    """Draw each class's steps of precision over recall, with its share of the windows as its baseline."""
    axes = Axes(LEFT, 24, ROOM, 250, (0, 1), (0, 1))
    parts = axes.frame(SHARES, SHARES, "recall", "precision")
    legend = []
    for k, (name, curve) in enumerate(curves.items()):
        colour = f"c{k % N_CLASS_COLOURS}"
        parts.append(line(axes.x(0), axes.y(curve.share), axes.x(1), axes.y(curve.share), f"reference {colour}"))
        # Steps without a gain in recall have no width, and would draw as spikes.
        gains = np.diff(curve.recall, prepend=0.0) > 0
        recall = np.concatenate([[0.0], np.repeat(curve.recall[gains], 2)[:-1]])
        level = np.repeat(curve.precision[gains], 2)
        parts.append(polyline(axes.points(recall.tolist(), level.tolist()), f"step {colour}"))
        legend.append(f"{name}: average precision {curve.area:.3f}, share {curve.share:.3f}")
    return drawing(WIDTH, 310, f"Precision and recall. {'; '.join(legend)}.", parts)


def lead_lag_chart(late_bars: Mapping[str, np.ndarray]) -> Markup:
    """Draw how many windows are how many bars early (-) or late (+), a row an end; far ones share the last bar."""
    edge = LEAD_LAG_BARS
    ticks: list[Tick] = [(bar, f"{bar:+d}".replace("-", "−") if bar else "0") for bar in range(-edge, edge + 1, 3)]
    ticks[0], ticks[-1] = (-edge, f"≤−{edge}"), (edge, f"≥+{edge}")
    parts: list[Markup] = []
    legend = []
    for k, (end, late) in enumerate(late_bars.items()):
        clipped = np.clip(late, -edge, edge).astype(np.int64)
        counts = np.bincount(clipped + edge, minlength=2 * edge + 1)
        axes = Axes(LEFT, 26 + k * 136, ROOM, 92, (-edge - 0.5, edge + 0.5), (0, max(int(counts.max()), 1)))
        left, right = axes.x(-NEAR_BARS - 0.5), axes.x(NEAR_BARS + 0.5)
        parts.append(rect(left, axes.top, right - left, axes.height, "band"))
        last = k == len(late_bars) - 1
        title = "bars early (−) or late (+)" if last else ""
        parts += axes.frame(ticks, [(0, "0"), (int(counts.max()), str(int(counts.max())))], title, f"{end}: windows")
        for bar in range(-edge, edge + 1):
            if n := counts[bar + edge]:
                parts.append(
                    rect(
                        axes.x(bar - 0.4),
                        axes.y(n),
                        axes.x(bar + 0.4) - axes.x(bar - 0.4),
                        axes.bottom - axes.y(n),
                        end,
                    )
                )
        parts.append(line(axes.x(0), axes.top, axes.x(0), axes.bottom, "reference"))
        n_near = int((np.abs(late) <= NEAR_BARS).sum())
        legend.append(f"{end}: {n_near} of {len(late)} windows within {NEAR_BARS} bars, median {np.median(late):+.0f}")
    return drawing(WIDTH, 26 + 136 * len(late_bars) - 8, f"Lead and lag of pointers. {'; '.join(legend)}.", parts)


def loss_chart(name: str, epochs: Sequence[int], losses: Mapping[str, Sequence[float]], best: int | None) -> Markup:
    """Draw train and val loss over epochs; 1 is the uninformed baseline, and the kept epoch is marked."""
    top = max(1.0, *(max(values) for values in losses.values())) * 1.05
    low = min(0.0, *(min(values) for values in losses.values()))
    first, last = epochs[0], max(epochs[-1], epochs[0] + 1)
    axes = Axes(LEFT, 24, ROOM, 220, (first, last), (low, top))
    steps = sorted({round(value) for value in np.linspace(first, last, 6)})
    levels = [value for value in np.linspace(0, 1, 6).tolist() if low <= value <= top] + ([top] if top > 1.3 else [])
    parts = axes.frame(
        [(step, str(step)) for step in steps], [(level, f"{level:.1f}") for level in levels], "epoch", "loss"
    )
    parts.append(line(axes.left, axes.y(1), axes.right, axes.y(1), "reference"))
    if best is not None:
        side = "end" if axes.x(best) > axes.left + axes.width / 2 else "start"
        shift = -4 if side == "end" else 4
        parts.append(line(axes.x(best), axes.top, axes.x(best), axes.bottom, "kept"))
        parts.append(text(axes.x(best) + shift, axes.bottom - 6, f"kept: epoch {best}", side, "tick"))
    parts += [polyline(axes.points(epochs, values), f"loss {part}") for part, values in losses.items()]
    legend = ", ".join(f"{part} from {values[0]:.3f} to {values[-1]:.3f}" for part, values in losses.items())
    return drawing(WIDTH, 280, f"{name.capitalize()} loss over {len(epochs)} epochs: {legend}.", parts)


def interval_strip(value: float, low: float | None, high: float | None, others: Sequence[float]) -> Markup:
    """Draw one figure in [0, 1] as a dot with its interval, and other predictors' as ticks; for the eye alone."""
    axes = Axes(4, 0, 112, 16, (0, 1), (0, 1))
    parts = [line(axes.left, 8, axes.right, 8, "gridline")]
    if low is not None and high is not None:
        parts.append(line(axes.x(low), 8, axes.x(high), 8, "whisker"))
    parts += [line(axes.x(other), 2, axes.x(other), 14, "other") for other in others if 0 <= other <= 1]
    parts.append(element("circle", cx=axes.x(value), cy=8, r=3.5, class_="dot"))
    return element("svg", *parts, viewBox="0 0 120 16", class_="strip", aria_hidden="true", focusable="false")


# One window: its bars, the true and the predicted expansion, and the pointer curves below.


WINDOW_WIDTH, WINDOW_LEFT, WINDOW_ROOM = 300.0, 50.0, 240.0
PRICE_TOP, PRICE_HEIGHT = 20.0, 130.0
CURVE_HEIGHT = 38.0
BODY_SHARE = 0.7
DOJI_HEIGHT = 0.8


@dataclass(frozen=True)
class WindowPicture:
    """What one window is drawn from; pointers are -1 where there is none."""

    ohlc: np.ndarray | None
    curves: np.ndarray | None
    true_bar: tuple[int, int]
    predicted_bar: tuple[int, int]
    n_bars: int
    has_zones: bool = True


def window_chart(picture: WindowPicture, label: str) -> Markup:
    """Draw a window; without prices or without curves that part is left out."""
    n_bars = picture.n_bars
    has_prices = picture.ohlc is not None
    height = PRICE_HEIGHT if has_prices else 40.0
    axes = Axes(WINDOW_LEFT, PRICE_TOP, WINDOW_ROOM, height, (-0.5, n_bars - 0.5), _price_range(picture.ohlc))
    bottom = axes.bottom + (CURVE_HEIGHT + 18 if picture.curves is not None else 0)
    parts = _zones(axes, n_bars, bottom) if picture.has_zones else []
    parts += _expansion(axes, picture.true_bar, "true-expansion")
    if picture.ohlc is not None:
        parts += _price_labels(axes)
        parts += bar_paths(picture.ohlc, axes)
    parts += _expansion(axes, picture.predicted_bar, "predicted-expansion")
    if picture.curves is not None:
        parts += _curves(
            picture.curves, axes, Axes(WINDOW_LEFT, axes.bottom + 18, WINDOW_ROOM, CURVE_HEIGHT, axes.x_range, (0, 1))
        )
    parts.append(line(WINDOW_LEFT, bottom, axes.right, bottom, "axis"))
    for bar in (0, *(inner_zone(n_bars) if picture.has_zones else ()), n_bars - 1):
        parts.append(text(axes.x(bar), bottom + 13, str(bar), "middle", "tick"))
    return drawing(WINDOW_WIDTH, bottom + 18, label, parts)


def span_chart(ohlc: np.ndarray, bars: tuple[int, int], label: str) -> Markup:
    """Draw consecutive bars with a span, first and last bar included, shaded."""
    n_bars = len(ohlc)
    axes = Axes(WINDOW_LEFT, 6, WINDOW_ROOM, PRICE_HEIGHT, (-0.5, n_bars - 0.5), _price_range(ohlc))
    parts = _expansion(axes, bars, "true-expansion") + _price_labels(axes) + bar_paths(ohlc, axes)
    parts.append(line(WINDOW_LEFT, axes.bottom, axes.right, axes.bottom, "axis"))
    return drawing(WINDOW_WIDTH, axes.bottom + 4, label, parts)


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
