"""Draw README's picture: events found in bars of the sample that the model did not learn from."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import moola
from moola.reports.png_charts import save_figure

PICTURE = Path(__file__).resolve().parents[2] / "docs/images/found.png"
SHOWN_BARS = 320


def main() -> int:
    """Fit the package's encoder with linear heads on the sample's earlier windows, scan its later bars, draw events."""
    bars = moola.sample_bars()
    windows = moola.autolabel(moola.windows(bars, stride=10), n_windows=174)
    parts = moola.split(windows)
    learned = windows[sorted([*parts.train, *parts.val])]
    network = moola.WindowClassifier(encoder="base", device="cpu").fit(learned, learned["label"])
    later = bars.filter(bars["timestamp"] > learned["end_ts"].max())
    events = network.model_.scan(later, stride=5)
    shown = later[-SHOWN_BARS:]
    axes = moola.plot(events, bars=shown)
    axes.set_title("EURUSD, hourly: moves found in bars that the model had not seen", loc="left", fontsize=10)
    axes.figure.set_size_inches(9.0, 3.3)
    save_figure(PICTURE, axes.figure)
    print(f"{len(events)} events in {len(later)} bars; {PICTURE.name} has {PICTURE.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
