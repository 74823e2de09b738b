"""What an encoder may have seen, where there are no times to tell it by."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from moola.core.splits import Split
from moola.provenance.learned_times import find_leaks
from tests.made import made_windows

TABLE = replace(made_windows(6), start_us=None, end_us=None)
SPLIT = Split(np.array([0, 1, 2]), np.array([3]), np.array([4, 5]))


@pytest.mark.parametrize(
    ("input_sha256", "obeyed", "n_leaks", "warns"),
    [
        ("data", None, 1, False),
        ("data", "another split", 1, False),
        ("data", "this split", 0, False),
        ("other", None, 0, True),
        ("other", "this split", 0, False),
    ],
)
def test_without_times_files_and_splits_tell(input_sha256, obeyed, n_leaks, warns, caplog):
    seen = {"time_range": None, "input_sha256": input_sha256, "split_sha256": obeyed}
    encoder = SimpleNamespace(pretraining=seen)
    leaks = find_leaks(None, encoder, TABLE, SPLIT, "data", "this split")
    assert len(leaks) == n_leaks
    assert ("cannot be determined" in caplog.text) == warns
    if leaks:
        assert "3 of 3 val and test windows" in leaks[0]
