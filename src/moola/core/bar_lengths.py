"""How far bars stand apart, by the windows cut from them: an hourly model should not read daily bars unnoticed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

# Of windows this share has the fewest gaps: weekends and nights stretch the others.
LEAST_SHARE = 0.05
# Sessions and holidays stretch windows by less than this; bars of another length differ by more.
MOST_APART = 1.6


def window_bar_interval_s(
    start_us: Int[np.ndarray, " windows"] | None, end_us: Int[np.ndarray, " windows"] | None, window_bars: int
) -> float | None:
    """Return the time between neighbouring bars in the windows with the fewest gaps, in seconds.

    None without times, without windows, and for windows of one bar. Where every window holds a night or a weekend it
    is longer than the bar, alike for all windows of the same kind.
    """
    if start_us is None or end_us is None or not len(start_us) or window_bars < 2:
        return None
    spans = np.quantile(end_us - start_us, LEAST_SHARE, method="lower")
    return float(spans) / (window_bars - 1) / 1e6


def interval_warning(learned_s: float | None, read_s: float | None) -> str:
    """Say that a model learned on bars of another length than it reads; empty where it did not or it is not known."""
    if not learned_s or not read_s or 1 / MOST_APART <= read_s / learned_s <= MOST_APART:
        return ""
    return (
        f"the model learned on bars {_told(learned_s)} apart and reads bars {_told(read_s)} apart: "
        "its probabilities were never judged on such bars"
    )


def _told(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name if f'{seconds / unit:.3g}' != '1' else name[:-1]}"
    return f"{seconds:.3g} seconds"
