"""Command lines made uniform (`--x true`, `--x`, `--no-x`, names of runs made whole), and the pages of help."""

from __future__ import annotations

import logging
import math
import os
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts.help.formatters.default import DefaultFormatter

from moola.errors import WrongUsage
from moola.options.option_fields import refuse_out_of_range
from moola.options.option_sources import (
    CONFIG_FILE,
    ENVIRONMENT,
    boolean_options,
    file_settings,
    own_only,
    remember_sources,
)

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions


log = logging.getLogger("moola.cli")
_not_typed: ContextVar[str] = ContextVar("_not_typed", default="")
WORDS = {"true", "false", "yes", "no", "1", "0"}
# What every file system that is in use takes as one name, and what every table holds as a whole number.
MAX_NAME_BYTES, MAX_NUMBER = 255, 2**53


def join_booleans(arguments: list[str]) -> list[str]:
    """Join a boolean option and its value to `--x=value`; everything else stays as it is."""
    flags = boolean_options()
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument not in flags:
            joined.append(argument)
            continue
        following = next(rest, None)
        if following is not None and following.lower() in WORDS:
            joined.append(f"{argument}={following.lower()}")
            continue
        joined.append(argument)
        if following is not None:
            # The next one may be a flag itself.
            joined += join_booleans([following, *rest])
    return joined


def from_file(app: Any, commands: tuple[str, ...], arguments: Any) -> None:
    """Fill options that neither command line nor environment gave from `moola.toml`; report which were not typed."""
    from cyclopts.config import Dict

    settings = file_settings(" ".join(commands))
    for argument in arguments:
        if _name_of(argument) in own_only(" ".join(commands)):
            argument.tokens[:] = [token for token in argument.tokens if token.source != ENVIRONMENT]
    if settings:
        # Below the command's own name: the parser drops keys at the top that are names of commands, such as `split`.
        own: dict[str, Any] = settings
        for name in reversed(commands):
            own = {name: own}
        Dict(own, source=str(CONFIG_FILE))(app, commands, arguments)
    _remember({_name_of(argument): argument.tokens for argument in arguments}, settings)


def _name_of(argument: Any) -> str:
    return str(argument.name).lstrip("-").replace("-", "_")


def _remember(tokens: dict[str, list[Any]], settings: dict[str, Any]) -> None:
    """Remember where each option came from, and the line of those that were not typed, with their values."""
    sources = {name: str(given[0].source) for name, given in tokens.items() if given}
    remember_sources(sources)
    of_file = [f"{name} = {_plain(settings[name])}" for name, source in sources.items() if source == str(CONFIG_FILE)]
    of_environment = [
        f"{tokens[name][0].keyword} = {' '.join(str(token.value) for token in tokens[name])}"
        for name, source in sources.items()
        if source == ENVIRONMENT
    ]
    parts = [f"from {CONFIG_FILE}: {', '.join(of_file)}"] if of_file else []
    parts += [f"from the environment: {', '.join(of_environment)}"] if of_environment else []
    text = "; ".join(parts)
    _not_typed.set(text[:1].upper() + text[1:])


def tell_sources() -> None:
    """Report on stderr which options of the command that begins were not typed."""
    if text := _not_typed.get():
        log.info("%s", text)
        _not_typed.set("")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_plain(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def refuse_impossible(_kind: Any, given: Any) -> None:
    """Refuse what no option can mean, wherever it was given, before any file is looked at.

    Raises
    ------
    WrongUsage
        Text with a NUL or not in UTF-8, a file name above 255 bytes, NaN, infinity, a whole number beyond 2**53, or a
        number out of its option's range.
    """
    values = {field.name: getattr(given, field.name) for field in fields(given)} if is_dataclass(given) else {"": given}
    for name, value in values.items():
        for one in value if isinstance(value, tuple) else (value,):
            if rule := _impossible(one):
                what = f"--{name.replace('_', '-')}" if name else "what is given"
                raise WrongUsage(f"{what} must {rule}, but it is {str(one)[:60]!r}. Give another one.")
    if is_dataclass(given):
        refuse_out_of_range(given)


def _is_utf8(text: str) -> bool:
    """Return whether text can be written down; what the system gave in other bytes holds lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _impossible(value: Any) -> str:
    if isinstance(value, str | Path) and "\0" in str(value):
        return "have no NUL character"
    if isinstance(value, str | Path) and not _is_utf8(str(value)):
        return "be text in UTF-8"
    if isinstance(value, Path) and any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in value.parts):
        return f"have names of at most {MAX_NAME_BYTES} bytes"
    if isinstance(value, float) and not math.isfinite(value):
        return "be a finite number"
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        return "be within 2**53"
    return ""


# Defaults that say nothing beyond the text beside them.
EMPTY = ("False", "()", "None")


def shortened(entry: HelpEntry) -> HelpEntry:
    """Return an entry with a switch as `--[no-]name`, no empty default, and all choices at once called all."""
    if entry.negative_names == tuple(f"--no-{name[2:]}" for name in entry.positive_names):
        # The backslash keeps rich from reading the brackets as markup.
        names = tuple(rf"--\[no-]{name[2:]}" for name in entry.positive_names)
        entry = entry.copy(positive_names=names, negative_names=())
    if entry.default in EMPTY:
        return entry.copy(default=None)
    if entry.choices and entry.default == str(entry.choices):
        return entry.copy(default="all")
    return entry


class HelpPages(DefaultFormatter):
    """Writes each group as a title and its indented rows."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Write one group."""
        from cyclopts.help.specs import (
            DefaultStyled,
            TableSpec,
            get_default_command_columns,
            get_default_parameter_columns,
        )
        from rich.padding import Padding

        if not panel.entries:
            return
        entries = [shortened(entry) for entry in panel.entries]
        columns_of = get_default_command_columns if panel.format == "command" else get_default_parameter_columns
        table = TableSpec().build(columns_of(console, options, entries), entries)
        console.print(panel.title, highlight=False)
        console.print(DefaultStyled(Padding(table, (0, 0, 0, 2))))


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
    from moola.options.option_fields import RUNS_ROOT
    from moola.options.study_options import CV_ROOT
    from moola.runs.run_store import full_name

    return full_name(name, (RUNS_ROOT, CV_ROOT))


def _to_continue(given: Any, name: str) -> str:
    from moola.options.option_fields import RUNS_ROOT
    from moola.options.study_options import CV_ROOT, CvOptions
    from moola.runs.run_store import full_name

    return full_name(name, (CV_ROOT if isinstance(given, CvOptions) else RUNS_ROOT,), complete=False)


def _file(named: Path) -> Path:
    """Return the model file of a run that is named in its place; a path that is no run's name stays."""
    from moola.options.option_fields import RUNS_ROOT
    from moola.runs.run_store import MODEL, full_name

    if len(named.parts) != 1:
        return named
    folder = RUNS_ROOT / full_name(str(named), (RUNS_ROOT,))
    return folder / MODEL if folder.is_dir() else named
