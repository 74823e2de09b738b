"""Presence: what is learned where nothing is, kept in a model file, and told by a scan."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import expit

from moola.core.bars import Bars, upside_down
from moola.core.features import RobustScaler, relative_features
from moola.core.span_shapes import N_BAR_VALUES, N_SPAN_VALUES, bar_shapes, span_shapes
from moola.core.windows import CutWindows, take_windows
from moola.errors import InvalidData, UntrustedFile, WrongUsage
from moola.evaluation.calibration import fit_platt
from moola.fit import presence, presence_stages
from moola.fit.predicting import (
    BarVectors,
    read_windows_both_ways,
    recorded_vectors,
    vectors_by_orientation,
    vectors_each_way,
)
from moola.fit.presence import _rising_sigmoid, _with_blocks, average_precision, fit_presence, matched, read_chart_of
from moola.fit.presence_inputs import _tell_other_spans
from moola.fit.presence_stages import N_BLOCKS, Candidates, Found, Marked, fit_forest, forest_of
from moola.models.model_files import ModelFile, read_model, write_model
from moola.models.network import EncoderArchitecture, build_encoder, build_network
from moola.models.presence_file import restored, stored
from moola.models.presence_part import Chart, Forest, candidates_of, pair_scores
from moola.models.sealed import read_sealed, write_sealed
from moola.options.scan_options import ScanOptions
from moola.scan.parts import reader_and_judging
from moola.scan.scanning import Scan
from moola.scan.window_reading import Sliding
from moola.tables.cutting import windows_of_bars
from moola.tables.event_table import Events, read_events
from tests.made import random_walk_bars

HOUR_US = 3_600_000_000
CPU = torch.device("cpu")
N_BARS, TAUGHT = 4_400, 3_000


def planted_chart(seed: int, n_bars: int = N_BARS) -> tuple[Bars, np.ndarray, np.ndarray]:
    """Noise with pushes of 6 to 12 bars, up (1) and down (0), one in about 70 bars."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, 1.0, n_bars)
    spans, classes, at = [], [], 120
    while at < n_bars - 160:
        length, up = int(rng.integers(6, 13)), int(rng.integers(0, 2))
        step[at : at + length] = (3.0 if up else -3.0) + rng.normal(0, 0.3, length)
        spans.append((at, at + length - 1))
        classes.append(up)
        at += length + int(rng.integers(40, 80))
    return bars_of_steps(step, rng), np.array(spans), np.array(classes)


def bars_of_steps(step: np.ndarray, rng: np.random.Generator) -> Bars:
    """Hourly bars whose closes move by these steps, with small wicks."""
    close = 1.1 * np.exp(1e-4 * np.cumsum(step))
    open_ = np.concatenate([close[:1], close[:-1]])
    wick = 1e-4 * rng.uniform(0.05, 0.3, (2, len(step)))
    ohlc = np.stack([open_, np.maximum(open_, close) + wick[0], np.minimum(open_, close) - wick[1], close], axis=1)
    start_us = np.arange(len(step), dtype=np.int64) * HOUR_US + 1_500_000_000_000_000
    return Bars(start_us, ohlc, np.full(len(step), "X", dtype=object))


def known(bars: Bars, n_bars: int = TAUGHT) -> Bars:
    return bars.take(slice(0, n_bars))


def later(bars: Bars) -> Bars:
    """Bars that nothing was taught of, with as many before them as a window has."""
    return bars.take(slice(TAUGHT - 105, None))


def small_model(bars: Bars) -> ModelFile:
    """A model whose encoder has learned nothing: what presence learns, it learns from shapes and its vectors."""
    encoder = build_encoder(EncoderArchitecture("bilstm", 11, 4, 1), 3)
    features = relative_features(take_windows(bars.ohlc, np.arange(0, 500, 50), 105))
    network = build_network(encoder, 2, True, 0.0, 3)
    return ModelFile(network.eval(), "enhanced_simple_lstm", RobustScaler.fit(features), 105, ["down", "up"], 1.0, 0.5,
                     {"time_range": None}, [1, 0])  # fmt: skip


