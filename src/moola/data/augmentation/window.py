"""One training window with its label, and its prices as what bars are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from moola.core.windows import INNER_ZONE, WINDOW_BARS
from moola.data.contracts.window_table import WindowTable


@dataclass(frozen=True)
class Window:
    """A window as augmentations see it.

    Attributes
    ----------
    ohlc
        Prices above 0, bar by bar.
    start_bar, end_bar
        Pointers, inclusive bar positions; -1 where there is none.
    first_us, last_us
        Times of the first and last bar, microseconds since 1970 in UTC; `None` where the file has none.
    """

    window_id: str
    ohlc: Float[np.ndarray, "bars 4"]
    label: str
    start_bar: int
    end_bar: int
    first_us: int | None
    last_us: int | None
    symbol: str

    def __len__(self) -> int:
        return len(self.ohlc)

    @property
    def has_pointers(self) -> bool:
        """Tell whether the expansion is known."""
        return self.start_bar >= 0

    @property
    def n_expansion_bars(self) -> int:
        """Bars of the expansion, both ends included; 0 without pointers."""
        return self.end_bar - self.start_bar + 1 if self.has_pointers else 0

    @property
    def prior_bars(self) -> int:
        """Bars before the expansion that its class may depend on: the inner zone's 30 of 105, to scale."""
        return round(INNER_ZONE[0] * len(self) / WINDOW_BARS)


def windows_of(table: WindowTable) -> list[Window]:
    """Return the labelled rows of a table that carries its bars, in its order."""
    assert table.ohlc is not None
    return [
        Window(
            table.window_id[row],
            table.ohlc[row],
            table.label[row],
            int(table.expansion_start[row]),
            int(table.expansion_end[row]),
            int(table.start_us[row]) if table.start_us is not None else None,
            int(table.end_us[row]) if table.end_us is not None else None,
            str(table.symbol[row]),
        )
        for row in np.flatnonzero(np.array([name is not None for name in table.label], dtype=bool))
    ]


def from_logs(log_ohlc: Float[np.ndarray, "bars 4"]) -> Float[np.ndarray, "bars 4"]:
    """Turn log prices into bars; high and low are widened by the rounding of `exp`, never narrowed."""
    ohlc = np.exp(log_ohlc)
    ohlc[:, 1] = ohlc.max(axis=1)
    ohlc[:, 2] = ohlc.min(axis=1)
    return ohlc
