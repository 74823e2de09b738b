"""All checks together: planted windows pass, and several leaks at once are each named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.errors import InvalidData
from moola.leakcheck.checking import CHECKS, leakcheck
from tests.leakcheck.subjects import with_bars_of, write_files
from tests.planted import HOUR_US, planted_windows


def test_planted_windows_are_clean_and_every_check_says_so(tmp_path):
    result = leakcheck(replace(write_files(tmp_path, planted_windows(40, seed=3)), quick=True))
    assert result["clean"] is True
    assert result["n_leaks"] == 0
    fine = {finding["what"] for finding in result["findings"] if finding["state"] == "ok"}
    assert fine == set(CHECKS) - {
        "encoder",
        "scaler",
        "run files",
        "run predictions",
        "trained controls",
        "hidden bars",
        "live scan",
    }


def test_one_leak_does_not_hide_another(tmp_path):
    table = with_bars_of(planted_windows(40, seed=3), 35, 3)
    start, end = table.start_us.copy(), table.end_us.copy()
    start[19], end[19] = start[19] + 5 * HOUR_US, end[19] + 5 * HOUR_US
    table = replace(table, start_us=start, end_us=end).with_features()
    features = table.features.copy()
    features[11, 70, 8] = 9.5
    options = write_files(tmp_path, replace(table, features=features))
    result = leakcheck(replace(options, quick=True))
    named = {(f["what"], f["row"]) for f in result["findings"] if f["state"] == "leak"}
    assert named == {("duplicates", 3), ("overlaps", 19), ("purge", 19), ("stored features", 11)}
    assert (result["clean"], result["n_leaks"]) == (False, 4)


def test_rows_that_the_data_has_not_are_refused(tmp_path):
    with pytest.raises(InvalidData, match=r"test rows must be within 0\.\.39"):
        leakcheck(write_files(tmp_path, planted_windows(40, seed=3), test=[99]))


def test_other_lengths_and_a_split_that_says_no_purge(tmp_path):
    table = planted_windows(40, seed=3)
    short = replace(table, ohlc=table.ohlc[:, :60], expansion_start=np.full(40, 30), expansion_end=np.full(40, 40))
    options = write_files(tmp_path, short, window_bars=60, purge_window=59)
    assert leakcheck(replace(options, quick=True, window_bars=60))["clean"] is True
    assert leakcheck(replace(options, quick=True))["clean"] is True
    with pytest.raises(InvalidData, match="105 bars"):
        leakcheck(replace(options, quick=True, window_bars=105))