def few_trees(patch: pytest.MonkeyPatch, n_trees: int = 60) -> None:
    """Let the second stage learn in a moment."""
    patch.setattr(presence_stages, "N_TREES", n_trees)


@pytest.fixture(scope="module", autouse=True)
def _few_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        few_trees(patch, 60)
        yield


@pytest.fixture(scope="module")
def taught() -> tuple[ModelFile, Bars, np.ndarray, np.ndarray]:
    bars, spans, classes = planted_chart(5)
    model, inside = small_model(bars), spans[:, 1] < TAUGHT
    marked = Marked(known(bars), spans[inside], classes[inside], np.array([[0, TAUGHT]]))
    return replace(model, presence=fit_presence(model, [marked], CPU, 11, read_once())), bars, spans, classes


@functools.cache
def read_once() -> list[Chart]:
    """Return what the model of the usual chart reads of what it is taught."""
    bars, *_ = planted_chart(5)
    return [read_chart_of(small_model(bars), known(bars), CPU)]


def written(path: Path, bars: Bars) -> Path:
    table = {"timestamp": pl.Series(bars.start_us).cast(pl.Datetime("us", "UTC")), "symbol": bars.symbol.tolist()}
    names = ("open", "high", "low", "close")
    frame = pl.DataFrame(table | {name: bars.ohlc[:, i] for i, name in enumerate(names)})
    if path.suffix == ".csv":
        frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def scanned(folder: Path, model: ModelFile | Path, bars: Bars, **options: Any) -> Events:
    if isinstance(model, ModelFile):
        write_model(folder / "model.pt", model)
        model = folder / "model.pt"
    output = folder / "events.parquet"
    output.unlink(missing_ok=True)
    work = Scan(ScanOptions(model=model, bars=written(folder / "bars.parquet", bars), output=output, **options))
    work.run(lambda *_: None)
    work.parts.clear()
    return read_events(output)


def rows_of(events: Events, bars: Bars) -> np.ndarray:
    return np.searchsorted(bars.start_us, events.time_us)


def test_planted_pattern_is_found_on_later_bars(taught: tuple, tmp_path: Path) -> None:
    model, bars, spans, classes = taught
    events = scanned(tmp_path, model, later(bars), min_prob=0.0)
    bar, held, label = rows_of(events, bars), spans[:, 0] >= TAUGHT, events.class_prob.argmax(axis=1)
    own = bar[:, 0] >= TAUGHT
    right = matched(bar[own], label[own], events.event_prob[own], spans[held], classes[held])
    assert average_precision(events.event_prob[own], right, int(held.sum())) >= 0.95
    told = events.event_prob[own] >= model.presence.threshold
    assert 0.8 * held.sum() <= told.sum() <= 1.2 * held.sum()


# On `make test` tests/scan/test_proposals.py holds that the order in which processes end changes nothing.
@pytest.mark.parametrize(
    "options", [{"batch_windows": 97}, pytest.param({"batch_windows": 300, "processes": 2}, marks=pytest.mark.slow)]
)
def test_parts_and_processes_give_the_same_events(taught: tuple, tmp_path: Path, options: dict) -> None:
    model, bars, _, _ = taught
    whole = scanned(tmp_path, model, known(bars, 900), batch_windows=4096)
    as_one = (tmp_path / "events.parquet").read_bytes()
    parts = scanned(tmp_path, model, known(bars, 900), **options)
    assert len(whole.event_prob) > 5
    assert (whole.event_prob >= model.presence.threshold).all()
    assert (tmp_path / "events.parquet").read_bytes() == as_one
    assert np.array_equal(parts.event_prob, whole.event_prob)


