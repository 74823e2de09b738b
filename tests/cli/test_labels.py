"""`labels export|import|stats`, of windows and of spans, as a person types them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moola.tables.bar_table import write_bars
from moola.tables.label_store import LabelStore
from tests.labels.labels_made import WINDOW_BARS, made_label, made_store, write_made_bars
from tests.spans_made import BARS, at, forty, table

LABELS = (
    made_label(0, (5, 9, "consolidation"), grade="A"),
    made_label(0, (5, 13, "consolidation"), annotator="ben", grade="B"),
    made_label(30, (7, 9, "retracement"), (12, 14, "retracement")),
    made_label(30, (7, 9, "retracement"), (12, 14, "retracement"), annotator="ben"),
    made_label(60, status="rejected", grade="D", reason="a gap"),
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOOLA_WINDOW_BARS", str(WINDOW_BARS))
    write_made_bars(tmp_path / "bars.parquet")
    made_store(tmp_path / "labels.db", *LABELS)
    return tmp_path


STORE = ("--store", "labels.db", "--bars", "bars.parquet")


def test_export_prints_what_was_written_and_what_not(moola, here):
    answer = moola("labels", "export", *STORE, "--output", "out.parquet", "--resolve", "agree").ends(0)
    assert answer.out.splitlines() == [
        "1 windows in 2 rows (2 retracement) in out.parquet",
        "1 left out:",
        "  w60: rejected: a gap",
        "1 in conflict:",
        "  w0: end is 4 bars apart: ana at bar 9, ben at bar 13",
        "1 of the expansions reach outside the inner zone",
        "Next: moola convert --input out.parquet --output <relative.parquet> --window-bars 20",
    ]
    answer = moola(
        "labels", "export", *STORE, "--output", "out.parquet", "--annotator", "ben", "--min-grade", "C", "--json"
    )
    assert (answer.json["classes"], answer.json["conflicts"]) == ({"consolidation": 1}, [])
    assert answer.json["left_out"] == [{"window_id": "w30", "reason": "it was not graded (--min-grade C)"}]
    answer = moola("labels", "export", *STORE, "--output", "out.parquet")
    assert "  w0: end is 4 bars apart: ana at bar 9, ben at bar 13; that of ben, the last saved was taken" in answer.out


def test_import_counts_and_says_what_it_kept(moola, here):
    assert moola("labels", "export", *STORE, "--output", "out.parquet").code == 0
    into = ("labels", "import", "--store", "new.db", "--bars", "bars.parquet", "--input", "out.parquet")
    answer = moola(*into, "--annotator", "cem")
    assert answer.out.splitlines() == [
        "2 added, 0 overwritten, 0 unchanged, 0 kept as they were in new.db",
        "Next: moola labels stats --store new.db --window-bars 20",
    ]
    with LabelStore(here / "new.db") as store:
        label = store.get("w0", "cem")
        store.save(replace(label, expansions=()), label.revision)
    answer = moola(*into, "--annotator", "cem")
    assert answer.out.splitlines()[:2] == [
        "0 added, 0 overwritten, 1 unchanged, 1 kept as they were in new.db",
        "  kept w0 of cem: the file differs (--overwrite takes it)",
    ]
    assert moola(*into, "--annotator", "cem", "--overwrite", "true", "--json").json["overwritten"] == 1


def test_stats_read_as_tables(moola, here):
    answer = moola("labels", "stats", *STORE).ends(0)
    lines = answer.out.splitlines()
    assert lines[0] == "5 labels of 3 windows in labels.db"
    for line in (
        "  ana               2         1        0",
        "  everybody  1  1  0  1     2",
        "  expansions by hour of their first bar (UTC): 05: 2, 13: 2, 18: 2",
        "  ana, ben         2   1.00        1.00         0.00      1.00       0.00      0.67",
        "  w0: end is 4 bars apart: ana at bar 9, ben at bar 13",
    ):
        assert line in lines
    assert lines[-1].startswith("Next: moola labels export --store labels.db --bars bars.parquet --output ")
    assert moola("labels", "stats", "--store", "labels.db", "--json").json["pointers_from"] == "times"


def test_errors_end_in_their_codes_and_change_nothing(moola, here):
    before = (here / "labels.db").read_bytes()
    out = ("--output", "out.parquet")
    cases = [
        (("export", *STORE, *out, "--annotator", "zoe"), 2, "'zoe' is none of 2: ana, ben"),
        (("export", *STORE, *out, "--min-grade", "E"), 2, "--min-grade"),
        (("export", *STORE, *out, "--window-bars", "19"), 3, "none of 3 can be"),
        (("export", "--store", "no.db", "--bars", "bars.parquet", *out), 1, "there is no file no.db"),
        (("export", "--store", "bars.parquet", "--bars", "bars.parquet", *out), 5, "another kind of file"),
        (("import", *STORE, "--input", "bars.parquet", "--annotator", "ana"), 3, "columns start, end, label"),
        (("import", *STORE, "--input", "labels.db", "--annotator", "ana"), 3, "must be CSV, JSON or parquet"),
        (("stats", "--store", "no.db"), 1, "there is no file no.db"),
    ]
    for arguments, code, message in cases:
        answer = moola("labels", *arguments)
        assert (answer.code, "Traceback" in answer.err) == (code, False), (arguments, answer.err)
        assert message in answer.err
    assert (here / "labels.db").read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == ["bars.parquet", "data", "labels.db"]


def test_the_samples_labels_go_in_and_come_out_unchanged(moola, sample):
    bars = ("--bars", "data/raw/eurusd_1h_2017.parquet")
    labelled = "data/processed/labeled/train_latest.parquet"
    assert moola("labels", "import", "--store", "labels.db", *bars, "--input", labelled).code == 0
    assert moola("labels", "export", "--store", "labels.db", *bars, "--output", "out.parquet").code == 0
    assert (sample / "out.parquet").read_bytes() == (sample / labelled).read_bytes()


def test_a_store_is_checked_and_copied(moola, here):
    assert "is intact" in moola("labels", "check", "--store", "labels.db").out
    moola("labels", "backup", "labels.db", "copy.db").ends(0)
    assert moola("labels", "backup", "--store", "labels.db", "--to", "copy.db").code == 2
    assert moola("labels", "check", "copy.db", "--json").json["n_labels"] > 0
    content = (here / "copy.db").read_bytes()
    (here / "copy.db").write_bytes(content.replace(b"a gap", b"b gap"))
    assert moola("labels", "check", "copy.db").code == 5


@pytest.fixture
def charted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("bars.parquet"), BARS)
    Path("spans.csv").write_text(table([*forty(), (290.5, 360, "bear")]))
    return tmp_path


IMPORT = ("labels", "import", "--store", "l.db", "--bars", "bars.parquet", "--input", "spans.csv", "--annotator", "ana")


def test_spans_go_in_and_out_and_are_cut_with_every_step_said(moola, charted):
    answer = moola(*IMPORT, "--annotated", at(0), at(450)).ends(0)
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


def test_the_form_of_an_export_comes_of_the_file_of_options_too(moola, charted):
    assert "no annotated stretch: bars in no span say nothing" in moola(*IMPORT).out
    Path("moola.toml").write_text('["labels export"]\nas = "spans"\n')
    answer = moola("labels", "export", "--store", "l.db", "--output", "o.csv")
    assert (answer.code, answer.out.splitlines()[0]) == (0, "41 spans (15 bear, 26 bull) by ana in o.csv"), answer.err
    assert "as = spans" in answer.err
