"""Presence at several scales: spans of very different lengths on one chart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import Bars
from moola.fit import presence as presence_fit
from moola.fit import presence_stages
from moola.fit.presence import average_precision, fit_presence, matched
from moola.fit.presence_stages import Learned, Marked, scales_of
from moola.models.model_files import ModelFile, read_model, write_model
from moola.models.presence_file import restored, stored
from moola.models.presence_part import (
    Chart,
    Presence,
    finer_spans,
    mean_scores,
    score_logit,
)
from moola.options.scan_options import ScanOptions
from moola.scan.parts import PartReader, reader_and_judging
from moola.tables.bar_table import HeldBars
from tests.fit.test_presence import CPU, HOUR_US, bars_of_steps, few_trees, rows_of, scanned, small_model

LEARNED, ALL = 5_600, 8_000
SHORT, LONG = (6, 13), (50, 90)


def mixed_chart(seed: int) -> tuple[Bars, np.ndarray, np.ndarray]:
    """Noise with short and long pushes by turns, up (1) and down (0)."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, 1.0, ALL)
    spans, classes, at = [], [], 150
    while at < ALL - 250:
        is_long = len(spans) % 2 == 1
        length, up = int(rng.integers(*(LONG if is_long else SHORT))), int(rng.integers(0, 2))
        drift = 0.9 if is_long else 3.0
        step[at : at + length] = (drift if up else -drift) + rng.normal(0, 0.4, length)
        spans.append((at, at + length - 1))
        classes.append(up)
        at += length + int(rng.integers(40, 80))
    return bars_of_steps(step, rng), np.array(spans), np.array(classes)


def learned(
    bars: Bars, spans: np.ndarray, classes: np.ndarray, n_trees: int, n_bars: int = LEARNED, annotated: bool = True
) -> ModelFile:
    inside = spans[:, 1] < n_bars
    stretch = np.array([[0, n_bars]])
    marked = Marked(bars.take(slice(0, n_bars)), spans[inside], classes[inside], stretch, annotated=annotated)
    model = small_model(bars)
    with pytest.MonkeyPatch.context() as patch:
        few_trees(patch, n_trees)
        return replace(model, presence=fit_presence(model, [marked], CPU, 11))


@pytest.fixture(scope="module")
def mixed() -> tuple[ModelFile, Bars, np.ndarray, np.ndarray]:
    bars, spans, classes = mixed_chart(3)
    return learned(bars, spans, classes, 30), bars, spans, classes


def presence_of(model: ModelFile) -> Presence:
    assert model.presence is not None
    return model.presence


@pytest.mark.slow
def test_short_and_long_pieces_are_found_without_stretches_too(mixed: tuple, tmp_path: Path) -> None:
    _, *chart = mixed
    model = learned(*chart, 30, annotated=False)
    assert presence_of(model).is_rank
    test_short_and_long_pieces_are_found_on_later_bars((model, *chart), tmp_path)


def test_short_and_long_pieces_are_found_on_later_bars(mixed: tuple, tmp_path: Path) -> None:
    model, bars, spans, classes = mixed
    assert presence_of(model).scales == [1, 4]
    assert presence_of(model).record["scales"] == [1, 4]
    later = bars.take(slice(LEARNED - 500, None))
    events = scanned(tmp_path, model, later, min_prob=0.0)
    bar, label, prob = rows_of(events, bars), events.class_prob.argmax(axis=1), events.event_prob
    own = bar[:, 0] >= LEARNED
    for least, most in (SHORT, LONG):
        n_bars, n_found = np.diff(spans, axis=1)[:, 0] + 1, np.diff(bar, axis=1)[:, 0] + 1
        held = (spans[:, 0] >= LEARNED) & (n_bars >= least) & (n_bars < most)
        alike = own & (n_found >= least / 2) & (n_found < most * 2)
        right = matched(bar[alike], label[alike], prob[alike], spans[held], classes[held])
        assert average_precision(prob[alike], right, int(held.sum())) >= 0.8


