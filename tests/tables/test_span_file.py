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
    stretch_rows,
    write_stretches,
)
from tests.made import HOUR_US, random_walk_bars
from tests.spans_made import (
    BARS,
    FIRST_US,
    HOURS,
    at,
    csv_export,
    forty,
    full_task,
    made_spans,
    minimal_task,
    table,
    write_json,
)

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


@pytest.mark.parametrize("kind", [
    "csv", "tsv", "excel", "names", "json", "lines", "object", "parquet", "utf16", "ms", "feather", "days and times",
    "decimal counts", "sep", "notes above", "camel", "two lists", "columns", "split", "index", "rows",
])  # fmt: skip
def test_a_table_reads_to_the_same_spans_in_every_layout(tmp_path, kind):
    path, reading = tmp_path / "spans", PLAIN
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
    elif kind == "feather":
        pl.DataFrame(as_records(PIECES)).write_ipc(path)
    elif kind == "days and times":
        split = (
            text.replace(" ", ";").replace(",", ";").replace("start;end;", "Start Date;Start Time;End Date;End Time;")
        )
        write(path, split)
    elif kind == "decimal counts":
        spans = made_spans(*PIECES)
        lines = zip(spans.start_us // 10**6, spans.end_us // 10**6, spans.label, strict=True)
        write(path, "\n".join(["begin;end;type", *(f"{a},0;{b},0;{name}" for a, b, name in lines)]))
    elif kind == "sep":
        write(path, "sep=;\n" + table(PIECES, ";"))
    elif kind == "notes above":
        write(path, "Marked by ana\n\n# start,end,label\n" + table(PIECES).split("\n", 1)[1])
    elif kind == "camel":
        write(path, text.replace("start,end,label", "startTime,endTimestamp,className"))
    elif kind == "two lists":
        write_json(path, {"stretches": [{"from": at(0), "to": at(9)}], "spans": as_records(PIECES), "version": 1})
    elif kind == "rows":
        row = {int(hour): i for i, hour in enumerate(HOURS)}
        lines = [f"{row[a]},{row[b]}.4,{name}" for a, b, name in PIECES]
        write(path, "\n".join(["start_index,end_index,label", *lines]))
        reading = SpanReading(timestamp_unit="bars")
    else:
        records = as_records(PIECES)
        names = list(records[0])
        by_name = {name: {str(i): one[name] for i, one in enumerate(records)} for name in names}
        split = {"columns": names, "index": [*range(40)], "data": [list(one.values()) for one in records]}
        by_row = {str(i): one for i, one in enumerate(records)}
        write_json(path, {"columns": by_name, "split": split, "index": by_row}[kind])
    found, told, _ = rows_of(path, reading)
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


def test_days_of_daily_bars_that_begin_elsewhere_are_told(tmp_path, caplog):
    days = (np.arange(40) * 24 + 5) * 3_600_000_000 + 1_483_228_800_000_000
    bars = Bars(days, BARS.ohlc[:40], np.full(40, "X", dtype=object))
    path = write(tmp_path / "s.csv", "start,end,label\n2017-01-09,2017-01-12,bull\n2017-01-18,2017-01-20,bear\n")
    early = spans_on_bars(read_spans(path, PLAIN, bars), bars, path, False)[0]
    assert "2 of 2 spans begin or end at another time of day than the daily bars, as of 05:00 UTC" in caplog.text
    caplog.clear()
    right = spans_on_bars(read_spans(path, SpanReading(timezone="America/New_York"), bars), bars, path, False)[0]
    assert "another time of day" not in caplog.text
    assert (right.start_us - early.start_us == 24 * 3_600_000_000).all()


@pytest.mark.parametrize(
    ("layout", "reading"),
    [
        ("text", PLAIN),
        ("number", PLAIN),
        ("format", SpanReading(timestamp_format="%d/%m/%y")),
        ("date", PLAIN),
        ("aware", PLAIN),
    ],
)
def test_a_last_day_without_a_time_of_day_is_included_whole(tmp_path, caplog, layout, reading):
    caplog.set_level("INFO")
    # Hours 300 to 347 have no bars: the day of hour 288 ends with hour 299.
    days = [("2020-01-02", "2020-01-03"), ("2020-01-13", "2020-01-13"), ("2020-01-13", "2020-01-15")]
    path = tmp_path / "spans"
    form = {"number": "%Y%m%d", "format": "%d/%m/%y"}.get(layout, "%Y-%m-%d")
    frame = pl.DataFrame(days, schema=["start", "end"], orient="row").with_columns(
        pl.all().str.to_date(), label=pl.lit("bull")
    )
    if layout == "date":
        frame.write_parquet(path)
    elif layout == "aware":
        frame.with_columns(pl.col("start", "end").cast(pl.Datetime("ns", "UTC"))).write_parquet(path)
    else:
        frame.with_columns(pl.col("start", "end").dt.strftime(form)).write_csv(path)
    found, told, _ = rows_of(path, reading)
    assert [piece[:2] for piece in found] == [(24, 71), (288, 299), (288, 359)]
    assert (told["n_exact"], told["n_moved"], told["n_in_gaps"]) == (3, 0, 0)
    assert "3 of 3 spans end with a day without a time of day" in caplog.text
    # Times of day that are midnight stay so, and so do days on daily bars.
    path = write(path, "start,end,label\n2020-01-02 00:00,2020-01-03 00:00,bull\n")
    assert rows_of(path)[0] == [(24, 48, "bull")]
    words = named_stretches(("2020-01-02", "2020-01-03"), PLAIN, BARS)
    assert (words.from_us - FIRST_US).tolist() == [24 * HOUR_US]
    assert stretch_rows(words, 0, BARS).tolist() == list(range(24, 72))


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


@pytest.mark.parametrize("name", ["FX:EURUSD", "OANDA:EUR_USD", "EURUSD.r", "EURUSDm", "EURUSD=X", "eur/usd"])
def test_what_sources_put_around_a_symbol_does_not_make_it_another(tmp_path, name):
    rows = ["symbol,start,end,label", f"{name},{at(10)},{at(20)},bull", f"FX:EURJPY,{at(30)},{at(40)},bull"]
    assert rows_of(write(tmp_path / "s.csv", "\n".join(rows)))[0] == [(10, 20, "bull")]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([" Bull  Flag ", "bull\u00a0flag"], ["Bull Flag", "bull flag"]),
        (["caf\u00e9", "cafe\u0301"], ["caf\u00e9"]),
        (["\U0001f3f4\u200d\u2620\ufe0f up", "\u2b06\ufe0f"], ["\u2b06\ufe0f", "\U0001f3f4\u200d\u2620\ufe0f up"]),
    ],
)
def test_classes_keep_their_signs_and_like_ones_are_told(tmp_path, caplog, labels, found):
    pieces = [(10 + 20 * i, 15 + 20 * i, name) for i, name in enumerate(labels)]
    spans = rows_of(write(tmp_path / "s.csv", table(pieces)))[2]
    assert sorted(set(spans.label)) == found
    assert ("different classes: Bull Flag (1), bull flag (1)" in caplog.text) == (found[0] == "Bull Flag")
    rows_of(write(tmp_path / "s.csv", table([(10, 20, "NaN"), (30, 40, "bull")])))
    assert "1 spans have the class 'NaN'" in caplog.text


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
    turned = [(b, a, name) for a, b, name in PIECES]
    path = write_json(tmp_path / "e.json", exports("JSON", (1, "one.csv", later, 1), (2, "two.csv", turned, 1)))
    with pytest.raises(InvalidData, match=f"must not end before its start, but {len(PIECES)} do not"):
        rows_of(path)


