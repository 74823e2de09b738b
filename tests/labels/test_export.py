"""Labels come out at exactly the bars at which they were marked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.labels.label_export import export
from moola.labels.label_import import import_labels
from moola.options.label_options import LabelsExportOptions, LabelsImportOptions
from moola.tables.label_store import LabelStore
from moola.tables.window_file import read_windows
from tests.labels.labels_made import BARS, WINDOW_BARS, made_label, made_store, write_made_bars


@pytest.fixture
def run(tmp_path):
    """Export labels and return the result, and the rows written."""

    def go(*labels, leave_out=(), **options):
        options = LabelsExportOptions(
            store=made_store(tmp_path / "labels.db", *labels),
            bars=write_made_bars(tmp_path / "bars.parquet", leave_out),
            output=tmp_path / "out.parquet",
            window_bars=WINDOW_BARS,
            **options,
        )
        result = export(options)
        frame = pl.read_parquet(options.output)
        rows = frame.select("window_id", "label", "expansion_start", "expansion_end", "annotator").rows()
        return result, rows

    return go


def reasons(entries):
    return {entry["window_id"]: entry["reason"] for entry in entries}


def test_marks_at_known_bars_come_out_at_these_bars(run, tmp_path):
    result, rows = run(
        made_label(40, (7, 11, "retracement"), grade="B"),
        made_label(0, (5, 9, "consolidation"), grade="A"),
        made_label(20, (12, 14, "retracement"), (0, 19, "consolidation")),
    )
    assert rows == [
        ("w0", "consolidation", 5, 9, "ana"),
        ("w20_exp_1", "retracement", 12, 14, "ana"),
        ("w20_exp_2", "consolidation", 0, 19, "ana"),
        ("w40", "retracement", 7, 11, "ana"),
    ]
    assert result["classes"] == {"consolidation": 2, "retracement": 2}
    assert (result["n_windows"], result["n_rows"], result["left_out"], result["conflicts"]) == (3, 4, [], [])
    table = read_windows(tmp_path / "out.parquet", WINDOW_BARS)
    firsts = np.array([0, 20, 20, 40])
    assert table.extra["quality"].to_list() == ["A", None, None, "B"]
    np.testing.assert_array_equal(table.ohlc, np.stack([BARS.ohlc[i : i + WINDOW_BARS] for i in firsts]))
    np.testing.assert_array_equal(table.start_us, BARS.start_us[firsts])
    np.testing.assert_array_equal(table.end_us, BARS.start_us[firsts + WINDOW_BARS - 1])
    assert set(table.symbol) == {"EURUSD"}


def test_a_gap_in_the_bars_moves_no_pointer(run):
    """The bars lack rows 50 to 59, and a window over that gap was labelled on bars 45 to 74 of the whole table."""
    time = BARS.start_us
    over_gap = made_label(45, (2, 17, "retracement"), end_us=int(time[74]))
    _, rows = run(over_gap, made_label(0, (3, 4, "retracement")), leave_out=tuple(range(50, 60)))
    # Row 62: five bars of the window stand before the gap, then 60, 61, 62 are its positions 5, 6, 7.
    assert rows == [("w0", "retracement", 3, 4, "ana"), ("w45", "retracement", 2, 7, "ana")]


def test_windows_that_cannot_be_written_are_listed_with_the_reason(run):
    result, rows = run(
        made_label(0, (3, 4, "a")),
        made_label(30, (3, 4, "a")),
        made_label(60, (3, 4, "a")),
        made_label(90, (3, 4, "a"), symbol="GBPUSD"),
        made_label(110),
        made_label(130, status="rejected", reason="a gap"),
        made_label(150, status="skipped"),
        leave_out=(35, 60),
    )
    assert [row[0] for row in rows] == ["w0"]
    assert reasons(result["left_out"]) == {
        "w30": "it must have 20 bars, but the bars file has 19 between its ends",
        "w60": "its first bar 2020-01-03T12:00:00.000000Z is not in the bars file",
        "w90": "its symbol 'GBPUSD' is not in the bars file",
        "w110": "it has no expansion (--no-expansion NAME writes it as a class)",
        "w130": "rejected: a gap",
        "w150": "skipped",
    }


def test_a_pointer_between_bars_is_told(run):
    label = made_label(0, (3, 4, "a"))
    between = made_label(30)
    moved = between.__class__(
        **{
            **between.__dict__,
            "expansions": (label.expansions[0].__class__(between.start_us + 1, between.end_us, "a"),),
        }
    )
    result, _ = run(label, moved)
    assert reasons(result["left_out"]) == {"w30": "its pointer 2020-01-02T06:00:00.000001Z is not in the bars file"}


def test_windows_without_an_expansion_can_be_a_class(run):
    _, rows = run(made_label(0, (3, 4, "a")), made_label(30), no_expansion="none")
    assert rows == [("w0", "a", 3, 4, "ana"), ("w30", "none", None, None, "ana")]


def test_the_least_grade_leaves_out_worse_ones_and_ungraded_ones(run):
    labels = [made_label(30 * i, (3, 4, "a"), grade=grade) for i, grade in enumerate(["A", "C", "D", ""])]
    result, rows = run(*labels, min_grade="C")
    assert [row[0] for row in rows] == ["w0", "w30"]
    assert reasons(result["left_out"]) == {
        "w60": "grade D is worse than C (--min-grade C)",
        "w90": "it was not graded (--min-grade C)",
    }


TWO = (
    made_label(0, (5, 9, "a"), grade="A"),
    made_label(0, (8, 12, "a"), annotator="ben", grade="C"),
    made_label(30, (5, 9, "a"), annotator="ben"),
    made_label(30, (5, 9, "b")),
    made_label(60, (5, 13, "a"), annotator="ben"),
    made_label(60, (5, 9, "a")),
    made_label(90, (5, 9, "a"), annotator="ben"),
    made_label(90, status="rejected"),
    made_label(120, (1, 2, "a")),
    made_label(120, status="skipped", annotator="ben"),
)


def test_the_last_saved_label_counts(run):
    result, rows = run(*TWO)
    assert rows == [
        ("w0", "a", 8, 12, "ben"),
        ("w30", "b", 5, 9, "ana"),
        ("w60", "a", 5, 9, "ana"),
        ("w120", "a", 1, 2, "ana"),
    ]
    assert reasons(result["left_out"]) == {"w90": "rejected"}


def test_what_annotators_agree_on_is_their_mean_and_the_rest_conflicts(run, tmp_path):
    result, rows = run(*TWO, resolve="agree")
    assert rows == [("w0", "a", 7, 11, "ana+ben"), ("w120", "a", 1, 2, "ana")]
    assert reasons(result["conflicts"]) == {
        "w30": "class: ana says b, ben says a",
        "w60": "end is 4 bars apart: ana at bar 9, ben at bar 13",
        "w90": "rejected by ana, labelled by ben",
    }
    # The worse grade of the two holds.
    assert pl.read_parquet(tmp_path / "out.parquet")["quality"].to_list() == ["C", None]


def test_one_annotator_decides_or_is_taken_alone(run):
    _, rows = run(*TWO, made_label(150, (2, 3, "a"), annotator="cem"), resolve="ben")
    assert [(row[0], row[4]) for row in rows] == [
        ("w0", "ben"), ("w30", "ben"), ("w60", "ben"), ("w90", "ben"), ("w120", "ana"), ("w150", "cem"),
    ]  # fmt: skip
    # Where the one who decides did not judge a window, the others must agree.
    result, rows = run(made_label(60, (5, 10, "a"), annotator="cem"), resolve="cem")
    assert rows[0] == ("w0", "a", 7, 11, "ana+ben")
    assert ("w60", "a", 5, 10, "cem") in rows
    assert set(reasons(result["conflicts"])) == {"w30", "w90"}
    _, rows = run(annotator="ben")
    assert {row[4] for row in rows} == {"ben"}
    assert len(rows) == 4


def test_where_annotators_disagree_it_is_said_on_what_and_whose_label_was_taken(run):
    result, _ = run(*TWO)
    assert reasons(result["disagreements"]) == {
        "w30": "class: ana says b, ben says a; that of ana, the last saved was taken",
        "w60": "end is 4 bars apart: ana at bar 9, ben at bar 13; that of ana, the last saved was taken",
        "w90": "rejected by ana, labelled by ben; that of ana, the last saved was taken",
    }
    result, _ = run(*TWO, resolve="ben")
    assert reasons(result["disagreements"])["w30"] == "class: ana says b, ben says a; that of ben (--resolve) was taken"
    assert set(reasons(result["disagreements"])) == {"w30", "w60", "w90"}
    # Nobody's label is taken alone where all must agree, and one annotator has nobody to differ from.
    assert run(*TWO, resolve="agree")[0]["disagreements"] == []
    assert run(annotator="ben")[0]["disagreements"] == []


def test_several_expansions_agree_in_time_order(run):
    one = made_label(0, (12, 15, "b"), (3, 6, "a"))
    other = made_label(0, (4, 6, "a"), (12, 16, "b"), annotator="ben")
    _, rows = run(one, other, resolve="agree")
    assert rows == [("w0_exp_1", "a", 4, 6, "ana+ben"), ("w0_exp_2", "b", 12, 16, "ana+ben")]


def test_errors_leave_no_file(run, tmp_path):
    with pytest.raises(InvalidData, match=r"none of 1 can be \(1 rejected\)"):
        run(made_label(0, status="rejected"))
    with pytest.raises(WrongUsage, match="'zoe' is none of 1: ana"):
        run(annotator="zoe")
    with pytest.raises(WrongUsage, match="latest, agree or an annotator"):
        run(resolve="zoe")
    # Another id over the same bars and pointers, but with another class.
    with pytest.raises(InvalidData, match="same bars and pointers must have the same label"):
        run(made_label(0, (3, 4, "a")), made_label(0, (3, 4, "b"), window_id="twin"))
    (tmp_path / "labels.db").unlink()
    with pytest.raises(InvalidData, match="window_id must name one row"):
        run(made_label(0, (3, 4, "a"), (7, 8, "a")), made_label(30, (3, 4, "a"), window_id="w0_exp_1"))
    assert not (tmp_path / "out.parquet").exists()
    missing = LabelsExportOptions(
        store=tmp_path / "no.db", bars=tmp_path / "bars.parquet", output=tmp_path / "o.parquet"
    )
    with pytest.raises(OperationFailed, match="no file"):
        export(missing)


LABELS = (
    made_label(0, (5, 9, "a"), grade="A"),
    made_label(20, (12, 14, "b"), (1, 19, "a"), grade="C"),
    made_label(40, (3, 3, "a"), annotator="ben"),
    made_label(60),
)


@pytest.fixture
def here(tmp_path):
    """A folder with the bars, and what was exported of a store: `windows.parquet`."""
    write_made_bars(tmp_path / "bars.parquet")
    made_store(tmp_path / "first.db", *LABELS)
    _export(tmp_path, "first.db", "windows.parquet")
    return tmp_path


def _export(folder, store, output):
    export(
        LabelsExportOptions(
            store=folder / store,
            bars=folder / "bars.parquet",
            output=folder / output,
            no_expansion="none",
            window_bars=WINDOW_BARS,
        )
    )


def _import(folder, file="windows.parquet", store="second.db", **options):
    paths = {"store": folder / store, "bars": folder / "bars.parquet", "input": folder / file}
    given = {"no_expansion": "none", "window_bars": WINDOW_BARS}
    return import_labels(LabelsImportOptions(**(paths | given | options)))


def _labels(folder, store="second.db"):
    with LabelStore(folder / store) as opened:
        return [replace(label, saved_us=0) for label in opened.all()]


def test_an_import_then_an_export_give_the_same_file(here):
    assert _import(here) == {
        "store": str(here / "second.db"),
        "added": 4,
        "unchanged": 0,
        "overwritten": 0,
        "kept": 0,
        "kept_windows": [],
        "passed_over": {},
    }
    assert _labels(here) == [replace(label, revision=1) for label in LABELS]
    _export(here, "second.db", "again.parquet")
    assert (here / "again.parquet").read_bytes() == (here / "windows.parquet").read_bytes()


def test_nothing_is_overwritten_unless_asked(here):
    _import(here, annotator="cem")
    stood = replace(_labels(here)[0], note="mine", expansions=(), grade="B")
    with LabelStore(here / "second.db") as store:
        stood = replace(store.save(stood, 1), saved_us=0)
    result = _import(here, annotator="cem")
    assert [result[name] for name in ("added", "unchanged", "overwritten", "kept")] == [0, 3, 0, 1]
    assert result["kept_windows"] == [{"window_id": "w0", "annotator": "cem"}]
    assert stood in _labels(here)
    result = _import(here, annotator="cem", overwrite=True)
    assert [result[name] for name in ("added", "unchanged", "overwritten", "kept")] == [0, 3, 1, 0]
    last = _labels(here)[-1]
    assert (last.expansions, last.grade, last.note, last.revision) == (LABELS[0].expansions, "A", "mine", 3)
    assert _import(here, annotator="dan")["added"] == 4


def test_rows_without_a_label_are_passed_over(here):
    frame = pl.read_parquet(here / "windows.parquet")
    nothing = {
        name: pl.when(pl.col("window_id") != "w0").then(pl.col(name))
        for name in ("label", "expansion_start", "expansion_end")
    }
    frame.with_columns(**nothing).write_parquet(here / "part.parquet")
    result = _import(here, "part.parquet")
    assert (result["added"], result["passed_over"]) == (3, {"without a label": 1})


def test_every_problem_is_listed_and_nothing_is_written(here):
    frame = pl.read_parquet(here / "windows.parquet")
    shift = pl.duration(hours=pl.when(pl.col("window_id") == "w40").then(1).otherwise(0))
    late = pl.duration(days=pl.when(pl.col("window_id") == "w60").then(100).otherwise(0))
    frame.with_columns(
        pl.col("start_ts") + shift + late,
        pl.col("end_ts") + shift + late,
        quality=pl.Series(["Z", "A", "B", None, None]),
        annotator=pl.Series(["ana", "ana", "ana", "ana", None]),
    ).write_parquet(here / "bad.parquet")
    with pytest.raises(InvalidData) as refused:
        _import(here, "bad.parquet", no_expansion=None)
    rules = {problem.rule: (problem.count, problem.first_row) for problem in refused.value.problems}
    assert rules == {
        "annotator must be there in every row (or pass --annotator)": (1, 4),
        "a window must be in the bars file": (1, 4),
        "a window must have the prices of the bars file": (1, 3),
        "quality must be A to D or missing": (1, 0),
        "rows of one window must have one quality": (1, 1),
    }
    assert not (here / "second.db").exists()
    with pytest.raises(InvalidData, match="a label must have pointers"):
        _import(here, no_expansion=None)


def test_an_id_of_other_bars_is_refused(here):
    made_store(here / "second.db", made_label(100, (1, 2, "a"), window_id="w0", annotator="zoe"))
    with pytest.raises(InvalidData, match="same bars as in the store, but 1 does not, first at row 0: w0"):
        _import(here)
    assert len(_labels(here)) == 1


def test_who_labelled_must_be_known_and_windows_need_times(here):
    frame = pl.read_parquet(here / "windows.parquet")
    frame.drop("annotator").write_parquet(here / "nobody.parquet")
    with pytest.raises(WrongUsage, match="Pass --annotator"):
        _import(here, "nobody.parquet")
    frame.drop("start_ts", "end_ts").write_parquet(here / "untimed.parquet")
    with pytest.raises(InvalidData, match="must have start_ts and end_ts"):
        _import(here, "untimed.parquet")


def ms(row, late=0):
    return int(BARS.start_us[row]) // 1000 + late


def item(start, end, name="a", kind="timeserieslabels"):
    return {"type": kind, "from_name": "label", "to_name": "ts", "value": {"start": start, "end": end, kind: [name]}}


def task(first, *items, **data):
    values = {
        "window_id": f"w{first}",
        "symbol": "EURUSD",
        "start_ts": ms(first),
        "end_ts": ms(first + WINDOW_BARS - 1),
    }
    return {"id": 1, "data": values | data, "annotations": [{"was_cancelled": False, "result": list(items)}]}


def _studio(folder, *tasks, **options):
    (folder / "studio.json").write_text(json.dumps(list(tasks)))
    return _import(folder, "studio.json", **({"annotator": "ana"} | options))


def test_label_studio_tasks_come_in_at_their_bars(here):
    iso = "2020-01-02T{:02d}:00:00{}"
    shorter = task(40, item(iso.format(18, "Z"), iso.format(20, "+01:00")))
    del shorter["data"]["end_ts"]
    cancelled = task(80)
    cancelled["annotations"][0]["was_cancelled"] = True
    result = _studio(
        here,
        task(20, item(ms(32, late=1_800_000), ms(34, late=3_599_999), "b"), item(ms(21), ms(39)),
             {"type": "choices", "value": {"choices": ["C"]}}, {"type": "textarea", "value": {"text": ["x"]}}),
        shorter,
        task(60),
        cancelled,
        task(100) | {"annotations": []},
    )  # fmt: skip
    assert result["added"] == 3
    assert result["passed_over"] == {
        "cancelled annotations": 1, "tasks without an annotation": 2, "items that are not time-series labels": 1
    }  # fmt: skip
    assert _labels(here) == [
        made_label(20, (1, 19, "a"), (12, 14, "b"), grade="C", revision=1),
        made_label(40, (2, 3, "a"), revision=1),
        made_label(60, revision=1),
    ]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (7, "a task must have data"),
        ({"data": {}, "annotations": {}}, "a task must have annotations"),
        (task(0, window_id=5), r"data must have window_id \(text\)"),
        (task(0, start_ts="yesterday"), "start_ts must be a time"),
        (task(0, start_ts=1e400), "start_ts must be a time"),
        (task(0, start_ts=True), "start_ts must be a time"),
        (task(0, start_ts=ms(0) + 1), "a window must be in the bars file"),
        (task(0, item(ms(5), ms(25))), "an expansion must be inside its window"),
        (task(0, item(ms(5), ms(4))), "an expansion must not end before its start"),
        (task(0, item(ms(5), None)), "end must be a time"),
        (task(0, {"type": "timeserieslabels"}), "a label must have value"),
        (task(0, item(ms(5), ms(6), ["a", "b"])), "a label must have one class"),
        (task(0, item(ms(5), ms(6)), item(ms(5), ms(6))), "expansions of a window must not have the same bars"),
        (task(0) | {"annotations": [{"result": []}, {"result": []}]}, "a task must have one annotation"),
    ],
)
def test_label_studio_problems_are_named_with_their_task(here, broken, rule):
    with pytest.raises(InvalidData, match=rule) as refused:
        _studio(here, task(20), broken)
    assert [(problem.count, problem.first_row) for problem in refused.value.problems] == [(1, 1)]
    assert not (here / "second.db").exists()


def test_label_studio_files_that_are_none(here):
    with pytest.raises(WrongUsage, match="names numbers alone"):
        _studio(here, task(0), annotator=None)
    for content in ("{}", "[]"):
        (here / "studio.json").write_text(content)
        with pytest.raises(InvalidData, match="a list of tasks"):
            _import(here, "studio.json", annotator="ana")
    others = {
        b"\xff\xfe\x00": "in UTF-8 or UTF-16",
        b"[" * 100_000: "parquet or JSON",
        b"a,b\n1,2\n": "start, end, label",
    }
    for content, says in others.items():
        (here / "studio.json").write_bytes(content)
        with pytest.raises(InvalidData, match=says):
            _import(here, "studio.json", annotator="ana")
    with pytest.raises(InvalidData, match="once for each annotator"):
        _studio(here, task(0), task(0))
    seconds = task(0, item(ms(5) / 1000, ms(6) / 1000), start_ts=ms(0) / 1000, end_ts=ms(19) / 1000)
    assert _studio(here, seconds, timestamp_unit="s")["added"] == 1
    assert _labels(here) == [made_label(0, (5, 6, "a"), revision=1)]
