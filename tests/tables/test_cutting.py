import logging

import numpy as np
import pytest

from moola.core.bars import Bars, allowed_gap_s
from moola.errors import InvalidData
from moola.tables.cutting import cut_within_gaps

HOUR_US = 3_600_000_000
MONDAY_US = 1_704_067_200_000_000


def starts(hours):
    return MONDAY_US + np.asarray(hours, dtype=np.int64) * HOUR_US


def made(start_us, symbol="A"):
    return Bars(start_us, np.ones((len(start_us), 4)), np.full(len(start_us), symbol, dtype=object))


def business_days(n, holidays=()):
    """Hours of daily bars from Monday to Friday."""
    return [24 * day for day in range(n) if day % 7 < 5 and day not in holidays]


def currency_hours(n_weeks):
    """Hours of hourly bars from Sunday evening to Friday evening."""
    return [168 * week + hour for week in range(n_weeks) for hour in range(-2, 118)]


def stock_hours(n_weeks, holidays=()):
    """Hours of seven hourly bars a business day, as at New York."""
    return [
        24 * day + hour for day in range(7 * n_weeks) if day % 7 < 5 and day not in holidays for hour in range(14, 21)
    ]


@pytest.mark.parametrize(
    ("start_us", "expected_h"),
    [
        (starts(business_days(300)), 11 * 24),
        (starts(np.arange(300) * 24), 11 * 24),
        (starts(np.arange(300) * 168), 11 * 168),
        (starts(currency_hours(8)), 72),
        (starts(np.arange(2000)), 72),
        (starts(np.arange(200) // 2 * 2), 72),
        (starts(stock_hours(8)), 1.4 * 66),
        (starts([0]), 72),
        (starts([]), 72),
    ],
)
def test_the_longest_gap_is_found_from_the_bars(start_us, expected_h):
    assert allowed_gap_s(start_us) == pytest.approx(expected_h * 3600)
    assert allowed_gap_s(start_us, 5.0) == 5 * 3600


def test_a_holiday_weekend_of_daily_bars_is_crossed_and_a_month_is_not():
    # Friday to Tuesday: 96 hours; then ten days around a new year.
    hours = business_days(400, holidays=(28, 63, 64, 65, 66, 67))
    whole = cut_within_gaps(made(starts(hours)), 1, 105, None, "daily.csv")
    assert whole.n_dropped_gap == 0
    assert len(whole) == len(hours) - 104
    hours = [hour + 720 * (hour > 4000) for hour in hours]
    assert cut_within_gaps(made(starts(hours)), 1, 105, None, "daily.csv").n_dropped_gap == 104


def test_long_weekends_of_stocks_are_crossed():
    assert cut_within_gaps(made(starts(stock_hours(20, holidays=(14, 53)))), 1, 105, None, "x").n_dropped_gap == 0


def test_every_symbol_has_its_own_longest_gap():
    daily, hourly = (
        made(starts(business_days(200)), "D"),
        made(starts(np.arange(150) + 24 * (np.arange(150) > 120) * 4), "H"),
    )
    both = Bars(
        *(np.concatenate(pair) for pair in zip(*((b.start_us, b.ohlc, b.symbol) for b in (daily, hourly)), strict=True))
    )
    found = cut_within_gaps(both, 1, 105, None, "x")
    alone = len(daily) - 104
    assert (found.first_bar[:alone] < alone).all()
    # The hourly symbol rests for 97 hours after its bar 120.
    assert found.first_bar[alone:].tolist() == [len(daily) + first for first in range(17)]
    assert found.n_dropped_gap == 150 - 104 - 17


def test_what_is_dropped_is_said_with_the_option(caplog):
    hours = np.arange(400) + 100 * (np.arange(400) > 200)
    with caplog.at_level(logging.INFO, "moola"):
        cut_within_gaps(made(starts(hours)), 1, 105, None, "x")
    assert caplog.messages == ["104 of 296 windows are dropped: they hold a gap above 72 h (--max-gap-hours)."]
    caplog.clear()
    with caplog.at_level(logging.INFO, "moola"):
        cut_within_gaps(made(starts(np.arange(400))), 1, 105, None, "x")
    assert caplog.messages == []


def test_the_number_that_is_told_keeps_a_window():
    bars = made(starts(np.arange(300) + 100 * (np.arange(300) // 90)))
    with pytest.raises(InvalidData, match=r"give none of 105 \(196 dropped for gaps\): each holds one above 72 h"):
        cut_within_gaps(bars, 1, 105, None, "x")
    with pytest.raises(InvalidData, match="Pass --max-gap-hours 101 or more"):
        cut_within_gaps(bars, 1, 105, 100.9, "x")
    assert len(cut_within_gaps(bars, 1, 105, 101, "x")) == 196


def test_too_few_bars_are_told_from_gaps():
    with pytest.raises(
        InvalidData, match=r"x must .* but 104 bars give none of 105 \(0 dropped .*Give more bars, or lower"
    ):
        cut_within_gaps(made(starts(np.arange(104))), 1, 105, None, "x")
