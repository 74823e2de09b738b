"""The prices of judged windows, from the data file where it still stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moola.data.contracts.prediction_table import Predictions
from moola.data.contracts.window_file import read_windows
from moola.errors import InvalidData
from moola.files import sha256_file


def judged_bars(config: dict[str, Any], data_sha256: str, predictions: Predictions) -> tuple[np.ndarray | None, str]:
    """Return the judged windows' prices, or why there are none."""
    data = Path(str(config.get("data")))
    if not data.is_file():
        return None, f"the run's data file {data} is no longer there"
    if sha256_file(data) != data_sha256:
        return None, f"the run's data file {data} has changed since"
    try:
        table = read_windows(data, config.get("window_bars"))
    except InvalidData as error:
        return None, f"the run's data file cannot be read: {error}".rstrip(".")
    if table.ohlc is None:
        return None, f"the run's data file {data} holds features without their prices"
    rows = predictions.row
    if not len(rows) or rows.max() >= len(table) or [table.window_id[row] for row in rows] != predictions.window_id:
        return None, f"the rows of {data} are not those that were judged"
    return table.ohlc[rows], ""
