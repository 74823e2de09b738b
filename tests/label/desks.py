"""A desk over made bars, and its application, for the tests of the labelling page."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from moola.core.bars import Bars
from moola.label.page_model import ModelAnswers
from moola.label.page_server import make_app
from moola.label.page_state import Desk
from moola.label.page_windows import cut_shelf
from moola.tables.label_store import LabelStore
from tests.made import random_walk_bars

PORT = 8765
CLASSES = ("consolidation", "retracement")


def made_desk(folder: Path, bars: Bars | None = None, answers: ModelAnswers | None = None, stride: int = 45) -> Desk:
    shelf = cut_shelf(bars or random_walk_bars(400), 105, stride, 72.0)
    return Desk(shelf, LabelStore(folder / "labels.db"), answers, "anna", CLASSES, 30, 17, "m.pt" if answers else None)


def client_of(desk: Desk) -> TestClient:
    return TestClient(make_app(desk, PORT), base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)


def label_body(**changed: object) -> dict:
    mark = {"start": 40, "end": 52, "label": "consolidation"}
    return {
        "annotator": "anna",
        "expected_revision": 0,
        "status": "labelled",
        "grade": "A",
        "expansions": [mark],
    } | changed