def test_places_of_a_series_without_times_count_bars(tmp_path):
    task = minimal_task(1, "EURUSD.csv", PIECES[:2])
    for mark, (a, b, _) in zip(task["label"], PIECES, strict=False):
        mark |= {"start": a - 48, "end": b - 48}
    path = write_json(tmp_path / "e.json", [task])
    assert rows_of(path, SpanReading(timestamp_unit="bars"))[0] == PIECES[:2]
    other = task | {"id": 2, "csv": "/data/upload/1/0a1b2c3d-EURUSD_2.csv"}
    with pytest.raises(WrongUsage, match=r"are of 2 files \(1 \(EURUSD.csv\), 2 \(EURUSD_2.csv\)\), each with a bar 0"):
        rows_of(write_json(path, [task, other]), SpanReading(timestamp_unit="bars"))
    assert len(rows_of(write_json(path, [task, other]), SpanReading(timestamp_unit="bars", task=("1",)))[0]) == 2
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


def test_what_is_no_mark_of_a_person_is_counted_and_notes_of_a_region_are_kept(tmp_path, caplog):
    caplog.set_level("INFO")
    task = full_task(1, "EURUSD.csv", PIECES[:3], 1)
    result = task["annotations"][0]["result"]
    of_region = {"id": result[1]["id"], "from_name": "why", "to_name": "ts"}
    result.append(of_region | {"type": "textarea", "value": {"text": ["clean", "wide"]}})
    result.append(of_region | {"type": "choices", "value": {"choices": ["A"]}})
    result.append({"id": "bare", "type": "timeseries", "value": {"start": at(2), "end": at(5)}})
    task["predictions"] = task["drafts"] = [{"result": result[:1]}]
    task["annotations"].append({"was_cancelled": True, "result": result[:1]})
    spans = rows_of(write_json(tmp_path / "e.json", [task]))[2]
    assert (len(spans), spans.note.tolist()) == (3, ["", "clean wide", ""])
    for said in ("1 predictions by a model", "1 drafts", "1 cancelled", "1 results of the type choices",
                 "1 regions have no class"):  # fmt: skip
        assert said in caplog.text
    task["annotations"] = []
    with pytest.raises(InvalidData, match=r"has none in 1 tasks \(it has 1 predictions by a model, 1 drafts"):
        rows_of(write_json(tmp_path / "e.json", [task]))


