"""Help: a command fits a screen, and what is not on it is behind --help-all."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields
from typing import get_args, get_type_hints

import pytest
from cyclopts import Parameter

from moola.cli.app import COMMANDS, app
from moola.options.option_sources import COMMAND_OPTIONS, option_names
from tests.cli.test_fuzz import options_of
from tests.docs.pages import examples

SCREEN = 40


@pytest.mark.parametrize("command", ["", *examples()])
def test_help_fits_a_screen(moola, command, monkeypatch):
    # The console is made once a process, as wide as the terminal was then.
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(app, "_fallback_console", None)
    answer = moola(*command.split(), "--help").ends(0)
    assert len(answer.out.strip().splitlines()) <= SCREEN


def test_help_names_every_command_in_the_order_of_the_work(moola):
    text = moola("--help").out
    places = [text.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


def parameter(hint) -> Parameter:
    """Return what an option's field says of its help, the outer one first."""
    inner = [parameter(one) for one in get_args(hint)]
    return Parameter.combine(
        *inner, *(mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Parameter))
    )


@pytest.mark.parametrize("command", COMMAND_OPTIONS)
def test_every_field_has_a_help_text_and_a_group_and_what_must_be_given_is_on_the_screen(command):
    options = COMMAND_OPTIONS[command]
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        found = parameter(hints[field.name])
        assert found.help, field.name
        assert found.group, field.name
        assert found.show or field.default is not MISSING, field.name
    typed = {option.name for option in options_of(tuple(command.split()))}
    assert {f"--{name.replace('_', '-')}" for name in option_names(command)} <= typed


def test_an_advanced_option_is_in_help_all_alone_and_works(moola):
    assert "--patience" not in moola("train", "--help").out
    assert "--patience" in moola("train", "--help-all").out
    # Asked for once, it is not shown ever after.
    assert "--patience" not in moola("train", "--help").out
    assert "--patience must be at least 0" in moola("train", "--data", "a", "--split", "b", "--patience", "-1").err


def test_help_imports_none_of_the_heavy_packages():
    heavy = ("torch", "numpy", "polars", "sklearn", "matplotlib")
    ask = (
        "import contextlib, sys\nfrom moola.cli.app import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
