"""Where option values come from (command line, environment, `moola.toml`, defaults), and command lines that a reader
copies."""

from __future__ import annotations

import os
import re
import shlex
from contextvars import ContextVar
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from moola.errors import WrongUsage
from moola.options.judging_options import (
    EvalOptions,
    GateOptions,
    LeakcheckOptions,
    PromoteOptions,
    PruneOptions,
    ReportOptions,
)
from moola.options.label_options import LabelOptions, LabelsExportOptions, LabelsImportOptions, LabelsStatsOptions
from moola.options.option_fields import plain_kind
from moola.options.scan_options import ScanOptions, SimilarOptions
from moola.options.study_options import BenchmarkOptions, CompareOptions, CvOptions, TuneOptions
from moola.options.table_options import (
    AutolabelOptions,
    ConvertOptions,
    CpsaPreviewOptions,
    ImportOptions,
    SampleOptions,
    SplitOptions,
    WindowsOptions,
)
from moola.options.toml_files import read_toml
from moola.options.training_options import (
    ExportOptions,
    PredictOptions,
    PretrainOptions,
    PretrainTs2VecOptions,
    TrainOptions,
)

CONFIG_FILE = Path("moola.toml")
ENVIRONMENT_PREFIX = "MOOLA_"
# What the parser calls an option of each kind, and what records call it.
ENVIRONMENT, COMMAND_LINE = "env", "cli"
SOURCE_NAMES = {ENVIRONMENT: "environment", COMMAND_LINE: "command line"}
_sources: ContextVar[dict[str, str] | None] = ContextVar("_sources", default=None)
COMMAND_OPTIONS: dict[str, type] = {
    "sample": SampleOptions,
    "bars import": ImportOptions,
    "windows": WindowsOptions,
    "convert": ConvertOptions,
    "label": LabelOptions,
    "labels export": LabelsExportOptions,
    "labels import": LabelsImportOptions,
    "labels stats": LabelsStatsOptions,
    "autolabel": AutolabelOptions,
    "split": SplitOptions,
    "cpsa preview": CpsaPreviewOptions,
    "pretrain-bilstm": PretrainOptions,
    "pretrain-ts2vec": PretrainTs2VecOptions,
    "train": TrainOptions,
    "eval": EvalOptions,
    "cv": CvOptions,
    "compare": CompareOptions,
    "tune": TuneOptions,
    "benchmark": BenchmarkOptions,
    "gate": GateOptions,
    "promote": PromoteOptions,
    "report": ReportOptions,
    "predict": PredictOptions,
    "scan": ScanOptions,
    "similar": SimilarOptions,
    "export": ExportOptions,
    "runs prune": PruneOptions,
    "leakcheck": LeakcheckOptions,
}


def remember_sources(sources: dict[str, str]) -> None:
    """Remember where the options of the command that begins came from; what is not named is at its default."""
    _sources.set({name: SOURCE_NAMES.get(source, source) for name, source in sources.items()})


def option_sources(options: type) -> dict[str, str] | None:
    """Return where each option of a class came from: `command line`, `environment`, the file's name or `default`.

    None where no command was typed, as in a notebook.
    """
    known = _sources.get()
    return (
        None
        if known is None
        else {field.name: known.get(field.name.rstrip("_"), "default") for field in fields(options)}
    )


def recorded_options(options: Any) -> dict[str, Any]:
    """Return a command's options by name as plain values, for a record in JSON: files by their path."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        return str(value) if isinstance(value, Path) else value

    return {name: plain(value) for name, value in asdict(options).items()}


def option_names(command: str) -> set[str]:
    """Return the keys of one command; a field that would be a word of Python has a mark behind it."""
    return {field.name.rstrip("_") for field in fields(COMMAND_OPTIONS[command])}


@cache
def boolean_options() -> frozenset[str]:
    """Return every boolean option of every command, as written on the command line."""
    names = {"json", "debug"}
    for options in COMMAND_OPTIONS.values():
        names |= {name for name, hint in get_type_hints(options).items() if plain_kind(hint) is bool}
    return frozenset(f"--{name.replace('_', '-')}" for name in names)


def file_settings(command: str, path: Path = CONFIG_FILE) -> dict[str, Any]:
    """Return the settings that the file has for one command; every key of the file is checked.

    Keys at the top hold for each command that has such an option; a table named after a command, as
    `[train]` or `["bars import"]`, holds for that command and goes before them.

    Raises
    ------
    WrongUsage
        The file cannot be read, is no TOML, or a key or table is unknown; names the nearest known one.
    """
    # A folder or a broken link of this name is no missing file: somebody meant it to be read.
    if not os.path.lexists(path):
        return {}
    content = read_toml(path, str(path))
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    known = set().union(*(option_names(name) for name in COMMAND_OPTIONS))
    _refuse_unknown(_plain(shared), known, path, "option")
    _refuse_unknown(tables, set(COMMAND_OPTIONS), path, "command")
    for name, table in tables.items():
        _refuse_unknown(_plain(table), option_names(name), path, f"option of {name}")
    if command not in COMMAND_OPTIONS:
        return {}
    mine = {key: value for key, value in _plain(shared).items() if key in option_names(command) - own_only(command)}
    return mine | _plain(tables.get(command, {}))


def own_only(command: str) -> set[str]:
    """Return the keys that a command takes from its own line or its own table alone.

    The data of a project is what it trains on: named for every command it would be taken for windows that came later.
    """
    return {"data", "allow_overlap"} if command in ("eval", "gate", "promote") else set()


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in settings.items()}


def _refuse_unknown(settings: dict[str, Any], known: set[str], path: Path, what: str) -> None:
    unknown = [key for key in settings if key not in known]
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1)
        hint = f"Did you mean {near[0]}?" if near else "Remove it."
        raise WrongUsage(
            f"every key of {path} must be the name of an {what}, but {len(unknown)} of {len(settings)} is not: "
            f"{', '.join(repr(key) for key in unknown[:5])}. {hint}"
        )


# What a reader fills in, such as <RUN_ID> or <windows or bars>; a path may hold these signs, but no path begins and
# ends with them and has plain words between.
PLACEHOLDER = re.compile(r"<[A-Za-z0-9_. -]+>")


def command_line(*words: Any) -> str:
    """Join words to a line for the shell: each quoted where it must be, `<what a reader fills in>` left readable."""
    return " ".join(_word(word) for word in words)


def _word(word: Any) -> str:
    text = str(word).lower() if isinstance(word, bool) else str(word)
    # A path is always one that exists or will.
    is_placeholder = not isinstance(word, Path) and PLACEHOLDER.fullmatch(text)
    return text if is_placeholder else shlex.quote(text)


def command_words(options: dict[str, Any]) -> list[Any]:
    """Return options and their values as words; a list gives a word an entry."""
    words: list[Any] = []
    for name, value in options.items():
        words += [f"--{name.strip('_').replace('_', '-')}", *(value if isinstance(value, list | tuple) else [value])]
    return words


def window_bars_words(window_bars: int | None) -> tuple[str, ...]:
    """Return the option that a following command needs for windows of another length than the default."""
    # `moola --help` needs no numbers, and reads this file.
    from moola.core.windows import WINDOW_BARS

    return () if window_bars in (None, WINDOW_BARS) else ("--window-bars", str(window_bars))
