"""`labels stats --bars`: spans of two people in a store, on the bars that both looked at."""

from __future__ import annotations

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.labels.label_stats import _span_agreement
from moola.tables.label_store import ChartLabels, ChartSpan
from tests.made import HOUR_US

START_US = 1_500_000_000_000_000


def chart(who: str, symbol: str, bars: list[tuple[int, int, str]], looked: tuple[int, int]) -> ChartLabels:
    # The end is a moment inside the last bar.
    spans = tuple(ChartSpan(START_US + a * HOUR_US, START_US + b * HOUR_US + 60_000_000, name) for a, b, name in bars)
    return ChartLabels(symbol, who, spans, ((START_US + looked[0] * HOUR_US, START_US + looked[1] * HOUR_US),))


def test_only_bars_that_both_looked_at_are_compared_and_symbols_apart():
    one = np.full(300, "X", dtype=object)
    bars = Bars(START_US + HOUR_US * np.arange(300), np.ones((300, 4)), one)
    anna = chart("anna", "X", [(10, 19, "up"), (50, 59, "down"), (150, 159, "up")], (0, 299))
    bert = chart("bert", "X", [(10, 18, "up"), (50, 59, "up")], (0, 99))
    cleo = chart("cleo", "Y", [(10, 18, "up")], (0, 99))
    (pair,) = _span_agreement([anna, bert, cleo], bars)
    assert (pair["symbol"], pair["first"], pair["second"]) == ("X", "anna", "bert")
    # The third of anna's lies where bert did not look; the second is of another class.
    assert (pair["n_first"], pair["n_second"], pair["n_same"]) == (2, 2, 1)
    assert pair["mean_iou"] == pytest.approx(0.9)
    assert pair["ap"] == pytest.approx(0.25)
