"""What a member of a team tells whoever started it, and how that one hears it, over any queue."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from moola.errors import MoolaError, OperationFailed
from moola.training.loop import OnEpoch
from moola.training.team import Team

# Work of one member: told each epoch's row, returns what the command says at the end.
Work = Callable[[Any, OnEpoch, Team], dict[str, Any]]


def tell(said: Any, team: Team, work: Callable[[OnEpoch], dict[str, Any]]) -> None:
    """Do a member's work; the first member tells its epochs and its result, each tells what went wrong."""

    def on_epoch(row: dict[str, Any]) -> None:
        if team.leads:
            said.put(("row", row))

    try:
        result = work(on_epoch)
    except MoolaError as error:
        said.put(("error", error))
        return
    if team.leads:
        said.put(("result", result))


def hear(said: Any, on_epoch: OnEpoch, why_ended: Callable[[], OperationFailed | None]) -> dict[str, Any]:
    """Pass on what the members tell until there is a result; `why_ended` says why none can come any more."""
    while True:
        # Asked first: what was told before the end is heard.
        ended = why_ended()
        try:
            kind, content = said.get(timeout=0.5)
        except queue.Empty:
            if ended is not None:
                raise ended from None
            continue
        if kind == "row":
            on_epoch(content)
        elif kind == "error":
            raise content
        else:
            result: dict[str, Any] = content
            return result
