"""Windows around spans: whole, at a place that tells nothing, and background from annotated stretches alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moola.core.spans import place_in_zone
from moola.errors import InvalidData, WrongUsage
from moola.options.table_options import ConvertOptions, SplitOptions, WindowsOptions
from moola.stages.make_tables import convert, cut, split
from moola.tables.bar_table import write_bars
from moola.tables.window_file import read_windows
from tests.made import random_walk_bars
from tests.spans_made import BARS, at, forty, table


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("bars.parquet"), BARS)
    Path("spans.csv").write_text(table(forty()))
    return tmp_path


def made(window_bars=None, **values):
    options = {"bars": Path("bars.parquet"), "output": Path("w.parquet"), "spans": Path("spans.csv")} | values
    return cut(WindowsOptions(window_bars=window_bars, **options)), read_windows(Path("w.parquet"), window_bars)


def test_windows_hold_their_spans_whole_with_class_and_pointers(here):
    result, found = made()
    assert (result["n_windows"], result["window_bars"], result["n_outside_zone"]) == (40, 105, 0)
    first = {int(time): row for row, time in enumerate(BARS.start_us)}
    expected = {(int(BARS.start_us[a - 48]), int(BARS.start_us[b - 48]), name) for a, b, name in forty()}
    rows = [first[int(time)] for time in found.start_us]
    start, end = (BARS.start_us[rows + pointer] for pointer in (found.expansion_start, found.expansion_end))
    assert set(zip(start.tolist(), end.tolist(), found.label, strict=True)) == expected
    assert np.array_equal(found.ohlc[7], BARS.ohlc[rows[7] : rows[7] + 105])
    assert result["n_holding_others"] > 0


def test_the_place_is_even_and_tells_nothing(here):
    bars = random_walk_bars(30_000, symbol="EURUSD")
    write_bars(Path("bars.parquet"), bars)
    rng = np.random.default_rng(1)
    first = np.sort(rng.choice(np.arange(200, 29_000), 750, replace=False))
    pieces = [(int(a), int(a + rng.integers(3, 30)), "bull" if a % 2 else "bear") for a in first]
    Path("spans.csv").write_text(table(pieces))
    _, found = made()
    place = place_in_zone(found.expansion_start, found.expansion_end, 105)
    # Even over the zone: a hundred and more in each fifth, of 150.
    counts = np.histogram(place, bins=5, range=(0, 1))[0]
    assert counts.min() > 100
    bull = found.label == "bull"
    assert abs(place[bull].mean() - place[~bull].mean()) < 0.08
    assert abs(np.corrcoef(place, found.expansion_end - found.expansion_start)[0, 1]) < 0.1


def test_other_spans_and_runs_change_no_place_and_a_seed_does(here):
    _, found = made()
    _, same = made()
    assert found.window_id == same.window_id
    Path("spans.csv").write_text(table(forty()[10:]))
    _, fewer = made()
    assert set(fewer.window_id) <= set(found.window_id)
    _, other = made(seed=4)
    assert not set(other.window_id) >= set(fewer.window_id)


def test_long_spans_make_long_windows_and_those_that_fit_none_are_told(here, caplog):
    pieces = [(400 + 200 * i, 459 + 200 * i, "bull") for i in range(9)]
    Path("spans.csv").write_text(table([*pieces, (1, 900, "bear")]))
    result, _ = made(150)
    assert (result["window_bars"], result["n_too_long"], result["n_windows"]) == (150, 1, 9)
    assert "the class bear, for none holds one of its 1 spans of 852 to 852 bars" in caplog.text
    assert "Set --window-bars 2130." in caplog.text
    Path("spans.csv").write_text(table(pieces))
    result, _ = made(150)
    assert result["n_outside_zone"] == 0
    options = WindowsOptions(bars=Path("bars.parquet"), output=Path("w.parquet"), spans=Path("spans.csv"))
    assert cut(options)["window_bars"] == 150
    with pytest.raises(InvalidData, match="spans that fit windows of 50 bars, but none of 9"):
        made(50)


def test_a_span_over_too_long_a_gap_is_left_out_and_told_and_the_first_bars_have_windows_too(here, caplog):
    Path("spans.csv").write_text(table([(290, 360, "bull"), (500, 510, "bear")]))
    assert made()[0]["n_windows"] == 2
    result, _ = made(max_gap_hours=24)
    assert (result["n_windows"], result["n_dropped_gap"], result["n_over_gaps"]) == (1, 1, 1)
    assert "No window has the class bull" in caplog.text
    assert "Set --max-gap-hours." in caplog.text
    Path("spans.csv").write_text(table([(2, 10, "bull"), (2390, 2399, "bear")]))
    result, _ = made()
    assert (result["n_windows"], result["n_outside_zone"]) == (2, 2)


def test_background_comes_from_annotated_stretches_and_touches_no_span(here):
    result, found = made(background=20, annotated=(at(0), at(450)))
    assert result["classes"] == {"background": 20, "bear": 14, "bull": 26}
    nothing = found.label == "background"
    assert (found.expansion_start[nothing] == -1).all()
    zero = BARS.start_us[0]
    low, high = ((times[nothing] - zero) / 3.6e9 for times in (found.start_us, found.end_us))
    assert low.min() >= 0
    assert high.max() <= 450
    zone = [(hour + 30, hour + 74) for hour in low]
    assert not any(a <= end and start <= b for a, b, _ in forty() for start, end in zone)
    assert made(background=0.25, annotated=(at(0), at(450)))[0]["classes"]["background"] == 13
    with pytest.raises(InvalidData, match="must hold 900 windows without a span for --background"):
        made(background=900, annotated=(at(0), at(450)))
    with pytest.raises(WrongUsage, match="comes from annotated stretches alone"):
        made(background=5)
    with pytest.raises(WrongUsage, match="--background goes with --spans"):
        made(background=5, spans=None)
    # `split` takes the windows as they are.
    convert(ConvertOptions(input=Path("w.parquet"), output=Path("r.parquet")))
    assert split(SplitOptions(data=Path("r.parquet"), output=Path("s.json")))["leak_proof"]


def test_two_people_on_the_same_bars_have_windows_of_their_own(here):
    rows = [f"{at(500)},{at(510)},bull,ana", f"{at(500)},{at(510)},bear,ben"]
    Path("spans.csv").write_text("\n".join(["start,end,label,annotator", *rows]))
    _, found = made()
    assert set(zip(found.label, found.annotator, strict=True)) == {("bull", "ana"), ("bear", "ben")}
    assert len(set(found.window_id)) == 2
    assert len(made(annotator="ben")[1]) == 1
