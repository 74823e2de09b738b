"""Windows of one length as arrays, with what is known of each: one row a label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from moola.core.closing import closing_us
from moola.core.features import relative_features
from moola.core.likeness import same_but_for_scale
from moola.core.splits import Intervals, content_hashes, groups_of_equal
from moola.data.contracts.frames import rows_of


@dataclass(frozen=True)
class WindowTable:
    """Windows of one length, with what is known of each.

    Attributes
    ----------
    ohlc
        Prices `(windows, bars, 4)`; `None` in relative files that do not carry them.
    features
        Relative features `(windows, bars, 11)`; `None` in 4-D files.
    label
        Class of each row, `None` where it has none.
    expansion_start, expansion_end
        Pointers, inclusive bar positions; -1 where there is none.
    start_us, end_us
        When the first and the last bar begin, `None` in older files without timestamps; `close_us` is when the
        last bar is over.
    """

    window_id: list[str]
    ohlc: np.ndarray | None
    features: np.ndarray | None
    label: np.ndarray
    expansion_start: np.ndarray
    expansion_end: np.ndarray
    start_us: np.ndarray | None
    end_us: np.ndarray | None
    symbol: np.ndarray
    extra: pl.DataFrame

    def __len__(self) -> int:
        return len(self.window_id)

    @property
    def window_bars(self) -> int:
        """Bars a window."""
        return int(self.values.shape[1])

    @property
    def values(self) -> np.ndarray:
        """Prices where they are known, else features."""
        values = self.ohlc if self.ohlc is not None else self.features
        if values is None:
            raise ValueError("a window table holds prices, features or both")
        return values

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted({name for name in self.label.tolist() if name is not None})

    @property
    def has_pointers(self) -> bool:
        """Tell whether any row has pointers."""
        return bool((self.expansion_start >= 0).any())

    @property
    def has_symbols(self) -> bool:
        """Tell whether any row has a symbol."""
        return bool((self.symbol != "").any())

    @property
    def annotator(self) -> np.ndarray | None:
        """Who labelled each row; None where the file does not say."""
        if "annotator" not in self.extra.columns:
            return None
        return self.extra["annotator"].to_numpy().astype(object)

    @property
    def shared_bars(self) -> np.ndarray:
        """Hash of each row's bars where several rows have these bars (expansions of one window), else empty."""
        hashes = [found.hex() for found in content_hashes(self.values)]
        count = Counter(hashes)
        return np.array([found if count[found] > 1 else "" for found in hashes], dtype=object)

    @property
    def annotators(self) -> list[str]:
        """Who labelled the rows, sorted; empty where the file does not say."""
        if "annotator" not in self.extra.columns:
            return []
        return sorted(self.extra["annotator"].drop_nulls().unique().to_list())

    def take(self, rows: np.ndarray) -> WindowTable:
        """Return some rows, in this order."""
        return WindowTable(
            [self.window_id[row] for row in rows],
            rows_of(self.ohlc, rows),
            rows_of(self.features, rows),
            self.label[rows],
            self.expansion_start[rows],
            self.expansion_end[rows],
            rows_of(self.start_us, rows),
            rows_of(self.end_us, rows),
            self.symbol[rows],
            self.extra[rows] if len(self.extra.columns) else pl.DataFrame(),
        )

    def with_features(self) -> WindowTable:
        """Return the same windows with the eleven features, computed from the bars where absent."""
        if self.features is not None:
            return self
        return replace(self, features=relative_features(self.values))

    @property
    def close_us(self) -> np.ndarray | None:
        """When the last bar of each window is over; None without times."""
        if self.start_us is None or self.end_us is None:
            return None
        return closing_us(self.start_us, self.end_us, self.window_bars, self.symbol)

    @property
    def usual_interval_us(self) -> int:
        """Usual time between the bars of these windows (gaps raise it a little), 0 without times."""
        if self.start_us is None or self.end_us is None or self.window_bars < 2:
            return 0
        return int(np.median(self.end_us - self.start_us) / (self.window_bars - 1))

    def intervals(self) -> Intervals:
        """Return what a split needs: times, and groups of rows with the same bars at any scale."""
        return Intervals(self.start_us, self.close_us, same_but_for_scale(self.values))

    def equal_bars(self) -> np.ndarray:
        """Number rows so that those with the very same bars have the same number."""
        return groups_of_equal(content_hashes(self.values))
