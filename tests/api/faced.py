"""Windows of 30 bars with planted expansions, and a classifier that fits them in a moment."""

from __future__ import annotations

import functools
from typing import Any

from moola import Model, WindowClassifier, relative_features
from moola.tables.window_file import windows_frame
from tests.made import made_windows

N_BARS = 30
TABLE = made_windows(40, seed=4, stride=N_BARS, window_bars=N_BARS)
WINDOWS = windows_frame(TABLE, TABLE)
LABELS = WINDOWS["label"].to_numpy()
FEATURES_OF_FACED = relative_features(TABLE.ohlc)
TINY: dict[str, Any] = {"hidden_dim": 4, "n_heads": 1, "epochs": 2, "batch_size": 8, "device": "cpu"}


def tiny(**given: Any) -> WindowClassifier:
    return WindowClassifier(**TINY | given)


@functools.cache
def model_of_28() -> Model:
    """Return a model of the first 28 windows that all tests of a process share: none may change it."""
    return tiny().fit(WINDOWS[:28], LABELS[:28]).model_
