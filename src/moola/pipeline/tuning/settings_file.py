"""Chosen values into the `[train]` table of a settings file, with nothing of it lost."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from moola.config.sources import file_settings
from moola.config.toml_files import read_text
from moola.config.train_options import TrainOptions
from moola.errors import OperationFailed, WrongUsage
from moola.files import sha256_bytes, write_atomic

MARK = "# tune: "
HEADER = re.compile(r"^\s*\[\s*train\s*\]\s*(#.*)?$")
TABLE = re.compile(r"^\s*\[")
KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")
# What is no matter of a trial: files, machines, seeds, and what is kept.
NOT_JUDGED = ("data", "split", "seed", "device", "threads", "save_run", "resume", "input_dim", "allow_overlap")


def check_settings(path: Path) -> None:
    """Refuse, before any work, a file that the values could not be put into.

    Raises
    ------
    WrongUsage
        It is no TOML, has an unknown key, or its `[train]` is not a table that lines can be put into.
    """
    if path.exists():
        file_settings("train", path)
        merged(path, {"epochs": 1}, [])


def merged(path: Path, values: dict[str, Any], comment: list[str]) -> str:
    """Return the file's text with these values in `[train]`, in place of what it said of them.

    Comments, order and every other key stay; lines that an earlier `tune` marked as its own go.
    """
    text = read_text(path, f"--output {path}") if path.is_file() else ""
    block = [f"{MARK}{line}" for line in comment] + [f"{name} = {_toml(value)}" for name, value in values.items()]
    lines = text.splitlines()
    headers = [number for number, line in enumerate(lines) if HEADER.match(line)]
    if headers:
        first = headers[0] + 1
        end = next((n for n in range(first, len(lines)) if TABLE.match(lines[n])), len(lines))
        kept = [line for line in lines[first:end] if not line.startswith(MARK) and _key(line) not in values]
        lines = [*lines[:first], *block, *kept, *lines[end:]]
    else:
        lines = [*lines, *([""] if lines else []), "[train]", *block]
    new = "\n".join(lines) + "\n"
    if _parsed(new) != _expected(_parsed(text), values):
        raise WrongUsage(
            f"--output must have a [train] table of plain lines, but {path} is written otherwise. "
            "Name another --output and carry the values over by hand."
        )
    return new


def _key(line: str) -> str:
    found = KEY.match(line)
    return found[1].replace("-", "_") if found else ""


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _expected(before: dict[str, Any] | None, values: dict[str, Any]) -> dict[str, Any] | None:
    if before is None or not isinstance(before.get("train", {}), dict):
        return None
    train = {name: value for name, value in before.get("train", {}).items() if name.replace("-", "_") not in values}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return before | {"train": train | plain}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return repr(value) if isinstance(value, (int, float)) else json.dumps(str(value))


def write_settings(path: Path, values: dict[str, Any], comment: list[str]) -> Path | None:
    """Put the values into the file; what it was before, if it changes, is kept beside it under its hash.

    Returns
    -------
    Path or None
        The copy of what stood before.
    """
    new = merged(path, values, comment).encode()
    backup = None
    try:
        before = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise OperationFailed(f"{path} must be readable, but {error.strerror}. Mend its permissions.") from error
    if before is not None and before != new:
        backup = path.with_name(f"{path.name}.{sha256_bytes(before)[:8]}.bak")
        write_atomic(backup, before)
    write_atomic(path, new)
    return backup


def unjudged(path: Path, judged: TrainOptions) -> list[str]:
    """Return what the file makes `train` do otherwise than the trials did, as `name = value`."""
    settings = {name: value for name, value in file_settings("train", path).items() if name not in NOT_JUDGED}
    return [
        f"{name} = {_toml(value)}"
        for name, value in sorted(settings.items())
        if str(value) != str(list(now) if isinstance(now := getattr(judged, name), tuple) else now)
    ]
