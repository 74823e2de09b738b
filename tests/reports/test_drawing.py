"""Drawings put known numbers at known places."""

from __future__ import annotations

import re

import numpy as np
import pytest

from moola.reports import svg_charts
from moola.reports.svg_charts import Axes, WindowPicture, bar_paths, element, number, price_text, window_chart
from tests.reports.pages_made import walk

THREE_BARS = np.array([[10.0, 20.0, 0.0, 15.0], [15.0, 18.0, 12.0, 13.0], [10.0, 10.0, 10.0, 10.0]])


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.25, "1.25"), (1.256, "1.26"), (-0.001, "0"), (100.0, "100"), (0.1 + 0.2, "0.3")]
)
def test_coordinates_have_two_decimals_at_most(value, text):
    assert number(value) == text


def test_text_and_attributes_are_escaped():
    made = element("text", "<script>&", class_='"x"')
    assert made == '<text class="&#34;x&#34;">&lt;script&gt;&amp;</text>'
    assert element("g", made) == f"<g>{made}</g>"


def test_values_on_the_edges_fall_on_the_edges():
    axes = Axes(10, 20, 100, 50, (-1, 3), (0, 5))
    assert (axes.x(-1), axes.x(3), axes.y(0), axes.y(5)) == (10, 110, 70, 20)
    assert (axes.x(1), axes.y(2.5)) == (60, 45)


def test_known_bars_are_drawn_at_known_coordinates():
    axes = Axes(0, 0, 30, 100, (-0.5, 2.5), (0, 20))
    drawn = {re.search('class="([^"]+)"', path).group(1): path for path in bar_paths(THREE_BARS, axes)}
    # Bars stand at 5, 15 and 25; a price of 20 is at the top (0), of 0 at the bottom (100).
    assert 'd="M5 0V100M25 50V50"' in drawn["wick up"]
    assert 'd="M15 10V40"' in drawn["wick down"]
    assert 'd="M5 25V50M25 49.6V50.4"' in drawn["body up"], "the bar without a range still shows"
    assert 'd="M15 25V35"' in drawn["body down"]
    assert 'stroke-width="7"' in drawn["body up"]


def test_expansions_cover_their_bars_inclusively():
    chart = window_chart(WindowPicture(walk(1, 105)[0], None, (40, 49), (42, -1), 105), "x")
    box = re.search(r'<rect x="([\d.]+)" y="20" width="([\d.]+)" height="130" class="true-expansion">', chart)
    assert [float(value) for value in box.groups()] == pytest.approx([50 + 240 * 40 / 105, 240 * 10 / 105], abs=0.01)
    assert "predicted-expansion" not in chart, "half a pair is no expansion"


def test_a_window_without_prices_or_curves_is_drawn_from_what_is_there():
    curves = np.random.default_rng(0).dirichlet(np.ones(12), 2).T
    chart = window_chart(WindowPicture(None, curves, (4, 6), (5, 6), 12), "said")
    assert "body" not in chart
    assert chart.count("polyline") == 4
    assert 'aria-label="said"' in chart
    assert "nan" not in window_chart(WindowPicture(np.full((12, 4), 7.0), None, (-1, -1), (-1, -1), 12), "flat")


@pytest.mark.parametrize(
    ("price", "text"),
    [(1.18518, "1.1852"), (23456.7, "23457"), (101.25, "101.25"), (0.000012345, "1.23e-05"), (0.0, "0.0000")],
)
def test_prices_fit_beside_the_chart(price, text):
    assert price_text(price) == text


def test_reliability_dots_stand_at_confidence_and_accuracy():
    row = {"bin": 6, "n": 7, "confidence": 0.65, "accuracy": 0.5, "perfect_low": 0.2, "perfect_high": 0.9}
    chart = svg_charts.reliability_chart([row])
    assert f'cx="{number(38 + 0.65 * 310)}" cy="{number(24 + 185 / 2)}"' in chart
    assert ">7</text>" in chart
    assert "7 windows at confidence 0.65 were right 0.50" in chart


def test_far_pointers_share_the_outermost_column():
    chart = svg_charts.lead_lag_chart({"start": np.array([-90, -12, 0, 3, 4]), "end": np.array([0, 0, 0, 0, 200])})
    heights = [float(found) for found in re.findall(r'height="([\d.]+)" class="start"', chart)]
    assert heights == [92.0, 46.0, 46.0, 46.0], "two of five lie 12 bars or more early"
    assert "start: 2 of 5 windows within 3 bars, median +0" in chart


def test_losses_mark_the_kept_epoch():
    chart = svg_charts.loss_chart("class", [1, 2, 3], {"train": [1.0, 0.5, 0.2], "val": [1.0, 0.9, 1.2]}, 2)
    assert "kept: epoch 2" in chart
    assert "train from 1.000 to 0.200, val from 1.000 to 1.200" in chart
    assert "nan" not in svg_charts.loss_chart("class", [1], {"train": [1.0], "val": [2.0]}, None)


def test_an_interval_strip_is_for_the_eye_alone():
    strip = svg_charts.interval_strip(0.5, 0.25, 0.75, [0.0, 7.0])
    assert 'aria-hidden="true"' in strip
    assert '<line x1="32" y1="8" x2="88" y2="8" class="whisker">' in strip
    assert strip.count('class="other"') == 1, "what lies outside 0 to 1 is not drawn"