def test_windows_have_the_same_vectors_whatever_the_heads_and_without_them() -> None:
    # Linear heads read a pass of windows both ways before the next one; others read all one way first.
    bars, _, _ = planted_chart(7)
    model = small_model(bars)
    features = relative_features(take_windows(bars.ohlc, np.arange(0, 1000, 10), 105))
    alone = vectors_each_way(model, features, CPU)
    assert len(alone) == 2
    linear = build_network(model.network.encoder, 2, True, 0.0, 3, head_kind="linear").eval()
    for each in (model, replace(model, network=linear)):
        with recorded_vectors(each.network.encoder) as said:
            read_windows_both_ways(each, features, CPU)
        for vectors, expected in zip(vectors_by_orientation(said, len(features), each), alone, strict=True):
            assert np.array_equal(vectors, expected)


def test_scores_that_rank_held_out_blocks_backwards_keep_their_order(monkeypatch, caplog) -> None:
    z, right = np.linspace(-4.0, 2.0, 400), np.arange(400) < 40
    assert fit_platt(z, right.astype(np.int64))[0] < 0
    slope, intercept = _rising_sigmoid(z, right)
    prob = expit(slope * z + intercept)
    assert (np.diff(prob) > 0).all()
    assert prob.mean() == pytest.approx(0.1, abs=0.01)
    assert _rising_sigmoid(z, right[::-1]) == fit_platt(z, right[::-1].astype(np.int64))
    # Whoever learns is told.
    bars, spans, classes = planted_chart(8)
    inside = spans[:, 1] < TAUGHT
    monkeypatch.setattr(presence, "fit_platt", lambda z, right: (-1.0, 0.0))
    monkeypatch.setattr(presence_stages, "N_TREES", 10)
    marked = Marked(known(bars), spans[inside], classes[inside], np.array([[0, TAUGHT]]))
    learned = fit_presence(small_model(bars), [marked], CPU, 11)
    assert learned.slope > 0
    assert "expect no events that a person would mark" in caplog.text


@pytest.mark.slow
def test_shuffled_spans_teach_nothing(tmp_path: Path) -> None:
    bars, spans, classes = planted_chart(6)
    rng = np.random.default_rng(2)
    length = spans[:, 1] - spans[:, 0]
    start = np.sort(rng.choice(np.arange(150, N_BARS - 200, 25), len(spans), replace=False))
    placed, named = np.stack([start, start + rng.permutation(length)], axis=1), rng.permutation(classes)
    inside = placed[:, 1] < TAUGHT
    model = small_model(bars)
    marked = Marked(known(bars), placed[inside], named[inside], np.array([[0, TAUGHT]]))
    learned = fit_presence(model, [marked], CPU, 11)
    events = scanned(tmp_path, replace(model, presence=learned), later(bars), min_prob=0.0)
    bar, held = rows_of(events, bars), placed[:, 0] >= TAUGHT
    own = bar[:, 0] >= TAUGHT
    bar, prob, label = bar[own], events.event_prob[own], events.class_prob[own].argmax(axis=1)
    own = average_precision(prob, matched(bar, label, prob, placed[held], named[held]), int(held.sum()))
    others = []
    for _ in range(20):
        move = rng.integers(TAUGHT, N_BARS - 60, len(bar))
        piece = np.stack([move, move + bar[:, 1] - bar[:, 0]], axis=1)
        others.append(average_precision(prob, matched(piece, label, prob, placed[held], named[held]), int(held.sum())))
    assert own <= max(others) + 0.03


def test_model_file_keeps_presence_and_refuses_a_broken_one(taught: tuple, tmp_path: Path) -> None:
    model, *_ = taught
    path = tmp_path / "model.pt"
    write_model(path, model)
    first = path.read_bytes()
    again = read_model(path)
    write_model(path, again)
    assert path.read_bytes() == first
    content = read_sealed(path, "model")
    for path_in, value in (
        (("forest", "left"), lambda left: left.index_fill(0, torch.tensor([0]), 0)),
        (("bars", "weights"), lambda weights: torch.full_like(weights, np.nan)),
        (("upright",), lambda _: 2),
        (("bars", "center"), lambda center: center[:-1]),
    ):
        broken = content | {"presence": stored(model.presence)}
        place = broken["presence"]["detectors"][0]
        for name in path_in[:-1]:
            place = place[name]
        place[path_in[-1]] = value(place[path_in[-1]])
        write_sealed(path, "model", broken)
        with pytest.raises(UntrustedFile):
            read_model(path)
    for stride in (0, "22", 10**9):
        broken = content | {"presence": stored(model.presence)}
        broken["presence"]["record"] = broken["presence"]["record"] | {"stride_bars": stride}
        write_sealed(path, "model", broken)
        with pytest.raises(UntrustedFile):
            read_model(path)


