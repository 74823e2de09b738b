"""Options of `runs prune`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Options of `runs prune`.

    Parameters
    ----------
    keep
        Newest runs that stay, whatever they are.
    apply
        Remove what is listed; without it nothing is.
    """

    keep: int = 10
    apply: bool = False
