"""A bar file laid out on disk, whatever the pieces it was read in: the same bars, the same refusals."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars
from moola.errors import InvalidData, OperationFailed
from moola.tables import bar_table
from moola.tables.bar_table import HeldBars, read_bars, rows_by_symbol, spool_bars, symbol_interval_us
from tests.scans_made import made_bars

TWO = pl.concat(
    [made_bars(60, [], 1).with_columns(symbol=pl.lit("A")), made_bars(40, [], 2).with_columns(symbol=pl.lit("B"))]
)


def write(path, frame):
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(
        path, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ"
    )
    return path


@pytest.fixture(params=[7, 1000])
def piece(request, monkeypatch):
    monkeypatch.setattr(bar_table, "PIECE_ROWS", request.param)
    monkeypatch.setattr(bar_table, "PIECE_BYTES", 90 * request.param)
    return request.param


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
@pytest.mark.parametrize("order", ["symbol", "timestamp"])
def test_the_bars_of_a_file_are_laid_out_symbol_by_symbol(tmp_path, piece, name, order):
    path = write(tmp_path / name, TWO.sort(order, maintain_order=True))
    whole = read_bars(path)
    for spool in (spool_bars(path, tmp_path / "spool"), HeldBars(whole)):
        laid_out(spool, whole)


def laid_out(spool, whole):
    assert (spool.symbols, spool.n_bars) == (["A", "B"], [60, 40])
    for symbol, first in enumerate((0, 60)):
        found = spool.read(symbol, 3, 33)
        assert np.array_equal(found.ohlc, whole.ohlc[first + 3 : first + 33])
        assert np.array_equal(found.start_us, whole.start_us[first + 3 : first + 33])
        assert found.symbols == [spool.symbols[symbol]]
    assert len(spool.read(1, -5, 1000)) == 40
    assert len(spool.read(1, 50, 60)) == 0
    assert symbol_interval_us(spool, 0) == 3_600_000_000


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
def test_every_broken_rule_is_told_with_its_count_and_its_row_in_the_file(tmp_path, piece, name):
    high, low = TWO["high"].to_numpy().copy(), TWO["low"].to_numpy().copy()
    high[[41, 55]], low[3] = 0.5, -1.0
    time = TWO["timestamp"].to_list()
    time[70], time[90] = time[69], time[60]
    path = write(
        tmp_path / name, TWO.with_columns(high=high, low=low, timestamp=pl.Series(time, dtype=TWO.schema["timestamp"]))
    )
    with pytest.raises(InvalidData) as caught:
        spool_bars(path, tmp_path / "spool")
    assert {problem.rule: (problem.count, problem.first_row) for problem in caught.value.problems} == {
        "high must be at least max(open, close)": (2, 41),
        "low must be above 0": (1, 3),
        "timestamps must increase within a symbol": (1, 90),
        "a symbol and timestamp must have one bar": (1, 70),
    }


def test_what_is_no_bar_file_is_refused(tmp_path):
    for name, content, said in (
        ("empty.csv", b"", "empty"),
        ("header.csv", b"timestamp,open,high,low,close\n", "must have bars"),
        ("other.csv", b"a,b\n1,2\n", "lacks timestamp"),
        ("torn.parquet", b"PAR1 and no more", "could not be read|damaged"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidData, match=said):
            spool_bars(tmp_path / name, tmp_path / "spool")
    with pytest.raises(OperationFailed, match="no file"):
        spool_bars(tmp_path / "none.csv", tmp_path / "spool")


@given(st.lists(st.sampled_from(["a", "b", "", "ü"]), min_size=1, max_size=12))
def test_rows_by_symbol_keep_order(names):
    bars = Bars(np.arange(len(names)), np.ones((len(names), 4)), np.array(names, dtype=object))
    found = [(name, rows.tolist()) for name, rows in rows_by_symbol(bars)]
    assert found == [(name, [i for i, one in enumerate(names) if one == name]) for name in dict.fromkeys(names)]
