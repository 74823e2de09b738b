"""What a model or an encoder has learned from, against intervals."""

from __future__ import annotations

import numpy as np

from moola.core.bars import utc_text
from moola.provenance.learned_times import (
    learned_until_us,
    records_of,
    seen_among,
    seen_sentence,
    seen_times,
    times_learned,
)

START, END = np.array([0, 10, 20, 30]), np.array([9, 19, 29, 39])


def record(first: int, last: int) -> dict[str, list[str]]:
    return {"time_range": [utc_text(first), utc_text(last)]}


def test_an_interval_is_seen_where_it_shares_a_time() -> None:
    for first in range(-3, 42):
        for last in range(first, 42):
            expected = [any(first <= time <= last for time in range(s, e + 1)) for s, e in zip(START, END, strict=True)]
            found = seen_among(record(first, last), START, END + 1)
            assert found is not None
            assert found.tolist() == expected


def test_what_was_learned_ends_when_its_last_bar_is_over() -> None:
    """An 8-hour bar of 08:00 closes at 16:00: hours that begin before it do are seen."""
    hour = 3_600_000_000
    learned = times_learned(np.array([0, 8]) * hour, np.array([8, 16]) * hour)
    found = seen_among(learned, np.array([11, 15, 16]) * hour, np.array([12, 16, 17]) * hour)
    assert found is not None
    assert found.tolist() == [True, True, False]
    # A judged window of long bars is seen where it is not over when what was learned begins.
    later = times_learned(np.array([12]) * hour, np.array([13]) * hour)
    found = seen_among(later, np.array([0, 0]), np.array([12, 16]) * hour)
    assert found is not None
    assert found.tolist() == [False, True]
    assert times_learned(None, None) == {"time_range": None}


def test_without_times_nothing_is_known() -> None:
    assert seen_among({}, START, END) is None
    assert seen_among({"time_range": None}, START, END) is None
    assert seen_among(record(0, 9), None, None) is None


def test_the_sentence_is_there_only_where_something_was_seen() -> None:
    span = record(0, 86_400_000_000)["time_range"]
    said = seen_sentence(3, "7 events", span)
    assert said.startswith("3 of 7 events lie in the times of the labels that the model learned from (1970-01-01 to ")
    assert "1970-01-02" in said
    assert seen_sentence(0, "7 events", span) == seen_sentence(None, "7 events", None) == ""


def test_what_an_encoder_went_on_from_counts_as_seen_but_not_what_lies_between() -> None:
    first, last = record(0, 9), record(30, 39)
    for both in ({"also_learned": [first, last]}, first | {"also_learned": [last]}):
        found = seen_among(both, START, END + 1)
        assert found is not None
        assert found.tolist() == [True, False, False, True]
        assert seen_times(both) == " and ".join(" to ".join(one["time_range"]) for one in (first, last))
    deep = first | {"also_learned": [{"time_range": None, "also_learned": [last]}]}
    assert len(records_of(deep)) == 3
    found = seen_among(deep, START, END + 1)
    assert found is not None
    assert found.tolist() == [True, False, False, True]


def test_one_record_without_times_leaves_open_what_the_others_did_not_see() -> None:
    assert seen_among({"also_learned": [record(100, 200), {"time_range": None}]}, START, END + 1) is None


def test_what_was_learned_is_over_with_its_last_record_and_a_record_without_times_is_told() -> None:
    early, late, unknown = record(0, 50), record(100, 150), {"time_range": None}
    both = {"also_learned": [late, early]}
    assert learned_until_us(both) == (151, True)
    assert learned_until_us({**early, "also_learned": [late]}) == (151, True)
    assert learned_until_us({"also_learned": [early, unknown]}) == (51, False)
    assert learned_until_us(unknown) == (None, False)
    assert learned_until_us({**early, "time_range_end": "close"}) == (50, True)
