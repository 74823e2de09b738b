"""What `scan --follow` knows, on disk: how far every file is read, the last bars of every symbol, what was reported.

The state is written first, with the text that is to be appended; then the text. A process that is killed at any
moment leaves a state from which the next one appends what is missing, so that each event stands once.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import json_bytes, read_json, sha256_bytes, write_atomic
from moola.locks import alone, lock_beside
from moola.tables.growing_table import Place

STATE = "state.json"
ADVICE = "Remove its folder and the output to start over."


@dataclass(frozen=True)
class SymbolState:
    """One symbol, as far as it is read.

    Attributes
    ----------
    bars
        Its last bars: all that windows to come need.
    offset
        Place of the first of them among the symbol's bars, a multiple of the stride.
    reported
        Bars of events reported, counted from the symbol's first bar, that events to come may overlap.
    """

    bars: Bars
    offset: int
    reported: np.ndarray

    @property
    def n_bars(self) -> int:
        """Bars read so far."""
        return self.offset + len(self.bars)

    @property
    def last_us(self) -> int:
        """Start of the last bar."""
        return int(self.bars.start_us[-1])


@dataclass(frozen=True)
class FollowState:
    """Everything that a follower knows; `n_bytes` of output are there already, `pending` is to follow them."""

    places: dict[str, Place] = field(default_factory=dict)
    symbols: dict[str, SymbolState] = field(default_factory=dict)
    n_bytes: int = 0
    pending: str = ""
    n_events: int = 0

    def with_pending(self, text: str, n_events: int) -> FollowState:
        """Return the state with more text to append, once what was pending is there."""
        n_bytes = self.n_bytes + len(self.pending.encode())
        return replace(self, n_bytes=n_bytes, pending=text, n_events=self.n_events + n_events)


class FollowFolder:
    """The folder `<output>.follow` of one follower at a time, and the output beside it."""

    def __init__(self, output: Path, deciding: dict[str, Any]) -> None:
        self.output = output
        self.folder = folder_of(output)
        self.plan = sha256_bytes(json_bytes(deciding))
        self.held = contextlib.ExitStack()

    def open(self) -> FollowState:
        """Take the folder, and return the current state; a new one where there is none.

        Raises
        ------
        OperationFailed
            Another follower holds it.
        WrongUsage
            It was begun with another model or other options, or there is an output and no state.
        InvalidData
            The output is not what was appended.
        """
        is_new = not (self.folder / STATE).is_file()
        if is_new and self.output.exists():
            raise WrongUsage(
                f"--follow must begin with an output of its own, but {self.output} already exists. Remove it or name "
                f"another --output."
            )
        self.held.enter_context(alone(lock_beside(self.output), f"follow into {self.output}"))
        if is_new:
            return FollowState()
        content = read_json(self.folder / STATE, "a follower's state", ADVICE)
        try:
            if content["plan"] != self.plan:
                raise WrongUsage(
                    f"--follow must continue with the model and options it was begun with, but {self.folder} was begun "
                    f"with others. Give the same, or name another --output."
                )
            state = _from_json(content)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(
                f"a follower's state must be intact, but {self.folder / STATE} is not ({error}). {ADVICE}"
            ) from error
        self._append(state)
        return state

    def keep(self, state: FollowState) -> None:
        """Write the state, then append what is pending."""
        write_atomic(self.folder / STATE, json_bytes({"plan": self.plan} | _to_json(state)))
        self._append(state)

    def close(self) -> None:
        """Let another follower have the folder."""
        self.held.close()

    def _append(self, state: FollowState) -> None:
        """Append what is missing of the pending text: all, the rest of it, or nothing."""
        pending = state.pending.encode()
        try:
            with self.output.open("a+b") as file:
                n_there = file.seek(0, os.SEEK_END)
                file.seek(min(state.n_bytes, n_there))
                tail = file.read(len(pending) + 1)
                if n_there < state.n_bytes or not pending.startswith(tail):
                    raise InvalidData(
                        f"{self.output} must be as it was appended, but it was changed (it has {n_there} "
                        f"bytes). {ADVICE}"
                    )
                file.write(pending[len(tail) :])
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OperationFailed(
                f"{self.output} must be writable, but {error.strerror}; what is missing is appended at the next start. "
                "Free space and start again."
            ) from error


def folder_of(output: Path) -> Path:
    """Return the folder of a follower's state, beside its output."""
    return output.with_name(output.name + ".follow")


def _to_json(state: FollowState) -> dict[str, Any]:
    symbols = {
        name: {
            "start_us": one.bars.start_us.tolist(),
            "ohlc": one.bars.ohlc.tolist(),
            "offset": one.offset,
            "told": one.reported.tolist(),
        }
        for name, one in state.symbols.items()
    }
    # The order in which symbols came is kept by a list: files sort their keys.
    return {
        "places": {name: list(astuple(place)) for name, place in state.places.items()},
        "symbols": [[name, content] for name, content in symbols.items()],
        "n_bytes": state.n_bytes,
        "pending": state.pending,
        "n_events": state.n_events,
    }


def _from_json(content: dict[str, Any]) -> FollowState:
    symbols = {}
    for name, one in content["symbols"]:
        start_us = np.array(one["start_us"], dtype=np.int64)
        ohlc = np.array(one["ohlc"], dtype=np.float64).reshape(len(start_us), 4)
        reported = np.array(one["told"], dtype=np.int64).reshape(-1, 2)
        bars = Bars(start_us, ohlc, np.full(len(start_us), name, dtype=object))
        symbols[name] = SymbolState(bars, int(one["offset"]), reported)
    places = {name: _place(*fields) for name, fields in content["places"].items()}
    return FollowState(places, symbols, int(content["n_bytes"]), str(content["pending"]), int(content["n_events"]))


def _place(n_rows: int, n_bytes: int, header: str = "", known: str = "", device: int = 0, inode: int = 0) -> Place:
    """Return a place; one of an older version has no more than its rows and bytes."""
    return Place(int(n_rows), int(n_bytes), str(header), str(known), int(device), int(inode))
