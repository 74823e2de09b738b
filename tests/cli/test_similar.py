"""The command `similar`: what it says and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from moola.options.table_options import SpanReading
from moola.tables.bar_table import read_bars, write_bars
from moola.tables.span_file import read_spans
from tests.made import random_walk_bars

AT = ("--at", "2020-01-13T00:00", "2020-01-13T11:00")


@pytest.fixture
def similar(tmp_path, monkeypatch, moola):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("bars.parquet"), random_walk_bars(360, symbol="EURUSD"))
    return lambda *arguments: moola("similar", "--bars", "bars.parquet", "--device", "cpu", *arguments)


def test_spans_a_file_that_labels_take_and_a_page(similar, moola):
    answer = similar(*AT, "--n", "4", "--label", "flag").ends(0)
    assert "Marked: 12 bars from 2020-01-13 00:00 to 2020-01-13 11:00 UTC. 360 bars searched" in answer.out
    assert "4 spans in artifacts/similar/similar.csv; look at them in artifacts/similar/similar.html" in answer.out
    assert "similar: bar 360 of 360" in answer.err
    bars = read_bars(Path("bars.parquet"))
    spans = read_spans(Path("artifacts/similar/similar.csv"), SpanReading(), bars)
    assert len(spans) == 4
    assert set(spans.label) == {"flag"}
    page = Path("artifacts/similar/similar.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert "<script" not in page
    words = ("--input", "artifacts/similar/similar.csv", "--bars", "bars.parquet", "--annotator", "ann")
    moola("labels", "import", *words, "--store", "labels.db").ends(0)

    told = json.loads(similar(*AT, "--n", "4", "--json", "--output", "found.parquet", "--page", "look.html").out)
    assert told["n_tables_kept"] == 1
    assert [row["similarity"] for row in told["spans"]] == sorted(
        (row["similarity"] for row in told["spans"]), reverse=True
    )
    assert told["page"] == "look.html"
    table = pl.read_parquet("found.parquet")
    assert table["similarity"].round(4).to_list() == [row["similarity"] for row in told["spans"]]
    assert [row["symbol"] for row in told["spans"]] == ["EURUSD"] * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "2019-12-31T00:00", "2020-01-01T05:00"), "reaches outside the bars"),
        (("--at", "2020-01-13T11:00", "2020-01-13T00:00"), "Swap the times"),
        (("--at", "2020-01-13T11:00"), "two times START END"),
        (("--at", "monday", "tuesday"), "--at must be two times"),
        (("--at", "2020-01-13T11:00", "2020-01-13T11:30"), "but it has 1"),
        ((*AT, "--symbol", "GBPUSD"), "--symbol must be one of"),
        ((*AT, "--n", "0"), "--n must be at least 1"),
        ((*AT, "--output", "found.txt"), "--output must end in"),
        ((*AT, "--label", " "), "--label must be a class"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(similar, words, said):
    similar(*words).ends(2, said)
    assert not Path("artifacts/similar").exists()


@pytest.mark.slow
def test_of_several_symbols_one_is_named(similar, moola):
    table = pl.concat(
        [pl.read_parquet("bars.parquet"), pl.read_parquet("bars.parquet").with_columns(symbol=pl.lit("X"))]
    )
    table.write_parquet("two.parquet")
    two = ("similar", "--bars", "two.parquet", "--device", "cpu", *AT)
    moola(*two).ends(2, "Name it with --symbol")
    told = json.loads(moola(*two, "--symbol", "X", "--n", "1", "--json").out)
    # The other symbol has the very same bars.
    assert told["spans"][0]["symbol"] == "EURUSD"
    assert told["spans"][0]["start"].startswith("2020-01-13T00:00")
