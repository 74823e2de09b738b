"""Spans through the label store: imported, merged, exported, and the same again."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.core.label_rules import ChartLabels, ChartSpan
from moola.errors import InvalidData, LabelConflict, UntrustedFile, WrongUsage
from moola.labels.label_export import export
from moola.labels.label_import import import_labels
from moola.options.label_options import LabelsExportOptions, LabelsImportOptions
from moola.tables.bar_table import write_bars
from moola.tables.label_database import ADDED_2, APPLICATION_ID, FIRST_SCHEMA
from moola.tables.label_store import LabelStore
from moola.tables.span_file import write_spans
from tests.labels.labels_made import made_label
from tests.spans_made import BARS, at, forty, made_spans, table


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("bars.parquet"), BARS)
    return tmp_path


def taken(text: str, **given_: object):
    Path("spans.csv").write_text(text)
    values = {"annotator": "ana"} | given_
    return import_labels(
        LabelsImportOptions(store=Path("l.db"), bars=Path("bars.parquet"), input=Path("spans.csv"), **values)
    )


def given_back(as_: str = "spans", **values: object):
    path = Path("out.json" if as_ == "label-studio" else "out.csv")
    return export(LabelsExportOptions(store=Path("l.db"), output=path, as_=as_, **values)), path


def charts():
    with LabelStore(Path("l.db")) as store:
        return store.charts()


def test_spans_go_in_and_come_out_the_same_with_their_stretches(here):
    result = taken(table(forty()), annotated=(at(0), at(1000), at(1200), at(2399)))
    assert (result["added"], result["n_stretches"], result["n_exact"]) == (40, 2, 40)
    assert result["classes"] == {"bear": 14, "bull": 26}
    found, path = given_back(stretches=Path("seen.csv"))
    assert (found["n_spans"], found["n_stretches"]) == (40, 2)
    again = taken(path.read_text(), annotator=None, stretches=Path("seen.csv"))
    assert (again["added"], again["unchanged"], again["n_stretches"]) == (0, 40, 2)
    assert charts()[0].revision == 1


def test_each_keeps_the_stretches_that_are_his_also_where_he_marked_nothing(here):
    Path("seen.csv").write_text(
        f"from,to,annotator\n{at(0)},{at(100)},ana\n{at(50)},{at(200)},ben\n{at(500)},{at(600)},\n"
    )
    result = taken(table([(10, 20, "bull")]), stretches=Path("seen.csv"))
    assert result["n_stretches"] == 2
    Path("l.db").unlink()
    taken("start,end,label,annotator\n" + f"{at(10)},{at(20)},bull,ana\n", annotator=None, stretches=Path("seen.csv"))
    assert {chart.annotator: len(chart.stretches) for chart in charts()} == {"ana": 2, "ben": 2}
    found, _ = given_back(stretches=Path("again.csv"))
    assert found["n_stretches"] == 4
    assert [line.rsplit(",", 1)[1] for line in Path("again.csv").read_text().splitlines()] == [
        "annotator", "ana", "ben", "ana", "ben"
    ]  # fmt: skip
    assert given_back(annotator="ana", stretches=Path("again.csv"))[0]["n_stretches"] == 2
    assert "annotator" not in Path("again.csv").read_text()
    Path("seen.csv").write_text(f"from,to,annotator\n{at(0)},{at(100)},ben\n")
    with pytest.raises(InvalidData, match=r"must be of ana .* are of ben"):
        taken(table([(10, 20, "bull")]), stretches=Path("seen.csv"))


SPANS = st.lists(
    st.tuples(
        st.sampled_from(["ana", "ben"]),
        st.integers(0, 250),
        st.integers(0, 30),
        st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: (one[0], one[1] // 40),
)


@pytest.mark.slow
@settings(max_examples=6)
@given(SPANS, st.sampled_from(["spans", "label-studio"]))
def test_every_span_survives_both_ways(pieces, as_):
    with TemporaryDirectory() as folder:
        bars, spans, out, back = (Path(folder, name) for name in ("bars.parquet", "spans.csv", "out.csv", "back.csv"))
        write_bars(bars, BARS)
        made = [made_spans((a - a % 40, a - a % 40 + n, label), annotator=who) for who, a, n, label in pieces]
        rows = "".join(_line(one, folder) for one in made)
        spans.write_text("symbol,start,end,label,annotator\n" + rows)
        for name, source in (("one.db", spans), ("two.db", out)):
            store = Path(folder, name)
            import_labels(LabelsImportOptions(store=store, bars=bars, input=source))
            export(LabelsExportOptions(store=store, output=out, as_=as_))
            if name == "one.db":
                export(LabelsExportOptions(store=store, output=back, as_="spans"))
        stores = []
        for name in ("one.db", "two.db"):
            with LabelStore(Path(folder, name)) as store:
                stores.append([replace(chart, saved_us=0) for chart in store.charts()])
        assert stores[0] == stores[1]
        assert sorted(back.read_text().splitlines()[1:]) == sorted(f"{row},marked" for row in rows.splitlines())


def _line(spans, folder) -> str:
    path = Path(folder, "one.csv")
    write_spans(path, spans)
    return path.read_text().splitlines()[1] + "\n"


def test_what_differs_is_kept_or_overwritten_with_its_history(here):
    taken(table([(10, 20, "bull"), (50, 60, "bear")]))
    moved = table([(12, 22, "bull"), (50, 60, "bear"), (70, 80, "bull")])
    result = taken(moved)
    assert (result["added"], result["unchanged"], result["kept"]) == (1, 1, 1)
    assert result["kept_spans"][0]["label"] == "bull"
    result = taken(moved, overwrite=True)
    assert (result["added"], result["unchanged"], result["overwritten"]) == (0, 2, 1)
    assert [(span.start_us - BARS.start_us[0]) // 3_600_000_000 for span in charts()[0].spans] == [12, 50, 70]
    assert charts()[0].revision == 3


def test_pieces_inside_others_are_pieces_of_their_own_whichever_file_names_them(here):
    large, small = [(10, 60, "trend")], [(12, 20, "flag"), (55, 64, "flag")]
    taken(table(large))
    result = taken(table([*small, (60, 70, "trend")]))
    assert (result["added"], result["kept"]) == (3, 0)
    result = taken(table(small), overwrite=True)
    assert (result["unchanged"], result["overwritten"]) == (2, 0)
    assert given_back()[0]["classes"] == {"flag": 2, "trend": 2}


def test_two_people_stay_two_and_one_can_be_left_out(here):
    taken(table([(10, 20, "bull")]))
    taken(table([(12, 22, "bear")]), annotator="ben")
    assert given_back()[0]["annotators"] == ["ana", "ben"]
    assert given_back(annotator="ben")[0]["classes"] == {"bear": 1}
    with pytest.raises(WrongUsage, match="is none of 2: ana, ben"):
        given_back(annotator="eve")


def test_somebody_must_have_marked_them(here):
    with pytest.raises(WrongUsage, match="must name who marked the spans"):
        taken(table(forty()), annotator=None)
    assert not Path("l.db").exists()


def test_expansions_of_labelled_windows_are_spans_too(here):
    with LabelStore(Path("l.db")) as store:
        store.save(made_label(0, (5, 9, "up")), 0)
    assert given_back()[0]["n_spans"] == 1
    with pytest.raises(InvalidData, match="must have annotated stretches for --stretches"):
        given_back(stretches=Path("seen.csv"))


def test_windows_of_spans_alone_are_cut_and_not_exported(here):
    taken(table(forty()))
    with pytest.raises(InvalidData, match="moola windows --spans"):
        given_back("windows", bars=Path("bars.parquet"))
    with pytest.raises(WrongUsage, match="windows need --bars"):
        given_back("windows")


CHART = ChartLabels("EURUSD", "ana", (ChartSpan(1, 2, "up", "a note"),), ((0, 9),))


def test_a_chart_is_saved_on_what_was_seen(tmp_path):
    with LabelStore(tmp_path / "l.db") as store:
        store.save_charts([CHART])
        assert [replace(one, revision=0, saved_us=0) for one in store.charts()] == [CHART]
        with pytest.raises(LabelConflict, match="at revision 0, but they are at 1"):
            store.save_charts([CHART])
        with pytest.raises(InvalidData, match="every span of it a class"):
            store.save_charts([replace(CHART, revision=1, spans=(ChartSpan(1, 2, " "),))])
        assert [one.revision for one in store.charts()] == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE charts SET content = replace(content, 'up', 'down')",
        "DELETE FROM charts WHERE number = 2",
        "UPDATE charts SET annotator = 'ben' WHERE number = 1",
        "UPDATE charts SET content = x'00'",
    ],
)
def test_a_chart_that_was_changed_outside_is_refused(tmp_path, statement):
    path = tmp_path / "l.db"
    with LabelStore(path) as store:
        store.save_charts([CHART])
        store.save_charts([replace(CHART, revision=1)])
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE name LIKE 'charts_%'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()
    with pytest.raises(UntrustedFile, match="must hold every revision as it was saved"):
        LabelStore(path)


def test_a_store_of_version_2_is_brought_up_and_kept(tmp_path, caplog):
    path = tmp_path / "l.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        f"{FIRST_SCHEMA} {ADDED_2} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2;"
    )
    connection.close()
    with LabelStore(path) as store:
        assert store.charts() == []
        store.save_charts([CHART])
    assert "from version 2 to version 3" in caplog.text
    assert (tmp_path / "l.db.version-2").exists()
    with LabelStore(path) as store:
        assert len(store.charts()) == 1


def test_who_proposed_a_span_is_written_and_read_again(here):
    first, last = BARS.start_us[[10, 20]].tolist()
    spans = tuple(
        ChartSpan(first + k * 10**9 * 3600, last + k * 10**9 * 3600, "bull", "", source)
        for k, source in enumerate(("", "accepted", "corrected"))
    )
    with LabelStore(Path("l.db")) as store:
        store.save_charts([ChartLabels(BARS.symbols[0], "ana", spans)])
    _, path = given_back()
    assert [row.rsplit(",", 1)[1] for row in path.read_text().splitlines()] == [
        "source",
        "marked",
        "accepted",
        "corrected",
    ]
    Path("l.db").rename("first.db")
    taken(path.read_text(), annotator=None)
    assert [one.source for one in charts()[0].spans] == ["", "accepted", "corrected"]


def test_spans_stay_with_the_bars_that_they_were_marked_on(here, caplog):
    taken(table(forty()))
    write_bars(Path("bars.parquet"), replace(BARS, ohlc=BARS.ohlc * 1.01))
    with pytest.raises(InvalidData, match="bars have other prices"):
        taken(table(forty()))
    ohlc = BARS.ohlc.copy()
    ohlc[352:357] *= 1.01
    write_bars(Path("bars.parquet"), replace(BARS, ohlc=ohlc))
    taken(table(forty()))
    assert "1 labelled windows or spans are on bars that were corrected since" in caplog.text
