"""Blocks of `cv --spans`: the bars beside a block that a scan of it reads."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents
from moola.options.study_options import CvOptions
from moola.stages import cv_events
from moola.stages.cv_events import EVENTS, Chart, Fold, events_of_blocks, scan_block
from moola.tables.event_table import events_of, read_events, write_event_pieces
from tests.made import HOUR_US, random_walk_bars


class Stopped(Exception):
    """The scan itself is not wanted."""


@pytest.mark.parametrize(
    ("scales", "window_bars", "n_beside"),
    [(None, 105, 500), ([1], 105, 500), ([1, 4], 105, 500), ([1, 4, 16], 105, 105 * 16), ([1], 590, 590)],
)
def test_a_scan_of_a_block_reads_what_windows_of_its_longest_bars_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path, scales: list[int] | None, window_bars: int, n_beside: int
) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    presence = None if scales is None else SimpleNamespace(scales=scales)
    model = SimpleNamespace(presence=presence, window_bars=window_bars)
    monkeypatch.setattr(cv_events, "read_model", lambda _: model)
    monkeypatch.setattr(cv_events, "Scan", stop)
    bars: Bars = random_walk_bars(4_000)
    chart = Chart(bars, SimpleNamespace(), np.zeros((0, 2), dtype=np.int64), {"": np.ones(4_000, dtype=bool)})
    first, stop_row = 1_900, 2_100
    fold = Fold(1, int(bars.start_us[first]), int(bars.start_us[first]), int(bars.start_us[stop_row]))
    with pytest.raises(Stopped):
        scan_block(SimpleNamespace(device="cpu"), chart, fold, tmp_path)
    read = pl.read_parquet(tmp_path / "scanned.parquet")["timestamp"].dt.timestamp("us")
    assert read.min() == bars.start_us[first - n_beside]
    assert read.max() == bars.start_us[stop_row - 1 + n_beside]
    assert len(read) == (read.max() - read.min()) // HOUR_US + 1


def test_blocks_whose_models_learned_other_classes_are_joined(tmp_path) -> None:
    bars = random_walk_bars(40)
    merged = MergedEvents.none(0)
    for number, names in enumerate((["background", "up"], ["flat", "up"])):
        prob = np.array([[0.2, 0.8]])
        one = replace(merged, bar=np.array([[3, 9]]), class_prob=prob, pointer_prob=prob, event_prob=prob[:, 0],
                      low=np.array([[3, 9]]), high=np.array([[3, 9]]), n_agree=np.array([1]), n_saw=np.array([1]),
                      cut=np.zeros(1, dtype=bool), known_bar=np.array([-1]))  # fmt: skip
        (tmp_path / str(number)).mkdir()
        write_event_pieces(tmp_path / str(number) / EVENTS, iter([events_of(one, bars, names)]), names)
    cv_events.write_frame(tmp_path / EVENTS, events_of_blocks([tmp_path / "0", tmp_path / "1"]))
    events = read_events(tmp_path / EVENTS)
    of = dict(zip(events.class_names, events.class_prob.T.tolist(), strict=True))
    assert of == {"background": [0.2, 0.0], "up": [0.8, 0.8], "flat": [0.0, 0.2]}


def test_how_spans_are_read_decides_which_cv_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[dict[str, str]] = []

    def stop(content: dict[str, str]) -> None:
        decided.append(content)
        raise Stopped

    for name in ("_check", "read_chart", "sha256_file"):
        monkeypatch.setattr(cv_events, name, lambda *_: None)
    monkeypatch.setattr(cv_events, "_folds", lambda *_: [None])
    monkeypatch.setattr(cv_events, "encoder_leaks", lambda *_: [])
    monkeypatch.setattr(cv_events, "digest", stop)
    for zone in ("UTC", "Europe/Berlin"):
        with pytest.raises(Stopped):
            cv_events.cross_validate_events(CvOptions(timezone=zone), lambda *_: None)
    assert decided[1] == decided[0] | {"timezone": "Europe/Berlin"}
