"""Finished parts of a scan, in a folder beside its output until the output stands."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.merging import MergedEvents
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import json_bytes, read_json, remove_leftovers, sha256_bytes, write_atomic

PLAN = "plan.json"
PART = "part_{:06d}.json"
ADVICE = "Leave --resume out to start anew."
NO_BARS = np.zeros((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class ScanPart:
    """What is settled after some windows of a symbol; bars count from the symbol's first.

    Attributes
    ----------
    final
        Events to write, in their order; no later part has one that goes before them.
    waiting
        Events kept, which an event that is still open may go before.
    open
        Events that later windows may still beat.
    told
        Bars of kept events, of this part or before, that may still overlap others.
    n_events
        Events kept so far, over all symbols.
    """

    final: MergedEvents
    waiting: MergedEvents
    open: MergedEvents
    told: np.ndarray = field(default_factory=lambda: NO_BARS)
    n_events: int = 0

    @classmethod
    def before_all(cls, n_classes: int, n_events: int = 0) -> ScanPart:
        """Return what stands before a symbol's first part."""
        none = MergedEvents.none(n_classes)
        return cls(none, none, none, NO_BARS, n_events)


class ScanParts:
    """The folder `<output>.checkpoint`: a digest of everything that decides the events, and a file a part."""

    def __init__(self, output: Path, deciding: dict[str, Any]) -> None:
        self.output, self.folder = output, checkpoint_of(output)
        self.plan = {"plan": sha256_bytes(json_bytes(deciding))}

    def begin(self, resume: bool) -> int:
        """Return how many parts are done: none, unless asked to go on with the same scan."""
        if not resume:
            self.clear()
        elif (self.folder / PLAN).is_file():
            if read_json(self.folder / PLAN, "a scan's plan", ADVICE) != self.plan:
                raise WrongUsage(
                    f"--resume must go on with the model, bars and options it was started with, but {self.folder} "
                    f"was written with others. Give the same, or leave --resume out to start anew."
                )
            n_done = 0
            while (self.folder / PART.format(n_done)).is_file():
                n_done += 1
            return n_done
        write_atomic(self.folder / PLAN, json_bytes(self.plan))
        return 0

    def write(self, number: int, part: ScanPart) -> None:
        """Keep a finished part."""
        content: dict[str, Any] = {name: events_to_json(getattr(part, name)) for name in ("final", "waiting", "open")}
        content |= {"told": part.told.tolist(), "n_events": part.n_events}
        write_atomic(self.folder / PART.format(number), json_bytes(content))

    def read(self, number: int) -> ScanPart:
        """Return a finished part, to the bit."""
        path = self.folder / PART.format(number)
        content = read_json(path, "a scan's part", ADVICE)
        try:
            final, waiting, still = (events_from_json(content[name]) for name in ("final", "waiting", "open"))
            told = np.array(content["told"], dtype=np.int64).reshape(-1, 2)
            return ScanPart(final, waiting, still, told, int(content["n_events"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"a scan's part must be whole, but {path} is not ({error}). {ADVICE}") from error

    def clear(self) -> None:
        """Remove all parts and what was laid out beside them, and the folder unless it holds something else."""
        try:
            for pattern in ("part_*.json", "bars_*.bin", "events_*.parquet", PLAN):
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)
            remove_leftovers(self.folder, self.output)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()
        except OSError as error:
            raise OperationFailed(f"{self.folder} must be removable, but {error.strerror}. Remove it.") from error


def checkpoint_of(output: Path) -> Path:
    """Return the folder of a scan's finished parts, beside its output."""
    return output.with_name(output.name + ".checkpoint")


def events_to_json(events: MergedEvents) -> dict[str, Any]:
    """Turn events into plain values; a float is written with as many digits as it needs to come back to the bit."""
    arrays = {field.name: getattr(events, field.name).tolist() for field in fields(events)}
    return arrays | {"n_classes": events.class_prob.shape[1]}


def events_from_json(stored: dict[str, Any]) -> MergedEvents:
    """Return the events that `events_to_json` wrote."""
    empty = MergedEvents.none(stored["n_classes"])
    arrays = []
    for column in fields(empty):
        like = getattr(empty, column.name)
        arrays.append(np.array(stored[column.name]).astype(like.dtype).reshape(-1, *like.shape[1:]))
    if len({len(array) for array in arrays}) != 1:
        raise ValueError("columns of several lengths")
    return MergedEvents(*arrays)
