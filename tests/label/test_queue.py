"""What to label next: orders that are the same each time, walked in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import Bars
from moola.errors import InvalidData, WrongUsage
from moola.label.page_model import ModelAnswers, disagreement, read_out_of_fold
from moola.label.page_queue import Queues, farthest_first, next_look
from moola.label.page_windows import WindowList, cut_window_list
from moola.tables.prediction_table import Predictions, write_predictions
from tests.label.page_states import client_of, label_body, made_page_state
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


@pytest.mark.slow
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


SHARES = [0.9, 0.2, 0.7, 0.4]

NOTHING = {"grade": "", "reason": "", "note": ""}


def predicted(
    window_list: WindowList, rows: list[int], shares: list[float], names: list[str] | None = None
) -> Predictions:
    """Every window was given `consolidation`, but for the last one."""
    n = len(rows)
    class_index = np.zeros(n, dtype=np.int64)
    class_index[-1] = 1
    return Predictions(
        names or [window_list.window_id[row] for row in rows],
        np.arange(n),
        np.full(n, "test", dtype=object),
        window_list.bars.start_us[window_list.first_bar[rows]],
        window_list.bars.start_us[window_list.first_bar[rows] + 104],
        ["consolidation", "retracement"],
        class_index,
        np.array([[share, 1 - share] for share in shares]),
        np.full((n, 2), -1),
        np.full((n, 2), -1),
        np.zeros((n, 2)),
    )


@pytest.fixture
def page_state(tmp_path):
    made = made_page_state(tmp_path)
    write_predictions(tmp_path / "p.parquet", predicted(made.window_list, [3, 1, 0, 2], SHARES))
    made.out_of_fold = read_out_of_fold(tmp_path / "p.parquet", made.window_list)
    made.__post_init__()
    yield made
    made.store.close()


def test_the_likeliest_error_comes_first_and_what_was_judged_again_leaves(page_state):
    assert page_state.out_of_fold.order == [1, 2, 0, 3]
    assert page_state.settings()["n_suspected"] == page_state.out_of_fold.n_suspected == 1
    names = page_state.window_list.window_id
    seen = []
    after = None
    for _ in range(4):
        answer = page_state.next("label errors", "anna", after, False)
        after = answer["window"]["id"]
        seen.append((names.index(after), answer["left"]))
        page_state.save(after, "anna", "labelled", [], NOTHING, 0)
    assert seen == [(1, 4), (2, 3), (0, 2), (3, 1)]
    assert page_state.next("label errors", "anna", after, False) == {"window": None, "left": 0}
    # Another annotator has still to look.
    assert page_state.next("label errors", "ben", None, False)["left"] == 4


def test_skipping_goes_on_and_another_class_in_the_store_counts_as_judged(page_state, tmp_path):
    client, names = client_of(page_state), page_state.window_list.window_id
    client.put(f"/api/label/{names[1]}", json=label_body())
    client.put(f"/api/label/{names[2]}", json=label_body())
    again = made_page_state(tmp_path)
    again.out_of_fold = page_state.out_of_fold
    again.__post_init__()
    # As given is not judged again yet; otherwise than given (window 2 was given a retracement) is.
    assert page_state.next("label errors", "anna", None, False)["left"] == 2
    found = again.next("label errors", "anna", None, False)
    assert (found["window"]["id"], found["left"]) == (names[1], 3)
    assert again.next("label errors", "anna", names[1], False)["window"]["id"] == names[0]
    assert again.next("label errors", "anna", names[3], False)["window"]["id"] == names[1]
    again.store.close()


def test_the_out_of_fold_answer_is_shown_after_the_persons(page_state):
    client, name = client_of(page_state), page_state.window_list.window_id[1]
    assert client.get(f"/api/window/{name}?annotator=anna").json()["model"] is None
    client.put(f"/api/label/{name}", json=label_body())
    told = client.get(f"/api/window/{name}?annotator=anna").json()["model"]
    assert told["out_of_fold"]
    assert told["classes"] == {"consolidation": 0.2, "retracement": 0.8}


def test_several_rows_of_a_window_are_judged_by_the_worst(tmp_path):
    page_state = made_page_state(tmp_path)
    name = page_state.window_list.window_id[0]
    table = predicted(page_state.window_list, [0, 0, 1], [0.8, 0.1, 0.5], [f"{name}_exp_1", f"{name}_exp_2", "w"])
    table = replace(table, window_id=[*table.window_id[:2], page_state.window_list.window_id[1]])
    write_predictions(tmp_path / "p.parquet", table)
    assert read_out_of_fold(tmp_path / "p.parquet", page_state.window_list).order == [0, 1]
    page_state.store.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: replace(t, part=np.array(["test", "new"], dtype=object)), "did not learn from"),
        (lambda t: replace(t, window_id=["x", "y"]), "none of 2 is"),
        (lambda t: replace(t, start_us=t.start_us + 1), "2 of 2 start at another time"),
    ],
)
def test_predictions_that_do_not_belong_are_refused(tmp_path, change, said):
    page_state = made_page_state(tmp_path)
    write_predictions(tmp_path / "p.parquet", change(predicted(page_state.window_list, [0, 1], [0.5, 0.5])))
    with pytest.raises(InvalidData, match=said):
        read_out_of_fold(tmp_path / "p.parquet", page_state.window_list)
    page_state.store.close()
