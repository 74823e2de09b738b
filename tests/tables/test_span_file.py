"""Files of spans in every layout: tables, Label Studio's exports, stretches; what is wrong is told with its row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moola.core.bars import Bars
from moola.errors import InvalidData, WrongUsage
from moola.options.table_options import SpanReading
from moola.tables.span_file import (
    bars_of,
    named_stretches,
    read_spans,
    read_stretches,
    spans_on_bars,
    write_stretches,
)
from tests.made import random_walk_bars
from tests.spans_made import BARS, HOURS, at, csv_export, forty, full_task, made_spans, minimal_task, table, write_json

PLAIN = SpanReading()
PIECES = forty()
NAMELESS = replace(BARS, symbol=np.full(len(BARS), "", dtype=object))


def rows_of(path, reading=PLAIN, bars=BARS):
    spans = read_spans(path, reading, bars)
    bars = bars_of(spans, bars)
    spans, told = spans_on_bars(spans, bars, path, reading.drop_outside)
    hour = {int(time): int(hour) for time, hour in zip(BARS.start_us, HOURS, strict=True)}
    found = [
        (hour[int(a)], hour[int(b)], label)
        for a, b, label in zip(spans.start_us, spans.end_us, spans.label, strict=True)
    ]
    return found, told, spans


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def as_records(pieces):
    return [{"start": at(a), "end": at(b), "label": name} for a, b, name in pieces]


@pytest.mark.parametrize("kind", ["csv", "tsv", "excel", "names", "json", "lines", "object", "parquet", "utf16", "ms"])
def test_a_table_reads_to_the_same_spans_in_every_layout(tmp_path, kind):
    path = tmp_path / "spans"
    text = table(PIECES)
    if kind == "csv":
        write(path, text)
    elif kind == "tsv":
        write(path, table(PIECES, "\t"))
    elif kind == "excel":
        write(path, table(PIECES, ";", "%d.%m.%Y %H:%M").replace("\n", "\r\n"), "utf-8-sig")
    elif kind == "names":
        write(path, text.replace("start,end,label", "Date From,Date-To,Pattern"))
    elif kind == "json":
        write_json(path, as_records(PIECES))
    elif kind == "lines":
        write(path, pl.DataFrame(as_records(PIECES)).write_ndjson())
    elif kind == "object":
        write_json(path, {"spans": as_records(PIECES)})
    elif kind == "parquet":
        frame = pl.DataFrame(as_records(PIECES))
        frame.with_columns(pl.col("start", "end").str.to_datetime()).write_parquet(path)
    elif kind == "utf16":
        write(path, text, "utf-16")
    elif kind == "ms":
        spans = made_spans(*PIECES)
        lines = zip(spans.start_us // 1000, spans.end_us // 1000, spans.label, strict=True)
        write(path, "\n".join(["start,end,label", *(f"{a},{b},{name}" for a, b, name in lines)]))
    found, told, _ = rows_of(path)
    assert found == PIECES
    assert (told["n_exact"], told["n_moved"], told["n_none"]) == (40, 0, 0)


def test_broker_clocks_change_with_the_season(tmp_path):
    # 7 hours ahead of New York: UTC+2 until the second Sunday of March, UTC+3 from then on.
    pieces = [(400, 410, "bull"), (1900, 1910, "bear")]
    ahead = [(a + (2 if a < 1600 else 3), b + (2 if b < 1600 else 3), name) for a, b, name in pieces]
    path = write(tmp_path / "broker.csv", table(ahead))
    assert rows_of(path, SpanReading(timezone="America/New_York+7"))[0] == pieces
    assert rows_of(path, SpanReading(timezone="+02:00"))[0] != pieces


def test_spans_are_moved_to_their_bars_and_it_is_said_by_how_much(tmp_path, caplog):
    path = write(tmp_path / "s.csv", table([(10, 20, "bull"), (30.25, 40.5, "bull"), (290, 310, "bear")]))
    found, told, _ = rows_of(path)
    assert found == [(10, 20, "bull"), (30, 40, "bull"), (290, 299, "bear")]
    assert (told["n_exact"], told["n_moved"], told["n_in_gaps"], told["n_over_gaps"]) == (1, 2, 1, 0)
    assert (told["usual_move_s"], told["longest_move_s"]) == (3600 * (0.5 + 11) / 2, 11 * 3600)
    assert "1 of 3 spans begin or end where the bars rest" in caplog.text
    assert rows_of(write(path, table([(290, 360, "bear")])))[1]["n_over_gaps"] == 1


def test_days_without_a_time_of_day_mean_midnight_and_that_is_said(tmp_path, caplog):
    path = write(tmp_path / "s.csv", "start,end,label\n2020-01-02,2020-01-03,bull\n")
    assert rows_of(path)[0] == [(24, 48, "bull")]
    assert "mean the bar at midnight" in caplog.text


def test_spans_that_meet_no_bar_are_told_with_row_time_and_nearest_bar_or_left_out(tmp_path):
    path = write(tmp_path / "s.csv", table([(10, 20, "bull"), (310, 320, "bull"), (2390, 2500, "bear")]))
    with pytest.raises(InvalidData) as refused:
        rows_of(path)
    assert "a span must lie within the bars, but 1 does not, first at line 4: from 2020-04-09T14:00" in str(
        refused.value
    )
    assert "a span must meet a bar, but 1 does not, first at line 3" in str(refused.value)
    assert f"the nearest bar is {at(299, '%Y-%m-%dT%H:%M:%S')}" in str(refused.value)
    found, told, _ = rows_of(path, SpanReading(drop_outside=True))
    assert (found, told["n_none"]) == ([(10, 20, "bull")], 2)
    with pytest.raises(InvalidData, match="no span is on these bars"):
        rows_of(write(path, table([(3000, 3010, "bull")])), SpanReading(drop_outside=True))


def test_overlapping_spans_of_two_people_are_kept_and_counted(tmp_path):
    rows = ["start,end,label,annotator"]
    rows += [f"{at(a)},{at(b)},{name},{who}" for a, b, name, who in
             [(10, 20, "bull", "ana"), (12, 22, "bull", "ben"), (18, 30, "bear", "cem"), (50, 60, "bear", "ana"),
              (50, 60, "bear", "ana")]]  # fmt: skip
    path = write(tmp_path / "s.csv", "\n".join(rows))
    found, told, spans = rows_of(path)
    assert len(found) == 4
    assert spans.annotators == ["ana", "ben", "cem"]
    assert (told["n_overlapping"], told["n_disagreeing"], told["n_repeated"]) == (3, 3, 1)
    assert len(rows_of(path, SpanReading(annotator="ben"))[0]) == 1
    with pytest.raises(WrongUsage, match="must be one of the 3"):
        rows_of(path, SpanReading(annotator="eve"))
    with pytest.raises(InvalidData, match=r"one annotator must give the same bars one class.*line 6: bear and bull"):
        rows_of(write(path, "\n".join([*rows[:-1], rows[-1].replace("bear", "bull")])))


def test_other_symbols_are_passed_over_and_bars_without_a_name_take_the_only_one(tmp_path):
    rows = ["symbol,start,end,label", f"EUR/USD,{at(10)},{at(20)},bull", f"GBPUSD,{at(30)},{at(40)},bull"]
    path = write(tmp_path / "s.csv", "\n".join(rows))
    assert rows_of(path)[0] == [(10, 20, "bull")]
    with pytest.raises(WrongUsage, match="spans of 2 symbols"):
        rows_of(path, bars=NAMELESS)
    with pytest.raises(InvalidData, match=r"spans must be of the bars' symbols \(EURUSD\)"):
        rows_of(write(path, "\n".join([rows[0], rows[2]])))
    assert rows_of(write(path, "\n".join(rows[:2])), bars=NAMELESS)[2].symbols == ["EUR/USD"]
    two = random_walk_bars(100, symbol="GBPUSD")
    both = Bars(*(np.concatenate([getattr(BARS, name), getattr(two, name)]) for name in ("start_us", "ohlc", "symbol")))
    with pytest.raises(WrongUsage, match="every span must have a symbol where bars have several"):
        rows_of(write(path, table(PIECES)), bars=both)


# Label Studio.


def exports(kind, *tasks):
    if kind == "JSON":
        return [full_task(*task) for task in tasks]
    return [minimal_task(*task) for task in tasks]


@pytest.mark.parametrize("kind", ["JSON", "JSON-MIN", "CSV"])
def test_forty_spans_in_two_tasks_come_of_every_export(tmp_path, kind):
    tasks = exports(kind, (1, "EURUSD_1h.csv", PIECES[:25], 1), (2, "EURUSD_1h.csv", PIECES[25:], 1))
    path = tmp_path / "export"
    if kind == "CSV":
        write(path, csv_export(tasks))
    else:
        write_json(path, tasks)
    found, _, spans = rows_of(path)
    assert found == PIECES
    assert spans.annotators == ["1"]
    assert rows_of(path, SpanReading(task=("2",)))[0] == PIECES[25:]
    with pytest.raises(WrongUsage, match=r"--task must name tasks of .* but 7 is none of 2"):
        rows_of(path, SpanReading(task=("7",)))


def test_tasks_on_several_files_are_told_by_the_symbol_in_their_name(tmp_path):
    tasks = exports("JSON", (1, "eur-usd_h1.csv", PIECES[:5], 1), (2, "gbpusd.csv", PIECES[5:], 1))
    path = write_json(tmp_path / "export.json", tasks)
    assert rows_of(path)[0] == PIECES[:5]
    assert rows_of(path, SpanReading(task=("gbpusd.csv",)))[0] == PIECES[5:]
    with pytest.raises(WrongUsage, match=r"the spans of 2 of them fit these bars .* Name them with --task"):
        rows_of(path, bars=NAMELESS)


def test_tasks_that_name_no_symbol_are_told_by_their_bars(tmp_path):
    later = [(a + 9000, b + 9000, name) for a, b, name in PIECES]
    path = write_json(tmp_path / "e.json", exports("JSON", (1, "one.csv", later, 1), (2, "two.csv", PIECES, 1)))
    assert rows_of(path, bars=NAMELESS)[0] == PIECES
    path = write_json(tmp_path / "e.json", exports("JSON", (1, "one.csv", later, 1), (2, "two.csv", later, 1)))
    with pytest.raises(WrongUsage, match="the spans of none of them fit"):
        rows_of(path)


def test_places_of_a_series_without_times_count_bars(tmp_path):
    task = minimal_task(1, "EURUSD.csv", PIECES[:2])
    for mark, (a, b, _) in zip(task["label"], PIECES, strict=False):
        mark |= {"start": a - 48, "end": b - 48}
    path = write_json(tmp_path / "e.json", [task])
    assert rows_of(path, SpanReading(timestamp_unit="bars"))[0] == PIECES[:2]
    task["label"][1]["end"] = 5000
    with pytest.raises(InvalidData, match=r"end must count bars from 0 to 2351 .* found 5000"):
        rows_of(write_json(path, [task]), SpanReading(timestamp_unit="bars"))


def test_a_task_of_a_thousand_regions_is_one_cell_of_a_csv(tmp_path):
    pieces = [(400 + i, 404 + i, "bull") for i in range(1500)]
    path = write(tmp_path / "e.csv", csv_export([minimal_task(1, "EURUSD.csv", pieces)]))
    assert len(rows_of(path)[0]) == 1500


def test_several_annotators_keep_their_names_and_cancelled_marks_stay_out(tmp_path):
    task = full_task(1, "EURUSD.csv", PIECES[:3], {"id": 4, "email": "ana@x.org"}, 2)
    task["annotations"].append(task["annotations"][0] | {"was_cancelled": True, "completed_by": 9})
    path = write_json(tmp_path / "export.json", [task])
    _, told, spans = rows_of(path)
    assert (len(spans), spans.annotators, told["n_disagreeing"]) == (6, ["2", "ana@x.org"], 0)
    assert rows_of(path, SpanReading(annotator="2"))[2].annotators == ["2"]


def test_a_region_without_one_class_is_told_with_its_task(tmp_path):
    task = minimal_task(1, "EURUSD.csv", PIECES[:3])
    task["label"][1]["timeserieslabels"] = ["bull", "bear"]
    with pytest.raises(InvalidData, match=r"a region must have one class.*task 1 \(EURUSD.csv\), region 2: found"):
        rows_of(write_json(tmp_path / "export.json", [task]))


# What is wrong with a table.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("start,end\n2020-01-01,2020-01-02\n", "names no label (it has start, end). Say --columns label=<column>"),
        ("", "is empty"),
        ("start,end,label\n", "must have rows"),
        (
            "start,end,label\n2020-01-01 05:00,2020-01-01 09:00,\n",
            "label must be there in every row, but 1 does not, first at line 2",
        ),
        ("start,end,label\n2020-01-01 05:00,soon,bull\n", "first at line 2: end: found 'soon'"),
        (
            "start,end,label\n2020-01-01 05:00,2020-01-01 03:00,a\n",
            "must not end before its start, but 1 does not, first at line 2",
        ),
        ("start,end,label\n2020-01-01 05:00,2020-01-01 09:00,a,b,c\n", "at most 3 cells"),
        ("start,from,end,label\n1,2,3,a\n", None),
        ("from,begin,end,label\n1,2,3,a\n", "2 that may be (from, begin). Say --columns start=from"),
        ("start,start,end,label\n1,2,3,a\n", "has 2 columns named 'start'"),
        ('[{"start": 1}, 5]', "must be a list of objects"),
        ('{"start": 1', "must be JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(tmp_path, text, says):
    path = write(tmp_path / "s.csv", text)
    with pytest.raises(InvalidData) as refused:
        rows_of(path)
    assert says is None or says in str(refused.value)


def test_columns_of_any_name_are_taken_when_named(tmp_path):
    path = write(tmp_path / "s.csv", table(PIECES).replace("start,end,label", "A,B,C"))
    assert rows_of(path, SpanReading(columns=("start=A", "end=B", "label=C")))[0] == PIECES
    with pytest.raises(WrongUsage, match="has start=D"):
        rows_of(path, SpanReading(columns=("start=D",)))
    with pytest.raises(WrongUsage, match="--task must name tasks of a Label Studio export"):
        rows_of(path, SpanReading(task=("1",)))


# Annotated stretches.


def test_stretches_come_of_a_file_or_of_words_and_go_back(tmp_path):
    path = write(tmp_path / "t.csv", f"symbol,from,to\nEURUSD,{at(0)},{at(500)}\nGBPUSD,{at(0)},{at(1)}\n")
    found = read_stretches(path, PLAIN, BARS)
    assert (len(found), found.symbol.tolist()) == (1, ["EURUSD"])
    again = tmp_path / "again.csv"
    write_stretches(again, found)
    same = read_stretches(again, PLAIN, BARS)
    assert [(same.from_us == found.from_us).all(), (same.to_us == found.to_us).all(), len(same)] == [True, True, 1]
    words = named_stretches((at(0), at(500)), PLAIN, BARS)
    assert (words.from_us.tolist(), words.to_us.tolist()) == (found.from_us.tolist(), found.to_us.tolist())
    with pytest.raises(InvalidData, match="an annotated stretch must hold bars"):
        named_stretches((at(310), at(320)), PLAIN, BARS)
    for wrong in (("2020-01-01", "x"), (at(0),)):
        with pytest.raises(WrongUsage, match="--annotated must be"):
            named_stretches(wrong, PLAIN, BARS)
