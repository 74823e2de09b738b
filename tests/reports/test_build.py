"""The builder: one whole page from plain data."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from moola.options.judging_options import EvalOptions
from moola.reports import svg_charts
from moola.reports.contents import EventsShown, ShownTable, ShownVerdict
from moola.reports.figure_rows import better_when, figure_name
from moola.reports.gallery import chosen_rows, missed_windows
from moola.reports.report_page import build_report
from moola.reports.svg_charts import Axes, WindowPicture, bar_paths, element, number, price_text, window_chart
from moola.stages.judge_events import evaluated
from moola.tables.bar_table import write_bars
from moola.tables.prediction_table import Predictions
from tests.charts_made import planted, write_events, write_spans
from tests.made import random_walk_bars
from tests.predictions_made import THREE, table_of
from tests.reports.pages_made import Page, content_of, table_with_curves, walk

NASTY = '<script>alert("x")</script><img src=//evil.example/x>&\'"'

HISTORY = [
    {
        "epoch": n,
        "best": n < 4,
        "train_class_loss": 1 / n,
        "val_class_loss": 1.0,
        "train_pointer_loss": 1 / n,
        "val_pointer_loss": 0.9,
    }
    for n in range(1, 7)
]


@pytest.fixture(scope="module")
def page() -> bytes:
    predictions = table_with_curves()
    return build_report(
        content_of(
            predictions,
            verdict=ShownVerdict("inconclusive", "The evidence is thin."),
            ohlc=walk(len(predictions), 30),
            references={"logistic": {"pr_auc": 0.61, "brier": None}},
            history=HISTORY,
            tables=[ShownTable("Folds", ("fold", "PR-AUC"), [["1", "0.5"], ["2", "0.6"]], "A note.")],
            facts={"Data": {"file": "a.parquet"}},
            fact_tables=[ShownTable("Parts", ("part", "windows"), [["test", "30"]])],
            commands=["moola train --data a.parquet"],
        )
    )


def test_everything_is_on_the_page(page):
    text = Page(page).text
    for said in (
        "Verdict: inconclusive. The evidence is thin.",
        "30 of 30 evaluated windows were labelled by rule:prior-state-1: a rule, not a person",
        "Reliability",
        "Precision and recall",
        "Confusion",
        "Lead and lag",
        "Class loss",
        "Pointer loss",
        "Most confident errors",
        "logistic",
        "0.610",
        "Folds",
        "a.parquet",
        "moola train --data a.parquet",
    ):
        assert said in text, said
    assert "NOT LEAK-PROOF" not in text


def test_verdict_stands_before_every_figure(page):
    text = Page(page).text
    assert text.index("Verdict:") < text.index("evaluated windows") < text.index("Reliability")


def test_nothing_is_asked_of_a_network(page):
    found = Page(page)
    assert not re.search(rb"(?:https?:)?//[a-z]", page, flags=re.I)
    assert not re.search(rb"url\(|@import|javascript:", page, flags=re.I)
    for _, attributes in found.elements:
        assert not any(
            name in ("src", "srcset", "style", "action", "data") or name.startswith("on") for name in attributes
        )
        assert attributes.get("href", "#")[0] == "#" or attributes["href"] == "data:,"
    assert not {"script", "iframe", "object", "img", "form"} & {tag for tag, _ in found.elements}


def test_policy_allows_this_style_sheet_and_nothing_else(page):
    policy = Page(page).of("meta")[1]["content"]
    style = re.search(rb"<style>(.*?)</style>", page, flags=re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy


def test_page_can_be_read_aloud(page):
    found = Page(page)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for svg in found.of("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and len(svg["aria-label"]) > 20)
    assert len(found.of("table")) == len(found.of("caption"))
    assert found.of("html")[0]["lang"] == "en"


def test_losses_are_those_of_the_stage_that_val_rows_judged_and_the_same_content_gives_the_same_bytes():
    first = [row | {"stage": "train"} for row in HISTORY]
    later = [row | {"stage": stage, "best": True} for stage in ("refit", "teacher-1") for row in HISTORY]
    predictions = table_with_curves()
    alone, followed = (build_report(content_of(predictions, history=rows)) for rows in (first, first + later))
    assert alone == followed


def test_text_stays_text():
    predictions = table_with_curves(names=[NASTY, "b"])
    predictions = replace(
        predictions,
        window_id=[f"{NASTY}{i}" for i in range(len(predictions))],
        annotator=np.full(len(predictions), NASTY, dtype=object),
    )
    content = content_of(
        predictions,
        title=NASTY,
        verdict=ShownVerdict(NASTY, NASTY),
        leaks=[NASTY],
        no_ohlc=NASTY,
        references={NASTY: {}},
        tables=[ShownTable(NASTY, (NASTY, "n"), [[NASTY, NASTY]], NASTY)],
        facts={NASTY: {NASTY: NASTY}},
        commands=[NASTY],
    )
    made = build_report(content)
    assert b"<script" not in made
    assert b"<img" not in made
    assert Page(made).text.count(NASTY) > 20


def test_lone_surrogates_do_not_stop_the_page():
    assert b"A ? title" in build_report(content_of(table_with_curves(), title="A \ud800 title"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leaks": ["2 val windows were seen"]}, ("NOT LEAK-PROOF: 2 val windows were seen.",)),
        (
            {"leak_proof": False, "no_verdict": "There is no baseline."},
            ("NOT LEAK-PROOF: the parts", "No verdict. There is no baseline."),
        ),
        (
            {"leak_proof": None, "no_ohlc": "the file is gone"},
            ("Overlap not checked", "Bars are not drawn: the file is gone."),
        ),
    ],
)
def test_what_must_be_known_is_said(changes, said):
    text = Page(build_report(content_of(table_with_curves(), **changes))).text
    assert [one for one in said if one not in text] == []


def test_val_is_said_to_have_chosen():
    predictions = table_with_curves()
    predictions = replace(predictions, part=np.full(len(predictions), "val", dtype=object), annotator=None)
    text = Page(build_report(content_of(predictions))).text
    assert "Evaluated on val" in text
    assert "does not name the annotator" in text


@pytest.mark.parametrize(
    "predictions",
    [
        table_of([], np.zeros((0, 2))),
        table_of([-1, -1], [[0.5, 0.5], [0.2, 0.8]]),
        table_of([1, 1], [[0.5, 0.5], [0.2, 0.8]]),
        table_of([0, 1, 2, -1], np.full((4, 3), 1 / 3), THREE),
        table_of([0, 1], [[0.9, 0.1], [0.2, 0.8]], true_bar=[[-1, -1], [3, 5]], predicted_bar=[[3, 4], [-1, -1]]),
    ],
    ids=["empty", "no labels", "one class", "three classes", "no pair of pointers"],
)
def test_little_data_still_makes_a_page(predictions):
    evaluation_needs_rows = len(predictions) > 0
    content = content_of(predictions if evaluation_needs_rows else table_of([-1], [[0.5, 0.5]]))
    made = build_report(replace(content, predictions=predictions))
    assert Page(made).of("h1")
    assert b"nan" not in re.sub(rb"<style>.*?</style>", b"", made, flags=re.S)


def test_no_window_is_shown_twice_and_extremes_are_right():
    predictions = table_with_curves(3, 60)
    groups = {title: rows for title, _, rows in chosen_rows(predictions)}
    shown = [row for rows in groups.values() for row in rows]
    assert len(shown) == len(set(shown)) == 20
    true = predictions.class_prob[np.arange(60), predictions.class_index]
    assert true[groups["Best"]].min() >= np.sort(true)[-4]
    assert true[groups["Worst"]].max() <= np.sort(true)[3]
    wrong = predictions.class_prob.argmax(axis=1) != predictions.class_index
    assert wrong[groups["Most confident errors"]].all()


def of_two_expansions(said: tuple[int, int]) -> Predictions:
    """One window with two expansions, a row each, and the prediction that both repeat; another that is missed."""
    true = [(40, 46), (70, 74), (30, 40)]
    table = table_of([0, 0, 1], [[0.9, 0.1]] * 3, None, true, [said, said, (60, 65)], [[0.9, 0.9]] * 3)
    same = np.array([0, 0, 1])
    return replace(table, window_id=["w_exp_1", "w_exp_2", "v"], start_us=same, end_us=same + 1)


def test_a_window_of_two_expansions_is_judged_by_the_nearest():
    right, wrong = of_two_expansions((70, 74)), of_two_expansions((50, 60))
    assert missed_windows(right).tolist() == [2]
    assert missed_windows(wrong).tolist() == [0, 2]
    page = build_report(content_of(right)).decode()
    assert "2 windows with a true and a predicted expansion" in page
    # The first row's own expansion is not the one that was found.
    assert "start +0, end +0 bars from the expansion at bars 70 to 74" in page


def test_page_of_long_windows_stays_small():
    n_bars = 1500
    predictions = table_with_curves(2, 40, n_bars=n_bars)
    made = build_report(content_of(predictions, ohlc=walk(40, n_bars)))
    assert len(made) < 3_000_000


@pytest.mark.parametrize(
    ("code", "better"),
    [
        ("brier", "lower"),
        ("log_loss", "lower"),
        ("brier_skill", "higher"),
        ("brier_resolution", "higher"),
        ("brier_reliability", "lower"),
        ("calibration_slope", ""),
        ("lead_lag_start_median", ""),
        ("expansion_iou", "higher"),
    ],
)
def test_each_figure_says_which_way_is_better(code, better):
    assert better_when(code) == better
    assert figure_name(code) != code


def test_events_of_a_scan_are_on_the_page_beside_the_spans(tmp_path, page):
    """80 spans, 60 found and 16 false events: galleries, both curves, and what the threshold changes are shown."""
    bars = random_walk_bars(8_000)
    events, spans = planted(1, 80, 8_000, 0.75, 16)
    folder = (tmp_path / "events.parquet", tmp_path / "spans.csv", tmp_path / "bars.parquet")
    write_events(folder[0], bars, events, ["up", "down"])
    write_spans(folder[1], bars, spans, ["up", "down"])
    write_bars(folder[2], bars)
    result, judged, truth = evaluated(EvalOptions(events=folder[0], truth=folder[1], bars=folder[2]))
    shown = EventsShown(result, judged, truth.bars, truth.class_names, truth.has_prices)
    predictions = table_with_curves()
    made = build_report(content_of(predictions, events=shown))
    text = Page(made).text
    for said in (
        "Events on the chart",
        "76 events against 80 spans",
        "Events: precision and recall",
        "with class: average precision 0.750",
        "Events: reliability",
        "What changes with the threshold",
        "Most probable false",
        "Spans without an event",
        "Assumed: a person looked at all bars",
    ):
        assert said in text, said
    cards = re.findall(rb"Bars around ", made)
    assert len(cards) == 6 + 6 + 6 + 6
    assert b"Events on the chart" not in page


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