@pytest.mark.parametrize(("window_bars", "ahead", "stride"), [(105, None, 30), (210, None, 60), (105, 4, 5)])
def test_a_chart_is_read_by_windows_two_thirds_of_their_inner_zone_apart(monkeypatch, window_bars, ahead, stride):
    bars, *_ = planted_chart(7)
    model, read = replace(small_model(bars), window_bars=window_bars), []
    add = BarVectors.add
    monkeypatch.setattr(BarVectors, "add", lambda self, rows, ways: (read.append(rows), add(self, rows, ways)))
    chart = read_chart_of(model, known(bars, 800), CPU, ahead)
    assert np.unique(np.diff(np.concatenate(read))).tolist() == [stride]
    # Whatever they are apart, one of them has each bar.
    assert chart.seen[window_bars:-window_bars].all()


def test_a_scan_reads_as_presence_learned_unless_asked(taught: tuple, tmp_path: Path) -> None:
    model, *_ = taught
    options = ScanOptions(model=tmp_path / "m", bars=tmp_path / "b", output=tmp_path / "e.parquet")

    def sliding(model: ModelFile, **given: int) -> Sliding:
        return reader_and_judging(model, replace(options, **given))[0].sliding

    before = {name: value for name, value in model.presence.record.items() if name != "stride_bars"}
    assert sliding(model).stride == model.presence.record["stride_bars"] == 30
    assert sliding(replace(model, presence=replace(model.presence, record=before))).stride == 5
    assert sliding(replace(model, presence=None)).stride == 5
    assert sliding(model, stride=7).stride == 7
    # A part has no more bars than without presence, but for one pass.
    assert sliding(model).batch_windows * 30 < sliding(replace(model, presence=None)).batch_windows * 5 + 64 * 30


def test_same_seed_gives_the_same_presence_and_too_few_spans_are_refused(taught: tuple) -> None:
    model, bars, spans, classes = taught
    inside = spans[:, 1] < TAUGHT
    marked = Marked(known(bars), spans[inside], classes[inside], np.array([[0, TAUGHT]]))
    again = fit_presence(model, [marked], CPU, 11, read_once())
    assert np.array_equal(again.detectors[0].forest.cut, model.presence.detectors[0].forest.cut)
    assert (again.slope, again.threshold) == (model.presence.slope, model.presence.threshold)
    few = Marked(known(bars), spans[:8], classes[:8], np.array([[0, 1000]]))
    with pytest.raises(InvalidData, match="10 spans of a class"):
        fit_presence(model, [few], CPU, 1, read_once())


@pytest.mark.parametrize("few", [0, 1])
def test_a_class_of_few_spans_is_left_out_with_a_word(taught: tuple, tmp_path: Path, caplog, few: int) -> None:
    _, bars, spans, classes = taught
    kept = (spans[:, 1] < TAUGHT) & ((classes != few) | (np.cumsum(classes == few) <= 6))
    model = replace(small_model(bars), mirror=None)
    marked = Marked(known(bars), spans[kept], classes[kept], np.array([[0, TAUGHT]]))
    model = replace(model, presence=fit_presence(model, [marked], CPU, 11))
    assert f"there are 6 of {model.class_names[few]}" in caplog.text
    write_model(tmp_path / "again.pt", model)
    events = scanned(tmp_path, read_model(tmp_path / "again.pt"), later(bars), min_prob=0.2)
    assert len(events) > 5
    assert (events.class_prob[:, 1 - few] == 1).all()


