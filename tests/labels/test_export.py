"""Labels come out at exactly the bars at which they were marked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.labels.label_export import export
from moola.options.label_options import LabelsExportOptions
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
