"""What this machine can do at best, measured in the same run as what is held against it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import torch

REPEATS = 5
PRODUCT_SIZE = 1024


def best_of(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


@cache
def product_rate(dtype: torch.dtype, threads: int = 1) -> float:
    """Operations a second of a square matrix product of 1,024 rows."""
    torch.set_num_threads(threads)
    left, right = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE).to(dtype) for _ in range(2))
    seconds = best_of(lambda: left @ right, 20)
    torch.set_num_threads(1)
    return 2 * PRODUCT_SIZE**3 / seconds


def copy_rate(n_bytes: int) -> float:
    """Bytes a second of copying an array of so many bytes to another that is there already.

    The best of some pairs of arrays: where in memory a pair lies can halve its rate.
    """
    rates = []
    for _ in range(REPEATS):
        source = np.ones(n_bytes // 8)
        target = np.zeros_like(source)
        rates.append(n_bytes / best_of(lambda one=source, other=target: np.copyto(other, one)))
    return max(rates)
