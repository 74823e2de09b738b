"""What PNG charts and a notebook's plots draw alike, onto axes that exist: nothing here chooses a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import FuncFormatter, MaxNLocator

from moola.core.bars import minute_text
from moola.core.windows import inner_zone
from moola.reports.svg_charts import BODY_SHARE

INK, MODEL, BAND = "#444444", "#1f6f8b", "#d9e4ea"
# As in the report: rising, falling, expansion, and what is outside the inner zone.
UP, DOWN, EXPANSION, OUTSIDE = "#2a8c82", "#b5502b", "#7a4fb5", "#e8edf0"


def plain_frame(*axes: Any) -> None:
    """Take the frame's upper and right line away, in every chart alike."""
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)


def draw_bars(axis: Any, ohlc: Float[np.ndarray, "bars 4"]) -> None:
    """Draw wicks and bodies; a bar that closed where it opened still shows a line."""
    open_, high, low, close = ohlc.T
    bars = np.arange(len(ohlc))
    colour = np.where(close >= open_, UP, DOWN)
    axis.vlines(bars, low, high, colors=colour, linewidth=0.9)
    least = (high.max() - low.min()) * 0.004
    body = np.maximum(np.abs(close - open_), least)
    axis.bar(bars, body, bottom=(open_ + close - body) / 2, width=BODY_SHARE, color=colour, linewidth=0)


def shade(axis: Any, first: float, last: float, alpha: float = 0.2) -> None:
    """Shade bars from the first to the last, both included."""
    axis.axvspan(first - 0.5, last + 0.5, color=EXPANSION, alpha=alpha, linewidth=0, zorder=0)


def frame_window(axis: Any, n_bars: int) -> None:
    """Show a window's bars from the first to the last, with what is outside its inner zone greyed."""
    first, last = inner_zone(n_bars)
    for left, right in ((-0.5, first - 0.5), (last - 0.5, n_bars - 0.5)):
        axis.axvspan(left, right, color=OUTSIDE, linewidth=0, zorder=0)
    axis.set(xlim=(-0.5, n_bars - 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))


def frame_times(axis: Any, start_us: np.ndarray) -> None:
    """Show bars by their places, named by when they start (UTC): time without a bar takes no room."""

    def at(bar: float, _place: int) -> str:
        # Places without a bar have no time.
        inside = 0 <= bar <= len(start_us) - 1
        return minute_text(start_us[int(bar)])[5:] if inside else ""

    axis.set(xlim=(-0.5, len(start_us) - 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axis.xaxis.set_major_formatter(FuncFormatter(at))


def price_labels(axis: Any) -> None:
    """Write prices with six digits, without an offset at the side."""
    axis.yaxis.set_major_formatter(FuncFormatter(lambda price, _place: f"{price:.6g}"))
    axis.tick_params(labelsize=8, colors=INK)
    plain_frame(axis)


def draw_reliability(axis: Any, bins: Sequence[dict[str, float | int]], label: str = "this run") -> None:
    """Draw the share that was right by confidence, with the diagonal and the band of a perfect model."""
    centres = [(row["bin"] + 0.5) / 10 for row in bins]
    low = [row["perfect_low"] for row in bins]
    spans = [row["perfect_high"] - row["perfect_low"] for row in bins]
    axis.bar(centres, spans, bottom=low, width=0.1, color=BAND, edgecolor="white", label="95 % of a perfect model")
    axis.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfect calibration")
    confidence = [row["confidence"] for row in bins]
    accuracy = [row["accuracy"] for row in bins]
    axis.plot(confidence, accuracy, color=MODEL, marker="o", linewidth=1.5, label=label)
    axis.set(ylim=(0, 1.02))
    axis.legend(loc="upper left", frameon=False, fontsize=9)
