"""Charts of figures: numbers in, one drawing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from moola.evaluation.curves import PrecisionRecall
from moola.reports.svg import Axes, Tick, drawing, element, line, polyline, rect, text

WIDTH, HEIGHT = 360.0, 320.0
LEFT, ROOM = 38.0, 310.0
SHARES: list[Tick] = [(value / 10, f"{value / 10:.1f}") for value in range(0, 11, 2)]
N_CLASS_COLOURS = 6
LEAD_LAG_BARS = 12
NEAR_BARS = 3


def reliability_chart(bins: Sequence[Mapping[str, float]]) -> Markup:
    """Draw accuracy against confidence, the band of a perfect model, the diagonal, and the counts."""
    axes = Axes(LEFT, 24, ROOM, 185, (0, 1), (0, 1))
    counts = [int(row["n"]) for row in bins]
    below = Axes(LEFT, 236, ROOM, 46, (0, 1), (0, max(counts)))
    parts = axes.frame([(value, "") for value, _ in SHARES], SHARES, "", "share predicted right")
    for row in bins:
        low, high = axes.y(row["perfect_low"]), axes.y(row["perfect_high"])
        parts.append(rect(axes.x(row["bin"] / 10), high, ROOM / 10, low - high, "band"))
    parts.append(line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), "reference"))
    points = axes.points([row["confidence"] for row in bins], [row["accuracy"] for row in bins])
    parts.append(polyline(points, "model"))
    parts += [element("circle", cx=x, cy=y, r=3.5, class_="dot") for x, y in points]
    parts += below.frame(SHARES, [], "confidence of the predicted class", "")
    parts.append(text(LEFT - 30, below.top - 8, "windows", "start", "name"))
    for row in bins:
        top = below.y(row["n"])
        left = below.x(row["bin"] / 10)
        parts.append(rect(left + 2, top, ROOM / 10 - 4, below.bottom - top, "bin"))
        parts.append(text(left + ROOM / 20, top - 3, str(int(row["n"])), "middle", "tick"))
    said = "; ".join(
        f"{int(row['n'])} windows at confidence {row['confidence']:.2f} were right {row['accuracy']:.2f}"
        for row in bins
    )
    return drawing(WIDTH, HEIGHT, f"Reliability diagram. {said}.", parts)


def precision_recall_chart(curves: Mapping[str, PrecisionRecall]) -> Markup:
    """Draw each class's steps of precision over recall, with its share of the windows as its baseline."""
    axes = Axes(LEFT, 24, ROOM, 250, (0, 1), (0, 1))
    parts = axes.frame(SHARES, SHARES, "recall", "precision")
    said = []
    for k, (name, curve) in enumerate(curves.items()):
        colour = f"c{k % N_CLASS_COLOURS}"
        parts.append(line(axes.x(0), axes.y(curve.share), axes.x(1), axes.y(curve.share), f"reference {colour}"))
        # Steps without a gain in recall have no width, and would draw as spikes.
        gains = np.diff(curve.recall, prepend=0.0) > 0
        recall = np.concatenate([[0.0], np.repeat(curve.recall[gains], 2)[:-1]])
        level = np.repeat(curve.precision[gains], 2)
        parts.append(polyline(axes.points(recall.tolist(), level.tolist()), f"step {colour}"))
        said.append(f"{name}: average precision {curve.area:.3f}, share {curve.share:.3f}")
    return drawing(WIDTH, 310, f"Precision and recall. {'; '.join(said)}.", parts)


def lead_lag_chart(late_bars: Mapping[str, np.ndarray]) -> Markup:
    """Draw how many windows are how many bars early (-) or late (+), a row an end; far ones share the last bar."""
    edge = LEAD_LAG_BARS
    ticks: list[Tick] = [(bar, f"{bar:+d}".replace("-", "−") if bar else "0") for bar in range(-edge, edge + 1, 3)]
    ticks[0], ticks[-1] = (-edge, f"≤−{edge}"), (edge, f"≥+{edge}")
    parts: list[Markup] = []
    said = []
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
        said.append(f"{end}: {n_near} of {len(late)} windows within {NEAR_BARS} bars, median {np.median(late):+.0f}")
    return drawing(WIDTH, 26 + 136 * len(late_bars) - 8, f"Lead and lag of pointers. {'; '.join(said)}.", parts)


def loss_chart(name: str, epochs: Sequence[int], losses: Mapping[str, Sequence[float]], best: int | None) -> Markup:
    """Draw train and val loss over epochs; 1 is a blind guess, and the kept epoch is marked."""
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
    said = ", ".join(f"{part} from {values[0]:.3f} to {values[-1]:.3f}" for part, values in losses.items())
    return drawing(WIDTH, 280, f"{name.capitalize()} loss over {len(epochs)} epochs: {said}.", parts)


def interval_strip(value: float, low: float | None, high: float | None, others: Sequence[float]) -> Markup:
    """Draw one figure in [0, 1] as a dot with its interval, and other predictors' as ticks; for the eye alone."""
    axes = Axes(4, 0, 112, 16, (0, 1), (0, 1))
    parts = [line(axes.left, 8, axes.right, 8, "gridline")]
    if low is not None and high is not None:
        parts.append(line(axes.x(low), 8, axes.x(high), 8, "whisker"))
    parts += [line(axes.x(other), 2, axes.x(other), 14, "other") for other in others if 0 <= other <= 1]
    parts.append(element("circle", cx=axes.x(value), cy=8, r=3.5, class_="dot"))
    return element("svg", *parts, viewBox="0 0 120 16", class_="strip", aria_hidden="true", focusable="false")
