"""Made contents of pages, and a reader that refuses what is not well-formed."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from moola.evaluation.figures import TrainingFacts, evaluate
from moola.reports.contents import ReportContent
from moola.tables.prediction_table import Predictions
from tests.predictions_made import random_table

VOID = {"meta", "link", "br"}


def walk(n_windows: int, n_bars: int, seed: int = 0) -> np.ndarray:
    """Prices of a random walk that obey the bar rules."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.normal(size=(n_windows, n_bars)).cumsum(axis=1)
    open_ = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high, low = np.maximum(open_, close) + 0.5, np.minimum(open_, close) - 0.5
    return np.stack([open_, high, low, close], axis=-1)


def facts_of(predictions: Predictions) -> TrainingFacts:
    return TrainingFacts(dict.fromkeys(predictions.class_names, 10), 10, 15, 0.0)


def content_of(predictions: Predictions, **changes) -> ReportContent:
    evaluation = evaluate(predictions, facts_of(predictions)).as_dict()
    return replace(ReportContent("A title", evaluation, predictions), **changes)


def table_with_curves(seed: int = 1, n: int = 30, names: list[str] | None = None, n_bars: int = 30) -> Predictions:
    predictions = random_table(seed, n, names)
    curves = np.random.default_rng(seed).dirichlet(np.ones(n_bars), size=(n, 2)).transpose(0, 2, 1)
    annotator = np.full(n, "rule:prior-state-1", dtype=object)
    return replace(predictions, curves=curves, annotator=annotator)


class Page(HTMLParser):
    """Every element with its attributes and text; an element that is not closed in order raises."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open: list[tuple[str, dict]] = []
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(content.decode())
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if not any(tag == "style" for tag, _ in self.open):
            self.text += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]
