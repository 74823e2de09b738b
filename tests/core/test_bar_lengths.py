"""How far bars stand apart, by windows."""

from __future__ import annotations

import numpy as np
import pytest

from moola.core.bars import interval_warning, window_bar_interval_s

HOUR_US = 3_600_000_000


def test_windows_without_a_gap_decide() -> None:
    start = np.arange(20) * HOUR_US
    end = start + 104 * HOUR_US
    # A weekend stretches most of them.
    end[2:] += 48 * HOUR_US
    assert window_bar_interval_s(start, end, 105) == 3600.0


def test_nothing_is_known_without_times_windows_or_a_second_bar() -> None:
    none, one = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    assert window_bar_interval_s(None, None, 105) is None
    assert window_bar_interval_s(none, none, 105) is None
    assert window_bar_interval_s(one, one, 1) is None


@pytest.mark.parametrize(
    ("learned", "read"), [(None, 3600.0), (3600.0, None), (3600.0, 3600.0), (86400.0, 86400.0 * 1.4)]
)
def test_bars_alike_and_bars_unknown_are_silent(learned: float | None, read: float | None) -> None:
    assert interval_warning(learned, read) == ""


@pytest.mark.parametrize(("learned", "read"), [(3600.0, 86400.0), (86400.0, 3600.0), (60.0, 120.0)])
def test_other_bars_are_told_with_both_lengths(learned: float, read: float) -> None:
    said = interval_warning(learned, read)
    assert "learned on bars 1 " in said
    assert f"reads bars {'2 minutes' if read == 120 else '1 day' if read > 3600 else '1 hour'} apart" in said