def test_a_class_of_one_time_is_left_out_with_a_word(caplog) -> None:
    bars, spans, _ = planted_chart(5, 5_000)
    model, at = replace(small_model(bars), mirror=None), np.arange(len(spans))
    marked = Marked(bars, spans, np.where((at >= 28) & (at < 40), 0, 1), np.array([[0, len(bars)]]))
    presence = fit_presence(model, [marked], CPU, 11)
    assert "there are 12 of down, 12 of them in one of 5 blocks of time" in caplog.text
    assert [one.upright for one in presence.detectors] == [1]


@pytest.mark.parametrize("n_bars", [104, 108])
def test_a_stretch_without_bars_apart_from_the_held_out_ones_is_refused(n_bars: int) -> None:
    bars, *_ = planted_chart(5)
    first = np.arange(2, n_bars - 8, 6)
    marked = Marked(
        known(bars, n_bars), np.stack([first, first + 4], axis=1), np.ones_like(first), np.array([[0, n_bars]])
    )
    with pytest.raises(InvalidData, match="Look at a longer stretch"):
        fit_presence(small_model(bars), [marked], CPU, 11)


def test_shapes_are_those_of_a_slow_twin_and_hang_on_bars_near_alone() -> None:
    bars, _, _ = planted_chart(8)
    spans = np.array([[400, 405], [410, 431], [700, 700]])
    found = span_shapes(bars.ohlc, spans)
    assert found.shape == (3, N_SPAN_VALUES)
    assert np.isfinite(found).all()
    for row, (start, end) in enumerate(spans):
        assert found[row, :6] == pytest.approx(slow_inside(bars.ohlc, start, end), abs=1e-5)
    whole, part = bar_shapes(bars.ohlc), bar_shapes(bars.ohlc[200:1200])
    assert whole.shape[1] == N_BAR_VALUES
    assert np.array_equal(whole[400:1000], part[200:800])
    assert np.array_equal(span_shapes(bars.ohlc[200:1200], spans - 200), found)
    # Upside down, up and down are swapped.
    down = span_shapes(upside_down(bars.ohlc), spans)
    assert found[:, [1, 2, 3]] == pytest.approx(down[:, [1, 3, 2]] * (-1, 1, 1), abs=1e-6)


def slow_inside(ohlc: np.ndarray, start: int, end: int) -> list[float]:
    logs = np.log(ohlc)
    unit = np.mean([logs[bar, 1] - logs[bar, 2] for bar in range(start - 50, start)])
    base = logs[start - 1, 3]
    high = max(logs[bar, 1] for bar in range(start, end + 1)) - base
    low = min(logs[bar, 2] for bar in range(start, end + 1)) - base
    path = sum(abs(logs[bar + 1, 3] - logs[bar, 3]) for bar in range(start, end))
    n_bars = end - start + 1
    plain = [n_bars, (logs[end, 3] - base) / unit, high / unit, -low / unit, (high - low) / unit, path / unit / n_bars]
    return [float(np.sign(value) * np.log1p(abs(value))) for value in plain]


def test_candidates_are_the_best_of_their_neighbours(taught: tuple) -> None:
    stage = taught[0].presence.detectors[0].bars
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 2, (300, 3))
    scores = pair_scores(stage, logits)
    start, end = 17, 17 + stage.shortest + 1
    slow = (
        -np.logaddexp(0, -logits[start, 0])
        - np.logaddexp(0, -logits[end, 1])
        + stage.log_length[end - start]
        + 0.5 * logits[start : end + 1, 2].mean()
    )
    assert scores[start, end - start] == pytest.approx(slow)
    found = candidates_of(replace(stage, floor=-1e9), logits)
    assert len(found)
    assert (found[:, 1] - found[:, 0] + 1 >= stage.shortest).all()
    part = candidates_of(replace(stage, floor=-1e9), logits[50:250]) + 50
    middle = [tuple(row) for row in found.tolist() if row[0] >= 100 and row[1] < 200]
    assert middle == [tuple(row) for row in part.tolist() if row[0] >= 100 and row[1] < 200]


