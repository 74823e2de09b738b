"""The parts of benchmarks/chart_flags.sh that are no command of moola."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.made import HOUR_US


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    try:
        import chart_flags_parts
    finally:
        sys.path.pop(0)
    return chart_flags_parts


@pytest.fixture
def given(tmp_path) -> argparse.Namespace:
    """Make 1,000 hourly bars from 2017-12-01 and a span of 6 bars every 25."""
    first = int(np.datetime64("2017-12-01", "us").astype(np.int64))
    times = pl.Series(first + HOUR_US * np.arange(1000)).cast(pl.Datetime("us", "UTC"))
    price = pl.lit(1.0)
    bars = pl.DataFrame({"timestamp": times}).with_columns(open=price, high=price, low=price, close=price)
    bars.write_parquet(tmp_path / "bars.parquet")
    start = np.arange(10, 990, 25)
    table = {"symbol": ["X"] * len(start), "start": times.gather(start), "end": times.gather(start + 5)}
    spans = pl.DataFrame(table | {"label": ["bull", "bear"] * (len(start) // 2) + ["bull"] * (len(start) % 2)})
    spans.write_csv(tmp_path / "spans.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    return argparse.Namespace(
        bars=tmp_path / "bars.parquet",
        spans=tmp_path / "spans.csv",
        labels=20,
        output=tmp_path,
        test_from="2018-01-01 00:00:00",
        shuffled=False,
    )


def test_nothing_to_learn_from_reaches_the_time_that_judges(parts, given):
    parts.cut(given)
    edge = pl.Series(["2018-01-01"]).str.to_datetime(time_unit="us", time_zone="UTC")[0]
    learned, judged = (
        pl.read_csv(given.output / name, try_parse_dates=True) for name in ("spans.csv", "judged_spans.csv")
    )
    assert len(learned) == 20
    assert learned["end"].max() < edge <= judged["start"].min()
    assert pl.read_parquet(given.output / "before.parquet")["timestamp"].max() < edge
    assert pl.read_parquet(given.output / "after.parquet")["timestamp"].min() >= edge
    stretch = pl.read_csv(given.output / "stretch.csv", try_parse_dates=True)
    assert (stretch["from"][0], stretch["to"][0]) == (learned["start"].min(), learned["end"].max())


def test_shuffled_spans_keep_lengths_and_share_no_bar(parts, given):
    parts.cut(given)
    first = pl.read_csv(given.output / "spans.csv", try_parse_dates=True)
    given.spans = given.spans.with_name("given.csv")
    pl.concat([first, pl.read_csv(given.output / "judged_spans.csv", try_parse_dates=True)]).with_columns(
        pl.col("start", "end").dt.strftime("%Y-%m-%d %H:%M:%S")
    ).write_csv(given.spans)
    given.shuffled = True
    parts.cut(given)
    moved = pl.read_csv(given.output / "spans.csv", try_parse_dates=True).sort("start")
    assert sorted(moved["label"]) == sorted(first["label"])
    assert set((moved["end"] - moved["start"]).to_list()) == set((first["end"] - first["start"]).to_list())
    assert (moved["start"][1:] > moved["end"][:-1]).all()
    assert moved["start"].min() >= first["start"].min()
    assert moved["end"].max() <= first["end"].max()
    assert moved["start"].to_list() != first["start"].to_list()


def test_the_table_has_a_row_for_each_file_of_figures(parts, tmp_path, capsys):
    path = tmp_path / "usdjpy_100" / "17" / "events.eval.json"
    path.parent.mkdir(parents=True)
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "random": 0.01}
    nothing = {"value": None, "low": None, "high": None, "random": None}
    figures = dict.fromkeys(parts.FIGURES, figure) | {"event_ece": nothing}
    path.write_text(json.dumps({"figures": figures, "n_spans": 3, "n_events": 4}))
    parts.table(argparse.Namespace(figures=[path]))
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| usdjpy_100, seed 17 | 3 | 4 | 0.500 [0.40, 0.60], random 0.010 |")
    assert row.endswith("| - |")
