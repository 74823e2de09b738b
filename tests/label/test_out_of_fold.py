"""The queue of likely label errors: its order, what leaves it, and predictions that do not belong to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.errors import InvalidData
from moola.label.page_model import read_out_of_fold
from moola.label.page_windows import WindowList
from moola.tables.prediction_table import Predictions, write_predictions
from tests.label.page_states import client_of, label_body, made_page_state

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
