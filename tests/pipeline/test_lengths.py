"""The length of windows: one, wherever it is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from moola.errors import InvalidData
from moola.pipeline.lengths import agreed_window_bars

MODEL, OTHER = Path("model.pt"), Path("other.pt")


def test_a_file_says_it_and_105_is_for_none() -> None:
    assert agreed_window_bars(None, {}) == 105
    assert agreed_window_bars(90, {}) == 90
    assert agreed_window_bars(None, {MODEL: 90}) == 90
    assert agreed_window_bars(90, {MODEL: 90, OTHER: 90}) == 90


def test_what_disagrees_is_refused() -> None:
    with pytest.raises(
        InvalidData, match=r"must have the 90 bars of model\.pt, but --window-bars says 105\. Leave it out"
    ):
        agreed_window_bars(105, {MODEL: 90})
    with pytest.raises(InvalidData, match=r"the 60 bars of other\.pt, but model\.pt says 90"):
        agreed_window_bars(None, {MODEL: 90, OTHER: 60})
