"""What to label next: orders that are the same each time, walked in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars
from moola.errors import WrongUsage
from moola.label.page_model import ModelAnswers, disagreement
from moola.label.page_queue import Queues, farthest_first, next_look
from moola.label.page_windows import WindowList, cut_window_list
from tests.label.page_states import made_page_state
from tests.made import random_walk_bars


def two_symbols() -> Bars:
    one, two = random_walk_bars(300, symbol="A"), random_walk_bars(300, seed=1, start="2019-12-30", symbol="B")
    joined = (np.concatenate([getattr(one, name), getattr(two, name)]) for name in ("start_us", "ohlc", "symbol"))
    return Bars(*joined)


def answers_of(window_list: WindowList) -> ModelAnswers:
    first = np.linspace(0.99, 0.5, len(window_list))
    return ModelAnswers(["x", "y"], np.stack([first, 1 - first], axis=1), np.full((len(window_list), 2), -1), None)


def test_orders_are_whole_and_the_same_each_time():
    window_list = cut_window_list(two_symbols(), 105, 45, None)
    for name in ("time", "random", "uncertainty", "diversity"):
        orders = [Queues(window_list, answers_of(window_list), 17).order(name) for _ in range(2)]
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == list(range(len(window_list)))
    times = window_list.bars.start_us[window_list.first_bar]
    assert (np.diff(times[Queues(window_list, None, 17).order("time")]) >= 0).all()
    assert Queues(window_list, None, 17).order("random") != Queues(window_list, None, 18).order("random")
    assert Queues(window_list, answers_of(window_list), 17).order("uncertainty") == list(range(len(window_list)))[::-1]


@given(st.integers(1, 12), st.integers(0, 5))
def test_farthest_first_is_that_of_the_slow_twin(n, seed):
    points = np.random.default_rng(seed).normal(size=(n, 3))
    found = farthest_first(points, n, 17).tolist()
    chosen = [int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    while len(chosen) < n:
        rest = [i for i in range(n) if i not in chosen]
        chosen.append(max(rest, key=lambda i: (min(((points[i] - points[j]) ** 2).sum() for j in chosen), -i)))
    assert found == chosen


def test_what_is_saved_does_not_come_again_and_what_is_skipped_comes_last():
    window_list = cut_window_list(random_walk_bars(300), 105, 45, None)
    queues, names = Queues(window_list, None, 17), window_list.window_id
    assert len(names) == 5
    assert queues.next("time", {}) == (0, 5)
    assert queues.next("time", {}, after=names[0]) == (1, 5)
    assert queues.next("time", {names[0]: "skipped", names[1]: "labelled"}, after=names[1]) == (2, 3)
    done = dict.fromkeys(names, "labelled")
    assert queues.next("time", done, after=names[4]) == (None, 0)
    done |= {names[1]: "skipped", names[3]: "skipped"}
    assert queues.next("time", done, after=names[1]) == (3, 0)
    assert queues.next("time", done, after=names[3]) == (1, 0)


def test_four_thousand_windows_are_answered_without_the_store(tmp_path, monkeypatch):
    page_state = made_page_state(tmp_path, random_walk_bars(4_104), stride=1)
    assert len(page_state.window_list) == 4_000
    page_state.next("diversity", "anna", None, False)
    monkeypatch.setattr(page_state.store, "all", None)
    computed = []
    monkeypatch.setattr(page_state.queues, "_computed", computed.append)
    seen = {page_state.next("diversity", "anna", None, False)["window"]["id"]}
    for name in list(seen):
        page_state.save(name, "anna", "labelled", [], {"grade": "", "reason": "", "note": ""}, 0)
    seen.add(page_state.next("diversity", "anna", None, False)["window"]["id"])
    assert len(seen) == 2
    assert computed == []
    page_state.store.close()


def test_an_unknown_queue_is_refused_with_those_there_are(tmp_path):
    page_state = made_page_state(tmp_path)
    for name in ("uncertainty", "nothing"):
        with pytest.raises(WrongUsage, match="time, random, diversity"):
            page_state.next(name, "anna", None, False)
    page_state.store.close()


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 30))
def test_disagreement_is_nothing_where_all_say_the_same_and_never_above_its_bound(members, classes, seed):
    prob = np.random.default_rng(seed).dirichlet(np.ones(classes), (members, 3))
    found = disagreement(prob)
    assert (found >= 0).all()
    assert (found <= np.log(min(members, classes)) + 1e-9).all()
    assert disagreement(np.repeat(prob[:1], members, axis=0)) == pytest.approx(0.0, abs=1e-12)
    slow = [
        -sum(p * np.log(p) for p in prob[:, row].mean(axis=0))
        + np.mean([sum(p * np.log(p) for p in one) for one in prob[:, row]])
        for row in range(3)
    ]
    assert found == pytest.approx(np.maximum(slow, 0), abs=1e-9)


def test_disagreement_orders_windows_and_needs_two_members():
    window_list = cut_window_list(random_walk_bars(300), 105, 45, None)
    answers = replace(answers_of(window_list), disagreement=np.array([0.1, 0.3, 0.0, 0.3, 0.2]))
    assert Queues(window_list, answers, 17).order("disagreement") == [1, 3, 4, 0, 2]
    assert "disagreement" not in Queues(window_list, answers_of(window_list), 17).names


def test_a_second_look_goes_on_behind_the_open_window_and_around():
    order = [4, 2, 0, 3, 1]
    assert next_look([0, 1, 4], order, None) == 4
    assert next_look([0, 1, 4], order, 2) == 0
    assert next_look([0, 1, 4], order, 1) == 4
    assert next_look([2], order, 2) == 2
    assert next_look([], order, 2) is None
