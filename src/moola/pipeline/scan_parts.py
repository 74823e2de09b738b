"""Finished parts of a scan, in a folder beside its output until the output stands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.merging import MergedEvents
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import json_bytes, read_json, sha256_bytes, write_atomic

PLAN = "plan.json"
PART = "part_{:06d}.json"
ADVICE = "Leave --resume out to start anew."


@dataclass(frozen=True)
class ScanPart:
    """What is settled after some windows.

    Attributes
    ----------
    kept
        Events of this part.
    open
        Events that later windows may still beat.
    told
        Bars of kept events, of this part or before, that may still overlap others.
    n_events
        Events kept so far.
    """

    kept: MergedEvents
    open: MergedEvents
    told: np.ndarray
    n_events: int


class ScanParts:
    """The folder `<output>.checkpoint`: a digest of everything that decides the events, and a file a part."""

    def __init__(self, output: Path, deciding: dict[str, Any]) -> None:
        self.folder = checkpoint_of(output)
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
        content: dict[str, Any] = {"kept": _to_json(part.kept), "open": _to_json(part.open)}
        content |= {"told": part.told.tolist(), "n_events": part.n_events}
        write_atomic(self.folder / PART.format(number), json_bytes(content))

    def read(self, number: int) -> ScanPart:
        """Return a finished part, to the bit."""
        path = self.folder / PART.format(number)
        content = read_json(path, "a scan's part", ADVICE)
        try:
            told = np.array(content["told"], dtype=np.int64).reshape(-1, 2)
            return ScanPart(_from_json(content["kept"]), _from_json(content["open"]), told, int(content["n_events"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"a scan's part must be whole, but {path} is not ({error}). {ADVICE}") from error

    def clear(self) -> None:
        """Remove all parts, and the folder unless it holds something else."""
        try:
            for path in [*self.folder.glob("part_*.json"), self.folder / PLAN]:
                path.unlink(missing_ok=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()
        except OSError as error:
            raise OperationFailed(f"{self.folder} must be removable, but {error.strerror}. Remove it.") from error


def checkpoint_of(output: Path) -> Path:
    """Return the folder of a scan's finished parts, beside its output."""
    return output.with_name(output.name + ".checkpoint")


def _to_json(events: MergedEvents) -> dict[str, Any]:
    # Python writes a float with as many digits as it needs to come back to the bit.
    arrays = {field.name: getattr(events, field.name).tolist() for field in fields(events)}
    return arrays | {"n_classes": events.class_prob.shape[1]}


def _from_json(stored: dict[str, Any]) -> MergedEvents:
    empty = MergedEvents.none(stored["n_classes"])
    arrays = []
    for field in fields(empty):
        like = getattr(empty, field.name)
        arrays.append(np.array(stored[field.name]).astype(like.dtype).reshape(-1, *like.shape[1:]))
    if len({len(array) for array in arrays}) != 1:
        raise ValueError("columns of several lengths")
    return MergedEvents(*arrays)
