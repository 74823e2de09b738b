"""`labels check` and `labels backup`: whether a store is whole, and a copy of it while it is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moola.data.contracts.label_store import LabelStore


def check(path: Path) -> dict[str, Any]:
    """Open a store, which checks all of it, and count what it holds.

    Raises
    ------
    UntrustedFile
        It is damaged, foreign, or of a later version.
    """
    with LabelStore(path, must_exist=True) as store:
        return {"store": str(path), **_counts(store)}


def back_up(path: Path, to: Path) -> dict[str, Any]:
    """Copy a store and check the copy.

    Raises
    ------
    WrongUsage
        There is a file of that name already.
    UntrustedFile
        The store is damaged: a copy of it would be too.
    """
    with LabelStore(path, must_exist=True) as store:
        store.backup(to)
    with LabelStore(to, must_exist=True) as copy:
        return {"store": str(path), "to": str(to), **_counts(copy)}


def _counts(store: LabelStore) -> dict[str, int]:
    return {"n_labels": len(store.all()), "n_revisions": store.n_revisions(), "n_with_bars": len(store.bars())}
