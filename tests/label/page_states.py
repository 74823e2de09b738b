"""A page over made bars, and its application, for the tests of the labelling page."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from moola.core.bars import Bars
from moola.label.page_model import ModelAnswers
from moola.label.page_server import make_app
from moola.label.page_state import PageState
from moola.label.page_windows import cut_window_list
from moola.tables.label_store import LabelStore
from tests.made import random_walk_bars
from tests.planted import HOUR_US, planted_windows

PORT = 8765
CLASSES = ("consolidation", "retracement")


def made_page_state(
    folder: Path, bars: Bars | None = None, answers: ModelAnswers | None = None, stride: int = 45, **more: object
) -> PageState:
    window_list = cut_window_list(bars or random_walk_bars(400), 105, stride, 72.0)
    store, name = LabelStore(folder / "labels.db"), "m.pt" if answers else None
    return PageState(window_list, store, answers, "anna", CLASSES, 30, 17, name, **more)


def planted_bars(n: int, seed: int = 3) -> tuple[Bars, list[tuple[int, int, str]]]:
    """Chain planted windows to one chart; returns its bars and the planted moves as first bar, last bar and class."""
    table = planted_windows(n, seed)
    ohlc = table.ohlc.copy()
    for row in range(1, n):
        ohlc[row] *= ohlc[row - 1, -1, 3] / ohlc[row, 0, 0]
    moves = [
        (105 * row + int(table.expansion_start[row]), 105 * row + int(table.expansion_end[row]), str(table.label[row]))
        for row in range(n)
    ]
    times = int(table.start_us[0]) + np.arange(105 * n, dtype=np.int64) * HOUR_US
    return Bars(times, ohlc.reshape(-1, 4), np.full(105 * n, "EURUSD", dtype=object)), moves


class Shown:
    """Stand in for whatever page is asked, so that one application, which takes long to make, serves every test."""

    now: PageState

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


SHOWN = Shown()


@functools.cache
def application() -> FastAPI:
    return make_app(SHOWN, PORT)


class Client(TestClient):
    """A browser at one page."""

    def __init__(self, page_state: PageState) -> None:
        super().__init__(application(), base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)
        self.page_state = page_state

    def request(self, *arguments: Any, **named: Any) -> Any:
        SHOWN.now = self.page_state
        return super().request(*arguments, **named)


def client_of(page_state: PageState) -> Client:
    return Client(page_state)


def label_body(**changed: object) -> dict:
    mark = {"start": 40, "end": 52, "label": "consolidation"}
    return {
        "annotator": "anna",
        "expected_revision": 0,
        "status": "labelled",
        "grade": "A",
        "expansions": [mark],
    } | changed
