"""Plots: axes in and out, what is drawn where, and nothing chosen for the reader's matplotlib."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest

import moola
from moola.errors import InvalidData, WrongUsage
from moola.evaluation.calibration import reliability_bins
from moola.reports.chart_axes import EXPANSION
from moola.tables.prediction_table import predictions_from_frame
from tests.api.faced import WINDOWS, model_of_28

BARS = moola.sample_bars()[:400]


@pytest.fixture(autouse=True)
def _no_screen():
    mpl.use("Agg")
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def shaded(ax):
    """Return the first and last bar of each shaded piece."""
    wanted = mpl.colors.to_rgb(EXPANSION)
    pieces = [patch for patch in ax.patches if patch.get_facecolor()[:3] == wanted]
    return [(round(piece.get_x() + 0.5), round(piece.get_x() + piece.get_width() - 0.5)) for piece in pieces]


def events(*ends, symbol=""):
    rows = [{"symbol": symbol, "start_ts": BARS["timestamp"][a], "end_ts": BARS["timestamp"][b]} for a, b in ends]
    return pl.DataFrame(rows).with_columns(predicted_label=pl.lit("retracement"), event_prob=pl.lit(0.5))


def test_a_window_is_drawn_with_its_expansion():
    from matplotlib.figure import Figure

    for kind in (moola.to_pandas, pl.DataFrame.lazy, pl.DataFrame.clone):
        ax = Figure().subplots()
        assert moola.plot(kind(WINDOWS), row=3, ax=ax) is ax
    assert shaded(ax) == [(WINDOWS["expansion_start"][3], WINDOWS["expansion_end"][3])]
    assert WINDOWS["window_id"][3] in ax.get_title(loc="left")
    assert ax.get_xlim() == (-0.5, 29.5)
    low, high = ax.get_ylim()
    ohlc = np.array(WINDOWS["features"][3].to_list())
    assert low < ohlc.min() < ohlc.max() < high
    assert not shaded(moola.plot(WINDOWS.drop("expansion_start", "expansion_end"), row=3))


def test_events_are_drawn_on_their_bars():
    found = events((100, 109), (300, 305))
    assert shaded(moola.plot(found, bars=BARS)) == [(100, 109), (300, 305)]
    ax = moola.plot(found, bars=BARS, row=1)
    assert shaded(ax) == [(40, 45)]
    assert "1 event" in ax.get_title(loc="left")
    assert shaded(moola.plot(moola.to_pandas(found), bars=BARS[200:].to_pandas())) == [(100, 105)]
    assert [text.get_text() for text in ax.texts] == ["after retracement 0.50"]


@pytest.mark.slow
def test_a_chart_has_the_bars_of_the_events_symbol_and_no_events_are_bars_alone():
    two = pl.concat([BARS.with_columns(symbol=pl.lit("A")), BARS[50:].with_columns(symbol=pl.lit("B"))])
    found = pl.concat([events((100, 109), symbol="B"), events((200, 203), symbol="A")])
    assert shaded(moola.plot(found, bars=two)) == [(50, 59)]
    assert shaded(moola.plot(found, row=1, bars=two)) == [(40, 43)]
    with pytest.raises(WrongUsage, match="must be of one symbol to be drawn, but they are of 2, none 'C'"):
        moola.plot(events((100, 109), symbol="C"), bars=two)
    ax = moola.plot(events((100, 109))[:0], bars=BARS)
    assert not shaded(ax)
    assert "0 events" in ax.get_title(loc="left")


def test_reliability_has_the_bins_of_the_evaluation():
    said = model_of_28().predict(WINDOWS[28:])
    ax = moola.plot(said)
    bins = reliability_bins(predictions_from_frame(said, "predictions"), 0)
    drawn = ax.get_lines()[1].get_xydata().tolist()
    assert drawn == [[row["confidence"], row["accuracy"]] for row in bins]
    with pytest.raises(InvalidData, match="predictions must have labels to be evaluated, but 0 have one"):
        moola.plot(said.with_columns(label=pl.lit(None, dtype=pl.String)))


def test_what_cannot_be_drawn_is_refused():
    one = events((1, 2))
    for error, given, options, says in (
        (WrongUsage, WINDOWS, {"row": 40}, r"row must be within 0\.\.39 of the windows, but it is 40"),
        (WrongUsage, one, {"row": 1, "bars": BARS}, r"within 0\.\.0 of the events"),
        (WrongUsage, one, {}, "Give bars=, the bars that were scanned"),
        (WrongUsage, one, {"bars": moola.sample_bars()}, "at most 1500 bars, but these are 6225"),
        (WrongUsage, one, {"row": 0, "bars": BARS[300:]}, "none is of the event's time"),
        (InvalidData, BARS, {}, "of windows, events or predictions, but it has the columns timestamp, open"),
        (InvalidData, moola.relative_features(WINDOWS), {}, "but they have features alone"),
        (InvalidData, pd.Series([1]), {}, "must be a pandas or polars frame"),
    ):
        with pytest.raises(error, match=says):
            moola.plot(given, **options)


def test_the_reader_keeps_their_backend():
    from matplotlib import pyplot as plt

    mpl.use("svg")
    ax = moola.plot(WINDOWS)
    assert plt.gcf() is ax.figure
    assert mpl.get_backend() == "svg"
