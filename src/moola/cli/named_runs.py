"""Names of runs in options, made whole before a command begins: what it prints to type next names the same run."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

# Options that name a run, several runs, or a run or a file.
ONE, SEVERAL, OR_FILE = ("run",), ("compare",), ("baseline", "model")


def with_full_names(given: Any) -> Any:
    """Return options, or what was given without a name, with every run by its id.

    `--model` takes a run too, and means its model file.
    """
    if is_dataclass(given) and not isinstance(given, type):
        changed = {name: value for name, value in _changes(given) if value != getattr(given, name)}
        return replace(given, **changed) if changed else given
    return given


def _changes(given: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in (*ONE, *OR_FILE):
        value = getattr(given, name, None)
        if isinstance(value, Path) and not (name in OR_FILE and value.exists()):
            found.append((name, _file(value) if name == "model" else Path(full(str(value)))))
    for name in SEVERAL:
        if isinstance(value := getattr(given, name, None), tuple):
            found.append((name, tuple(full(one) for one in value)))
    if isinstance(value := getattr(given, "resume", None), str):
        found.append(("resume", _to_continue(given, value)))
    return found


def full(name: str) -> str:
    """Return the id of a complete run, or of a cv, that a name means."""
    from moola.options.option_ranges import RUNS_ROOT
    from moola.options.study_options import CV_ROOT
    from moola.runs.run_names import full_name

    return full_name(name, (RUNS_ROOT, CV_ROOT))


def _to_continue(given: Any, name: str) -> str:
    from moola.options.option_ranges import RUNS_ROOT
    from moola.options.study_options import CV_ROOT, CvOptions
    from moola.runs.run_names import full_name

    return full_name(name, (CV_ROOT if isinstance(given, CvOptions) else RUNS_ROOT,), complete=False)


def _file(named: Path) -> Path:
    """Return the model file of a run that is named in its place; a path that is no run's name stays."""
    from moola.options.option_ranges import RUNS_ROOT
    from moola.runs.run_names import full_name
    from moola.runs.run_store import MODEL

    if len(named.parts) != 1:
        return named
    folder = RUNS_ROOT / full_name(str(named), (RUNS_ROOT,))
    return folder / MODEL if folder.is_dir() else named
