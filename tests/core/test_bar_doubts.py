from datetime import UTC, datetime

import numpy as np
import pytest

from moola.core.bars import split_doubts, time_doubt

DAY_US = 86_400_000_000
FIRST_US = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1e6)


def daily(n=60, seed=3, size=0.01):
    rng = np.random.default_rng(seed)
    close = 400 * np.exp(np.cumsum(rng.normal(0, size, n)))
    opens = np.concatenate([[400.0], close[:-1] * np.exp(rng.normal(0, size / 4, n - 1))])
    ohlc = np.stack([opens, np.maximum(opens, close) * 1.002, np.minimum(opens, close) * 0.998, close], axis=1)
    return FIRST_US + DAY_US * np.arange(n), ohlc


@pytest.mark.parametrize(
    ("factor", "name"),
    [(4, "4:1"), (2, "2:1"), (1.5, "3:2"), (10, "10:1"), (20, "20:1"), (1 / 5, "1:5"), (0.1, "1:10")],
)
@pytest.mark.parametrize("row", [1, 30, 59])
def test_a_split_is_found_at_its_row(factor, name, row):
    start_us, ohlc = daily()
    ohlc[row:] /= factor
    (found,) = split_doubts(start_us, ohlc)
    assert (found.bar, found.name) == (row, name)
    assert (found.close_before, found.open_after) == (ohlc[row - 1, 3], ohlc[row, 0])


def test_two_splits_are_two():
    start_us, ohlc = daily()
    ohlc[20:] /= 4
    ohlc[40:] /= 2
    assert [(one.bar, one.name) for one in split_doubts(start_us, ohlc)] == [(20, "4:1"), (40, "2:1")]


def test_bars_as_they_are_raise_no_doubt():
    assert split_doubts(*daily(500)) == []
    assert split_doubts(*daily(2)) == []


def test_a_bad_tick_that_comes_back_is_no_split():
    start_us, ohlc = daily()
    ohlc[30] /= 4
    assert split_doubts(start_us, ohlc) == []


def test_a_move_that_is_usual_is_no_split():
    assert split_doubts(*daily(400, size=0.2)) == []


def test_a_move_over_a_long_gap_in_time_is_no_split():
    start_us, ohlc = daily()
    ohlc[30:] /= 2
    start_us[30:] += 100 * DAY_US
    assert split_doubts(start_us, ohlc) == []


@pytest.mark.parametrize(
    ("step_us", "said"),
    [(DAY_US, None), (7 * DAY_US, None), (8 * DAY_US, "8 days"), (100_000, None), (50_000, "0.05 s"), (0, None)],
)
def test_a_length_of_few_bars_is_doubted(step_us, said):
    found = time_doubt(FIRST_US + step_us * np.arange(20))
    assert found is None if said is None else said in found


def test_the_first_day_of_1970_is_doubted():
    assert "3 of 3 bars begin on 1970-01-01" in time_doubt(np.arange(3) * 3_600_000_000)
