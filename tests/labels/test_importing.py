"""Imports are whole or nothing, overwrite nothing unasked, and an export gives the file back."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from moola.errors import InvalidData, WrongUsage
from moola.labels.label_export import export
from moola.labels.label_import import import_labels
from moola.options.label_options import LabelsExportOptions, LabelsImportOptions
from moola.tables.label_store import LabelStore
from tests.labels.labels_made import BARS, WINDOW_BARS, made_label, made_store, write_made_bars

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
        "cancelled annotations": 1, "tasks without an annotation": 2, "items that are no time-series label": 1
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
        (task(0, item(ms(5), ms(25))), "an expansion must lie inside its window"),
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
