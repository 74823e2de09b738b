"""Events of a scan: candles with the event and its intervals, the merged curves below."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator

from moola.pipeline.scan.pictures import EventPicture
from moola.plots.candles import EXPANSION, candles
from moola.plots.figures import INK, save_figure

START, END = "#1f6f8b", "#b5502b"


def event_plot(folder: Path, picture: EventPicture) -> Path:
    """Draw one event into `<folder>/<rank>_<symbol>_<time>.png` and return the path.

    The event is shaded; the brackets above the curves are the 80 % intervals of its pointers. Times are UTC.
    """
    figure, (top, below) = plt.subplots(
        2, 1, figsize=(9.0, 5.4), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    start, end = (int(bar) for bar in picture.bar)
    candles(top, picture.ohlc)
    for axis in (top, below):
        axis.axvspan(start - 0.5, end + 0.5, color=EXPANSION, alpha=0.2, linewidth=0, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8, colors=INK)
    _curves(below, picture)
    top.set_title(_told(picture), loc="left", fontsize=10)
    top.set(ylabel="price", xlim=(-0.5, len(picture.ohlc) - 0.5))
    top.yaxis.set_major_formatter(FuncFormatter(lambda price, _place: f"{price:.6g}"))
    below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    below.xaxis.set_major_formatter(FuncFormatter(lambda bar, _place: _time_at(picture, bar)))
    path = folder / f"{picture.rank:04d}_{_plain(picture.symbol)}{_time(picture, start):%Y%m%dT%H%M}.png"
    save_figure(path, figure)
    return path


def _curves(axis: Any, picture: EventPicture) -> None:
    bars = np.arange(len(picture.curves))
    height = float(picture.curves.max()) * 1.25 or 1.0
    for i, (name, colour) in enumerate((("start", START), ("end", END))):
        axis.plot(bars, picture.curves[:, i], color=colour, linewidth=1.4, label=name)
        place = height * (0.97 - 0.07 * i)
        axis.plot([picture.low[i] - 0.5, picture.high[i] + 0.5], [place, place], color=colour, linewidth=3)
    axis.set(ylim=(0, height), ylabel="share a bar", xlabel="bar's start, UTC")
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _told(picture: EventPicture) -> str:
    start, end = (_time(picture, int(bar)) for bar in picture.bar)
    name = f"{picture.symbol} " if picture.symbol else ""
    return (
        f"{name}{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC: {picture.predicted_label} "
        f"{picture.class_prob:.2f}\nboth pointers within 3 bars with {picture.event_prob:.2f}, {picture.n_agree} of "
        f"{picture.n_saw} windows agree{', cut' if picture.cut else ''}"
    )


def _time(picture: EventPicture, bar: int) -> datetime:
    return datetime.fromtimestamp(int(picture.start_us[bar]) / 1e6, UTC)


def _time_at(picture: EventPicture, bar: float) -> str:
    # Bars that stand where no bar is have no time.
    inside = 0 <= bar <= len(picture.start_us) - 1
    return f"{_time(picture, int(bar)):%m-%d %H:%M}" if inside else ""


def _plain(symbol: str) -> str:
    """Return a symbol as a part of a file name: a symbol may hold anything, a slash included."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", symbol)[:40]
    return f"{plain}_" if plain else ""
