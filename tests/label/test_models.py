"""Several models on the labelling page speak by their mean, and must be of one length and of the same classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.errors import InvalidData
from moola.label.page_model import read_answers
from moola.label.page_state import open_page_state
from moola.label.page_windows import cut_window_list
from moola.models.model_files import read_model, write_model
from moola.options.label_options import LabelOptions
from moola.tables.bar_table import write_bars
from tests.made import random_walk_bars
from tests.networks_made import tiny_network
from tests.scans_made import WINDOW_BARS, made_model

BARS = random_walk_bars(300)
ONE, OTHER = Path("one.pt"), Path("other.pt")


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """Two models of one head each, alike but for their weights."""
    monkeypatch.chdir(tmp_path)
    made_model(ONE)
    write_model(OTHER, replace(read_model(ONE), network=tiny_network(seed=5)))
    write_bars(Path("bars.parquet"), BARS)


def options(*paths: Path, **given) -> LabelOptions:
    made = {"bars": Path("bars.parquet"), "store": Path("labels.db"), "classes": ("falling", "rising")} | given
    return LabelOptions(model=paths, device="cpu", **made)


def test_they_speak_by_their_mean_in_any_order_and_differ_where_heads_do_not():
    window_list = cut_window_list(BARS, WINDOW_BARS, None, None)
    one, other, both, turned = (
        read_answers(paths, window_list, "cpu", 1) for paths in ([ONE], [OTHER], [ONE, OTHER], [OTHER, ONE])
    )
    assert not np.allclose(one.class_prob, other.class_prob)
    np.testing.assert_allclose(both.class_prob, (one.class_prob + other.class_prob) / 2)
    np.testing.assert_allclose(turned.class_prob, both.class_prob)
    np.testing.assert_allclose(turned.disagreement, both.disagreement)
    # One head has nobody to differ from; two models have each other.
    assert one.disagreement is None
    assert both.disagreement.max() > 0


def test_the_page_takes_their_length_and_names_how_many_speak():
    page_state = open_page_state(options(ONE, OTHER))
    assert (page_state.window_list.window_bars, page_state.model_name) == (WINDOW_BARS, "mean of 2")
    page_state.store.close()


def test_models_that_do_not_belong_together_are_named_and_leave_no_store():
    write_model(OTHER, replace(read_model(OTHER), window_bars=40))
    with pytest.raises(
        InvalidData, match=r"must have the 40 bars of other\.pt, but one\.pt has 35\. Name files of one"
    ):
        open_page_state(options(ONE, OTHER))
    write_model(OTHER, replace(read_model(ONE), class_names=["down", "up"]))
    with pytest.raises(InvalidData, match=r"other\.pt has down, up and one\.pt has falling, rising"):
        open_page_state(options(ONE, OTHER))
    assert not Path("labels.db").exists()