def test_a_forest_says_what_its_trees_say() -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(1)
    values = rng.normal(size=(200, 5)).astype(np.float32)
    trees = ExtraTreesRegressor(20, random_state=0).fit(values, np.clip(values[:, 0] + values[:, 1] ** 2, 0.0, 1.0))
    new = rng.normal(size=(100, 5)).astype(np.float32)
    assert forest_of(trees.estimators_).score(new) == pytest.approx(trees.predict(new))


def test_forests_joined_say_the_mean_of_what_each_says() -> None:
    rows = made_candidates(np.random.default_rng(4))
    parts = [fit_forest(rows, (0, None), block, 1, True) for block in range(2)]
    joined = Forest.joined(parts)
    assert len(joined.root) == sum(len(one.root) for one in parts)
    values = rows.values[0][0]
    assert joined.score(values) == pytest.approx(np.mean([one.score(values) for one in parts], axis=0))


def made_candidates(rng: np.random.Generator, n: int = 400) -> Candidates:
    """Candidates of one class: half of their values tell the overlap, the others nothing."""
    best = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0.3, 1.0, n))
    values = np.column_stack([best[:, None] + rng.normal(0, 0.02, (n, 3)), rng.normal(size=(n, 3))]).astype(np.float32)
    bar = np.stack([np.arange(n), np.arange(n) + 5], axis=1)
    return Candidates([(0, None)], bar, np.zeros(n, dtype=int), np.arange(n) % N_BLOCKS, best[:, None], [[values]])


@pytest.mark.parametrize("annotated", [True, False])
def test_a_forest_learns_nothing_from_the_block_that_it_scores(annotated: bool) -> None:
    rows = made_candidates(np.random.default_rng(4))
    own = rows.block == 2
    others = replace(
        rows,
        best=np.where(own[:, None], 1 - rows.best, rows.best),
        values=[[np.where(own[:, None], -rows.values[0][0], rows.values[0][0])]],
    )
    for block, alike in ((2, True), (3, False)):
        one, other = (fit_forest(each, (0, None), block, 1, annotated) for each in (rows, others))
        assert (one.cut.tolist() == other.cut.tolist()) is alike


def test_nearly_exact_candidates_score_above_rough_ones_and_those_above_wrong_ones() -> None:
    rows = made_candidates(np.random.default_rng(4))
    forest = fit_forest(rows, (0, None), 0, 1, True)
    told, best = forest.score(rows.values[0][0]), rows.best[:, 0]
    exact, rough = told[best > 0.85].mean(), told[(best > 0.6) & (best < 0.7)].mean()
    assert exact > rough + 0.1
    assert rough > told[best == 0].mean() + 0.3


def test_spans_teach_even_where_nothing_near_was_proposed() -> None:
    bars, spans, classes = planted_chart(5)
    inside = spans[:, 1] < TAUGHT
    marked = Marked(known(bars), spans[inside], classes[inside], np.array([[0, TAUGHT]]))
    learned = _with_blocks([marked], read_once())
    found = replace(Found.in_block(learned, [(0, 1)], 1), proposed=[[]])
    rows, own = found.marked(), learned[0].span_block == 1
    assert len(found.kept(found.stages)) == 0
    assert np.array_equal(rows.bar, marked.bar[own])
    assert (rows.best[np.arange(len(rows)), marked.class_index[own]] == 1).all()


def test_pieces_that_nobody_marked_are_never_background(tmp_path: Path) -> None:
    """Half of the planted pieces are marked, nothing is known of the rest: both halves must be told alike."""
    taught, n_bars = 4_000, 5_600
    bars, spans, classes = planted_chart(7, n_bars)
    model, inside = small_model(bars), spans[:, 1] < taught
    marked = inside & (np.random.default_rng(3).random(len(spans)) < 0.5)
    given = Marked(known(bars, taught), spans[marked], classes[marked], np.array([[0, taught]]), annotated=False)
    presence = fit_presence(model, [given], CPU, 11)
    assert presence.is_rank
    assert "Lee and Liu" in presence.record["threshold_rule"]
    events = scanned(tmp_path, replace(model, presence=presence), bars.take(slice(taught - 1_500, None)), min_prob=0.0)
    bar, ahead = rows_of(events, bars), spans[:, 0] >= taught
    own = bar[:, 0] >= taught
    bar_later, prob, label = bar[own], events.event_prob[own], events.class_prob[own].argmax(axis=1)
    right = matched(bar_later, label, prob, spans[ahead], classes[ahead])
    assert average_precision(prob, right, int(ahead.sum())) >= 0.9
    told = right & (prob >= presence.threshold)
    assert told.sum() >= 0.8 * ahead.sum()
    unmarked = inside & ~marked & (spans[:, 0] > taught - 1_400)
    hit = matched(bar, events.class_prob.argmax(axis=1), events.event_prob, spans[unmarked], classes[unmarked])
    assert np.median(events.event_prob[hit]) >= np.median(prob[right]) - 0.1