ADDRESSES = {
    "local": "/data/local-files/?d=charts%2Ffx%2F{}_1h.csv",
    "signed": "https://bucket.s3.amazonaws.com/{}_1h.csv?X-Amz-Signature=abc.csv&X-Amz-Date=2020",
    "folder": "s3://bucket/{}/2020.csv",
}


@pytest.mark.parametrize("kind", ADDRESSES)
def test_series_are_told_apart_by_their_address(tmp_path, kind):
    tasks = exports("JSON", (1, "", PIECES[:5], 1), (2, "", PIECES[5:], 1))
    for task, name in zip(tasks, ("eurusd", "gbpusd"), strict=True):
        task["data"] = {"ts": ADDRESSES[kind].format(name)}
    path = write_json(tmp_path / "export.json", tasks)
    assert rows_of(path)[0] == PIECES[:5]
    with pytest.raises(WrongUsage, match="the spans of 2 of them fit these bars"):
        rows_of(path, bars=NAMELESS)
    if kind == "folder":
        with pytest.raises(WrongUsage, match=r"files of that name in 2 folders .* by id: 1, 2"):
            rows_of(path, SpanReading(task=("2020.csv",)))


def test_exports_before_version_1_call_annotations_completions(tmp_path):
    task = full_task(1, "EURUSD.csv", PIECES, 1)
    task["completions"] = task.pop("annotations")
    assert rows_of(write_json(tmp_path / "e.json", [task]))[0] == PIECES


def test_a_region_without_one_class_is_told_with_its_task(tmp_path):
    task = minimal_task(1, "EURUSD.csv", PIECES[:3])
    task["label"][1]["timeserieslabels"] = ["bull", "bear"]
    with pytest.raises(InvalidData, match=r"a region must have one class.*task 1 \(EURUSD.csv\), region 2: found"):
        rows_of(write_json(tmp_path / "export.json", [task]))


# What is wrong with a table.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("start,end\n2020-01-01,2020-01-02\n", "names no label (it has start, end). Pass --columns label=<column>"),
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
        ("from,begin,end,label\n1,2,3,a\n", "2 that may be (from, begin). Pass --columns start=from"),
        ("start,end,label\n5,9,a\n", "where they count the bars from 0, set --timestamp-unit bars"),
        ("start_idx,end_idx,label\n5,9,a\n", "pass --timestamp-unit bars"),
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
    path.write_text(f"from,to\n{at(9)},{at(5)}\n")
    with pytest.raises(InvalidData, match="must not end before it begins, but 1 does not, first at line 2"):
        read_stretches(path, PLAIN, BARS)
    for wrong in (("2020-01-01", "x"), (at(0),)):
        with pytest.raises(WrongUsage, match="--annotated must be"):
            named_stretches(wrong, PLAIN, BARS)
