"""Windows as candles: made windows beside their parents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from moola.core.windows import inner_zone
from moola.data.augmentation import Window
from moola.plots.figures import INK, save_figure

# As in the report: rising, falling, expansion, and what stands outside the inner zone.
UP, DOWN, EXPANSION, OUTSIDE = "#2a8c82", "#b5502b", "#7a4fb5", "#e8edf0"
BODY_SHARE = 0.7
PANEL_INCHES = (8.0, 2.7)


def made_windows_plot(path: Path, pairs: list[tuple[Window, Window]], title: str) -> None:
    """Draw each parent on the left and what was made of it on the right, a row a pair.

    The expansion is shaded and named with its bars; on the right, dashed lines stand where the parent's
    began and ended, and a line above marks a context that came from another window. Both panels of a row
    have bars of the same height for the same return.
    """
    width, height = PANEL_INCHES
    figure, axes = _panels(len(pairs), (2 * width, height * len(pairs) + 0.7))
    for row, (parent, made) in zip(axes, pairs, strict=True):
        percent = _half_range(parent), _half_range(made)
        for axis, window, origin in zip(row, (parent, made), (None, parent), strict=True):
            candles(axis, window.ohlc)
            _pointers(axis, window, origin)
            _scale(axis, window, max(percent))
        if "transplant" in _chain_of(parent, made):
            _foreign(row[1], made)
        row[0].set_title(f"parent {parent.window_id}: {_told(parent)}", loc="left", fontsize=10)
        row[1].set_title(f"{_chain_of(parent, made)}: {_told(made)}", loc="left", fontsize=10, fontweight="bold")
    for axis in axes[-1]:
        axis.set_xlabel("bar of the window")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    save_figure(path, figure)


def _panels(n_rows: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    return plt.subplots(n_rows, 2, figsize=size, squeeze=False, layout="constrained")


def candles(axis: Any, ohlc: np.ndarray) -> None:
    """Draw wicks and bodies; a bar that closed where it opened still shows a line."""
    open_, high, low, close = ohlc.T
    bars = np.arange(len(ohlc))
    colour = np.where(close >= open_, UP, DOWN)
    axis.vlines(bars, low, high, colors=colour, linewidth=0.9)
    least = (high.max() - low.min()) * 0.004
    body = np.maximum(np.abs(close - open_), least)
    axis.bar(bars, body, bottom=(open_ + close - body) / 2, width=BODY_SHARE, color=colour, linewidth=0)


def _pointers(axis: Any, window: Window, origin: Window | None) -> None:
    n_bars = len(window)
    first, last = inner_zone(n_bars)
    for left, right in ((-0.5, first - 0.5), (last - 0.5, n_bars - 0.5)):
        axis.axvspan(left, right, color=OUTSIDE, linewidth=0, zorder=0)
    if window.has_pointers:
        axis.axvspan(window.start_bar - 0.5, window.end_bar + 0.5, color=EXPANSION, alpha=0.25, linewidth=0, zorder=0)
    if origin is not None and origin.has_pointers:
        for place in (origin.start_bar - 0.5, origin.end_bar + 0.5):
            axis.axvline(place, color=EXPANSION, linewidth=1, linestyle=(0, (4, 3)))
    axis.set(xlim=(-0.5, n_bars - 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))


def _foreign(axis: Any, made: Window) -> None:
    """Mark the bars before the prior state, which a transplant took from elsewhere."""
    join = made.start_bar - made.prior_bars
    axis.plot([-0.5, join - 0.5], [0.97, 0.97], color=INK, linewidth=3, transform=axis.get_xaxis_transform())
    axis.text(
        join + 0.5,
        0.97,
        "from another window",
        fontsize=8,
        color=INK,
        va="center",
        transform=axis.get_xaxis_transform(),
    )


def _half_range(window: Window) -> float:
    """Half of the window's price range, as a log return."""
    return float(np.log(window.ohlc[:, 1].max() / window.ohlc[:, 2].min())) / 2


def _scale(axis: Any, window: Window, half_range: float) -> None:
    """Show the same returns in the same height, with the prices of the window itself at the side."""
    middle = float(np.sqrt(window.ohlc[:, 1].max() * window.ohlc[:, 2].min()))
    room = max(half_range, 1e-9) * 1.06
    axis.set(yscale="log", ylim=(middle * np.exp(-room), middle * np.exp(room)))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axis.yaxis.set_minor_locator(MaxNLocator(nbins=1))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda price, _place: f"{price:.5g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda _price, _place: ""))
    axis.tick_params(labelsize=8, colors=INK)
    axis.spines[["top", "right"]].set_visible(False)


def _told(window: Window) -> str:
    if not window.has_pointers:
        return window.label
    move = np.log(window.ohlc[window.end_bar, 3] / window.ohlc[max(window.start_bar - 1, 0), 3])
    return (
        f"{window.label}, bars {window.start_bar} to {window.end_bar} ({window.n_expansion_bars}), "
        f"move {100 * np.expm1(move):+.2f} %"
    )


def _chain_of(parent: Window, made: Window) -> str:
    chain = made.window_id.removeprefix(f"{parent.window_id}~").partition(".")[0]
    return chain.replace("+", ", then ")