def test_spans_that_are_not_those_of_the_windows_are_told(caplog) -> None:
    bars = random_walk_bars(600, symbol="X")
    first = np.arange(0, 400, 40)
    table = replace(
        windows_of_bars(bars, CutWindows(first, 0, 24)),
        expansion_start=np.full(len(first), 8),
        expansion_end=np.full(len(first), 12),
    )
    rows = np.stack([first + 8, first + 12], axis=1)
    _tell_other_spans(table, bars, rows, Path("spans.csv"))
    assert not caplog.text
    _tell_other_spans(table, bars, rows + 2, Path("spans.csv"))
    assert "Only 0 of 10 windows have a span of spans.csv" in caplog.text


@pytest.mark.slow
def test_nobody_is_asked_of_bars_that_he_did_not_look_at() -> None:
    """Anna marks every planted piece; bert looked at the first third, and marks every one there."""
    bars, spans, classes = planted_chart(5)
    inside = spans[:, 1] < TAUGHT
    early = spans[:, 1] < TAUGHT // 3
    bar, label = np.concatenate([spans[inside], spans[early]]), np.concatenate([classes[inside], classes[early]])
    who = np.array(["anna"] * int(inside.sum()) + ["bert"] * int(early.sum()), dtype=object)
    order = np.argsort(bar[:, 0], kind="stable")
    known = Bars(bars.start_us[:TAUGHT], bars.ohlc[:TAUGHT], bars.symbol[:TAUGHT])
    looked = {"anna": np.arange(TAUGHT) >= 0, "bert": np.arange(TAUGHT) < TAUGHT // 3}
    marked = Marked(known, bar[order], label[order], np.array([[0, TAUGHT]]), annotator=who[order], looked=looked)
    presence = fit_presence(small_model(bars), [marked], CPU, 11)
    anna, bert = (presence.of_person(name).calibrated(np.array([0.9]))[0] for name in ("anna", "bert"))
    assert abs(anna - bert) < 0.2


@pytest.mark.slow
def test_people_who_mark_alike_share_a_model_and_each_has_an_offset() -> None:
    """Anna marks every planted piece, bert each third: the same pieces are less probable to be marked by him."""
    bars, spans, classes = planted_chart(5)
    inside = spans[:, 1] < TAUGHT
    third = inside & (np.arange(len(spans)) % 3 == 0)
    bar, label = np.concatenate([spans[inside], spans[third]]), np.concatenate([classes[inside], classes[third]])
    who = np.array(["anna"] * int(inside.sum()) + ["bert"] * int(third.sum()), dtype=object)
    order = np.argsort(bar[:, 0], kind="stable")
    marked = Marked(known(bars), bar[order], label[order], np.array([[0, TAUGHT]]), annotator=who[order])
    presence = fit_presence(small_model(bars), [marked], CPU, 11, read_once())
    assert sorted(presence.people) == ["anna", "bert"]
    of_all, anna, bert = (one.calibrated(np.array([0.9]))[0] for one in
                          (presence, presence.of_person("anna"), presence.of_person("bert")))  # fmt: skip
    assert anna > of_all > bert
    again = restored(stored(presence), ["down", "up"], True, 8)
    assert again.people == presence.people
    with pytest.raises(WrongUsage, match="anna, bert"):
        presence.of_person("cleo")
