#!/usr/bin/env python3
"""Print the site's page of every option: the help of each command."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout, suppress
from unittest.mock import patch

from cyclopts import App

from moola.cli.app import COMMANDS, main


def command_names() -> list[str]:
    """Every command a person can type, in the order of the work."""
    names: list[str] = []
    for name, command in COMMANDS.items():
        inner = [sub for sub in command if not sub.startswith("-")] if isinstance(command, App) else []
        names += [f"{name} {sub}" for sub in inner] or [name]
    return names


def help_of(name: str) -> str:
    """What `moola NAME --help` prints, 100 columns wide."""
    text = io.StringIO()
    with patch.dict(os.environ, COLUMNS="100", NO_COLOR="1"), redirect_stdout(text), suppress(SystemExit):
        main([*name.split(), "--help"])
    return text.getvalue()


def shown(name: str) -> str:
    """Return a command's help as a block of a page."""
    text = "\n".join(line.rstrip() for line in help_of(name).strip().splitlines())
    return f"```text\n{text}\n```\n"


def page() -> str:
    """The whole page."""
    parts = [f"# Every option\n\nThe help of each command. One example each: [commands](commands.md).\n\n{shown('')}"]
    parts += [f"\n## moola {name}\n\n{shown(name)}" for name in command_names()]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
