"""Windows that are the same but for their scale: prices times any factor, and perhaps rounded after it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from moola.core.splits import content_hashes, groups_of_equal

# Prices rounded to 5 decimals near 0.3, or to 2 near 300, change a return by some 3e-5 at most.
TOLERANCE = 5e-5
# A window that hardly moves is like others by chance: moves must be this many tolerances.
LEAST_MOVE = 20
PLACES = 8


def same_but_for_scale(
    values: Float[np.ndarray, "windows bars values"],
) -> Int[np.ndarray, " windows"]:
    """Number windows so that those with equal bars, or with equal bars at another scale, have the same number.

    Parameters
    ----------
    values
        Prices (4 a bar), or the eleven features, whose first four tell the prices up to their scale.

    Notes
    -----
    Two windows are the same where the logarithm of every price, counted from the window's first, is within 5e-5 of the
    other's. Distances are compared and not rounded values, which would fall apart where rounding goes two ways. Windows
    in which no price moves by 0.1 % are the same only where they are equal.
    """
    group = groups_of_equal(content_hashes(values))
    _, first = np.unique(group, return_index=True)
    shape = _shape(values[first])
    moving = np.flatnonzero(np.ptp(shape, axis=(1, 2)) >= LEAST_MOVE * TOLERANCE)
    joined = np.arange(len(first))
    for one, other in _near_pairs(shape[moving].reshape(len(moving), shape[0].size)):
        low, high = sorted((joined[moving[one]], joined[moving[other]]))
        joined[joined == high] = low
    return groups_of_equal([int(number).to_bytes(8, "little") for number in joined[group]])


def _shape(values: np.ndarray) -> np.ndarray:
    """Logarithm of each price, counted from the first of its kind."""
    if values.shape[-1] == 4:
        return np.asarray(np.log(values / values[:, :1]))
    returns = values[:, :, :4].copy()
    returns[:, 0] = 0.0
    return np.cumsum(returns, axis=1)


def _near_pairs(shape: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows that are nowhere further apart than the tolerance: neighbours in the order of one value."""
    if len(shape) < 2:
        return []
    places = np.linspace(0, shape.shape[1] - 1, PLACES).round().astype(np.int64)
    order = np.argsort(shape[:, places[-1]], kind="stable")
    last, few = shape[order, places[-1]], shape[order][:, places]
    pairs = []
    for step in range(1, len(order)):
        near = np.flatnonzero(last[step:] - last[:-step] <= TOLERANCE)
        if not len(near):
            break
        near = near[(np.abs(few[near + step] - few[near]) <= TOLERANCE).all(axis=1)]
        for place in near.tolist():
            one, other = int(order[place]), int(order[place + step])
            if (np.abs(shape[one] - shape[other]) <= TOLERANCE).all():
                pairs.append((one, other))
    return pairs