def test_parts_of_a_scan_find_the_same_events_at_every_scale(mixed: tuple, tmp_path: Path) -> None:
    model, bars, *_ = mixed
    some = bars.take(slice(0, 2_003))
    whole = scanned(tmp_path, model, some, batch_windows=4096)
    as_one = (tmp_path / "events.parquet").read_bytes()
    scanned(tmp_path, model, some, batch_windows=61)
    assert (tmp_path / "events.parquet").read_bytes() == as_one
    n_bars = np.diff(rows_of(whole, bars), axis=1)[:, 0] + 1
    assert (n_bars < 20).any()
    assert (n_bars > 40).any()


def test_a_part_reads_long_bars_as_the_whole_chart_does(mixed: tuple, tmp_path: Path) -> None:
    model, bars, *_ = mixed
    options = ScanOptions(model=tmp_path / "m", bars=tmp_path / "b", output=tmp_path / "e.parquet")
    part = PartReader(*reader_and_judging(model, options), HeldBars(bars.take(slice(0, 3_001))), live=False)
    whole, begins = part._coarser_chart(0, slice(0, 3_001), 4)
    assert begins == 0
    # Neither end of what is needed is a multiple of what windows or long bars are apart.
    need = slice(1_503, 1_777)
    own, begins = part._coarser_chart(0, need, 4)
    assert begins > 0
    rows = np.arange(need.start // 4, need.stop // 4)
    for found, expected in zip(own.values, whole.values, strict=True):
        assert np.array_equal(found[rows - begins // 4], expected[rows])
    assert np.array_equal(own.seen[rows - begins // 4], whole.seen[rows])


def test_what_every_scale_proposes_is_calibrated_and_scored_by_all(mixed: tuple, monkeypatch) -> None:
    calibrated, kept = presence_fit._calibrated, []
    monkeypatch.setattr(
        presence_fit, "_calibrated", lambda detectors, *rest: (kept.append(rest[1]), calibrated(detectors, *rest))[1]
    )
    model = learned(*mixed_chart(3), 10)
    assert all((one.slope, one.intercept) != (1.0, 0.0) for one in presence_of(model).detectors)
    rows = kept[0]
    assert presence_of(model).record["n_candidates"] == len(rows)
    assert len(np.unique(rows.bar, axis=0)) == len(rows)
    # One scale alone would have a sixteenth of its long candidates on bars of the other.
    n_bars = np.diff(rows.bar, axis=1)[:, 0] + 1
    on_grid = (rows.bar[:, 0] % 4 == 0) & (rows.bar[:, 1] % 4 == 3)
    assert on_grid[n_bars > 40].mean() > 0.25
    assert (n_bars < 20).sum() > 50


def test_a_chart_too_short_for_a_scale_is_read_at_the_others(mixed: tuple, tmp_path: Path) -> None:
    model, bars, *_ = mixed
    events = scanned(tmp_path, model, bars.take(slice(0, 400)))
    assert len(events) > 0


def test_a_piece_longer_than_a_window_is_an_event_that_no_window_saw(mixed: tuple, tmp_path: Path) -> None:
    bars = mixed[1]
    model = replace(mixed[0], window_bars=48)
    events = scanned(tmp_path, model, bars.take(slice(0, 2_000)), min_prob=0.0)
    is_long = np.diff(rows_of(events, bars), axis=1)[:, 0] + 1 > 48
    assert is_long.any()
    assert (events.n_saw[is_long] == 0).all()
    assert (events.n_saw[~is_long] > 0).all()
    assert (events.pointer_prob[is_long] == 0).all()
    assert events.cut[is_long].all()


def test_no_event_however_long_holds_a_gap_above_the_longest(mixed: tuple, tmp_path: Path) -> None:
    model, bars, spans, _ = mixed
    # Bars rest for two weeks in the middle of every long push.
    later, start_us = bars.take(slice(0, 2_000)), bars.start_us[:2_000].copy()
    long = [(first + last) // 2 for first, last in spans if last - first >= LONG[0] - 1 and last < 2_000]
    for middle in long:
        start_us[middle:] += 14 * 24 * HOUR_US
    model = replace(model, window_bars=24)
    events = scanned(tmp_path, model, replace(later, start_us=start_us), min_prob=0.0)
    assert (np.diff(np.searchsorted(start_us, events.time_us), axis=1) > 24).any()
    assert events.longest_gap_us.max() < 72 * HOUR_US


def test_scales_are_kept_in_a_model_file_and_broken_ones_refused(mixed: tuple, tmp_path: Path) -> None:
    model, *_ = mixed
    write_model(tmp_path / "model.pt", model)
    again = presence_of(read_model(tmp_path / "model.pt"))
    for one, other in zip(presence_of(model).detectors, again.detectors, strict=True):
        assert (one.scale, one.slope, one.intercept) == (other.scale, other.slope, other.intercept)
    n_hidden = model.network.encoder.output_dim
    for name, value in (("scale", 0), ("scale", 4.0), ("slope", np.nan), ("upright", 1)):
        content = stored(model.presence)
        assert content is not None
        content["detectors"][1][name] = value
        with pytest.raises(ValueError, match=r"presence|detector"):
            restored(content, model.class_names, True, n_hidden)
    # A file of before says nothing of scales.
    content = stored(replace(presence_of(model), detectors=presence_of(model).detectors[:1]))
    assert content is not None
    for name in ("scale", "slope", "intercept"):
        del content["detectors"][0][name]
    found = restored(content, model.class_names, True, n_hidden)
    assert found is not None
    assert found.scales == [1]


def spread_over(n_bars_of_spans: list[int], chart_bars: int = 60_000) -> Learned:
    """Spans of these lengths, evenly over a chart, in five blocks."""
    start = np.linspace(0, chart_bars - 1_000, len(n_bars_of_spans)).astype(np.int64)
    bar = np.stack([start, start + np.array(n_bars_of_spans) - 1], axis=1)
    ohlc = np.ones((chart_bars, 4))
    bars = Bars(np.arange(chart_bars, dtype=np.int64), ohlc, np.full(chart_bars, "", dtype=object))
    marked = Marked(bars, bar, np.zeros(len(bar), dtype=np.int64), np.array([[0, chart_bars]]))
    block = np.arange(chart_bars) * 5 // chart_bars
    return Learned(marked, Chart((), (), np.ones(chart_bars, dtype=bool)), block, block[start], np.ones(len(bar), bool))


@pytest.mark.parametrize(
    ("lengths", "chart_bars", "scales"),
    [
        ([8, 20] * 30, 60_000, [1]),
        ([8, 60] * 30, 60_000, [1, 4]),
        ([5, 60, 300] * 30, 60_000, [1, 4, 16]),
        ([300] * 40, 60_000, [1, 16]),
        # Too few long spans, or too few bars for three windows of long bars.
        ([8] * 60 + [60] * 9, 60_000, [1]),
        ([5, 60, 300] * 30, 4_000, [1, 4]),
        # All long ones are in one block: without it none would be left to learn from.
        ([60] * 12 + [8] * 60, 60_000, [1]),
    ],
)
def test_lengths_of_spans_ask_for_scales(lengths: list[int], chart_bars: int, scales: list[int]) -> None:
    one = spread_over(lengths, chart_bars)
    found = scales_of([one], [(0, None)], 10)
    assert [each.n for each in found] == scales
    # Every span is read at some scale; of one alone all are.
    assert found[0].fits(one.marked).all()
    unlabelled = replace(one, marked=replace(one.marked, annotated=False))
    assert [each.n for each in scales_of([unlabelled], [(0, None)], 10)] == scales


def test_stretches_of_a_coarser_chart_hold_what_was_annotated_whole() -> None:
    one = spread_over([8, 60] * 30).marked
    coarse = presence_stages.Scale(4).marked(replace(one, stretches=np.array([[3, 22], [41, 43]])))
    assert coarse.stretches.tolist() == [[1, 5], [11, 11]]
    assert (finer_spans(coarse.bar, 4)[:, 0] <= one.bar[:, 0]).all()
    assert (finer_spans(coarse.bar, 4)[:, 1] >= one.bar[:, 1]).all()


def test_scores_of_scales_are_averaged_as_logits_where_both_read() -> None:
    one, other = np.array([[0.2, 0.6], [0.3, 0.4]]), np.array([[0.5, 0.9], [np.nan, np.nan]])
    found = mean_scores([one, other])
    mean = (score_logit(one[0]) + score_logit(other[0])) / 2
    assert np.allclose(found[0], 1 / (1 + np.exp(-mean)))
    assert np.allclose(found[1], one[1])
    assert mean_scores([one]) is one
