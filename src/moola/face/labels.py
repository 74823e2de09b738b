"""Labels and pointers as scikit-learn gives them, put into a window table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Shaped
from numpy.typing import ArrayLike

from moola.core.expansions import NO_POINTER
from moola.data.contracts.window_rules import ADVICE, label_problems
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData


def with_labels(
    table: WindowTable, y: ArrayLike, pointers: ArrayLike | None
) -> tuple[WindowTable, Shaped[np.ndarray, " classes"]]:
    """Return the table with these classes and pointers, and the classes as they came, sorted.

    Raises
    ------
    InvalidData
        Another number of them than windows, or what breaks a rule of a window file.
    """
    given = np.asarray(y)
    if given.shape != (len(table),):
        raise InvalidData(
            f"y must be a class for each of {len(table)} windows, but its shape is {given.shape}. Give one a window."
        )
    missing = [
        row for row, name in enumerate(given.tolist()) if name is None or (isinstance(name, float) and np.isnan(name))
    ]
    if missing:
        raise InvalidData(
            f"every window must have a label, but {len(missing)} of {len(given)} have none (y, first row "
            f"{missing[0]}). Leave them out."
        )
    classes = np.unique(given)
    table = replace(table, label=np.array([str(name) for name in given.tolist()], dtype=object))
    if pointers is not None:
        table = _with_pointers(table, np.asarray(pointers))
    if problems := label_problems(table, table.window_bars, table.equal_bars()):
        raise InvalidData.from_problems("X with y", problems, ADVICE)
    return table, classes


def _with_pointers(table: WindowTable, pointers: np.ndarray) -> WindowTable:
    if pointers.shape != (len(table), 2) or not np.issubdtype(pointers.dtype, np.integer):
        raise InvalidData(
            f"pointers must be two whole numbers for each of {len(table)} windows, but they are {pointers.dtype} of "
            f"shape {pointers.shape}. Give {NO_POINTER} where there is no expansion."
        )
    start, end = pointers.astype(np.int64).T
    return replace(table, expansion_start=start, expansion_end=end)
