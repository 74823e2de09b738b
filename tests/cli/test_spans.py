"""Spans as a person types them: in, out, windows; every line that is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from moola.tables.bar_table import write_bars
from tests.spans_made import BARS, at, forty, table


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("bars.parquet"), BARS)
    Path("spans.csv").write_text(table([*forty(), (290.5, 360, "bear")]))
    return tmp_path


IMPORT = ("labels", "import", "--store", "l.db", "--bars", "bars.parquet", "--input", "spans.csv", "--annotator", "ana")


def test_spans_go_in_and_out_and_are_cut_with_every_step_said(moola, here):
    answer = moola(*IMPORT, "--annotated", at(0), at(450))
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[:4] == [
        "41 spans (15 bear, 26 bull) by ana; times without a zone are UTC",
        "  40 met bars exactly, 1 moved (usually by 30 min, at most by 30 min), 0 met none and are left out",
        "  1 lie over a gap of the bars",
        "41 added, 0 overwritten, 0 unchanged, 0 kept as they were in l.db",
    ]
    answer = moola("labels", "export", "--store", "l.db", "--as", "spans", "--output", "o.csv", "--stretches", "t.csv")
    assert answer.out.splitlines()[:2] == [
        "41 spans (15 bear, 26 bull) by ana in o.csv",
        "annotated stretches: 1 in t.csv",
    ]
    words = ("windows", "--bars", "bars.parquet", "--spans", "o.csv", "--output", "w.parquet")
    answer = moola(*words, "--stretches", "t.csv", "--background", "9", "--max-gap-hours", "24")
    assert answer.out.splitlines()[:5] == [
        "49 windows of 105 bars (9 background, 14 bear, 26 bull) in w.parquet",
        "  41 met bars exactly, 0 moved, 0 met none and are left out",
        "  1 lie over a gap of the bars",
        "  1 spans fit no window without a long gap, or lie too near to an end of the bars, and are left out",
        "  39 windows hold another span whole, and have the class of the one that they were cut for",
    ]


def test_the_form_of_an_export_comes_of_the_file_of_options_too(moola, here):
    assert "no annotated stretch: bars in no span say nothing" in moola(*IMPORT).out
    Path("moola.toml").write_text('["labels export"]\nas = "spans"\n')
    answer = moola("labels", "export", "--store", "l.db", "--output", "o.csv")
    assert (answer.code, answer.out.splitlines()[0]) == (0, "41 spans (15 bear, 26 bull) by ana in o.csv"), answer.err
    assert "as = spans" in answer.err
