"""The one place where seeds come from.

Every random number of moola is drawn from a generator that is named by the user's seed and by
what it is for, so that adding a draw in one place never shifts the draws of another.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, equal on every platform and Python hash seed."""
    name = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return numpy's generator for one purpose of one seed."""
    return np.random.default_rng(derive_seed(seed, *purpose))
