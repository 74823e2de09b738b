"""Any command line at all: a documented exit code, a message, no traceback, and nothing written for wrong usage.

No input that is named exists, so that no command gets as far as training, serving or following; the alarm ends the
test where one does.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from cyclopts import App
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.cli.app import COMMANDS, app
from tests.faults.fault import Answer, files_under, run

CODES = {0, 1, 2, 3, 4, 5, 130, 143}
MOST_S = 20
# They say what they found on stdout, and end in 1 where it is no good.
LOOKING = ("doctor",)
HOLDINGS = {"notes.txt": "kept\n", "folder/old.json": "{}", "bare.csv": "timestamp,open,high,low,close\n"}
SOME_PATHS = "none.parquet none.csv none.pt ../x ../x.pt a/b/c.json notes.txt folder . / /dev/null /dev/null/x -"
PATHS = [*SOME_PATHS.split(), "", "folder/new.parquet", "bare.csv", "notes.txt/x", "n" * 300, "~", "é\u202e.csv"]
SOME_NUMBERS = "0 1 -1 2 0.5 -0.5 1e308 -1e308 1e-320 9007199254740992 nan inf -inf 1_000 0x10 1e3 ٣ 1,5 2.0 256 105"
NUMBERS = [*SOME_NUMBERS.split(), "9" * 25, "-" + "9" * 25, " 7 ", "0.1"]
CONTROLS = "".join(chr(code) for code in range(1, 32)) + "\x7f\u200b\u2028\ufeff"
JUNK = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
WORDS = st.sampled_from(
    ["", "-", "--", "---", "=", "-x", "--x", "--=", "true", "null", "[]", "{}", "%s", "$HOME", "a b"]
)
JUNK |= st.text(CONTROLS, min_size=1, max_size=6) | WORDS


class TooLong(BaseException):
    """A command that should have stopped early continued; no handler of the command line takes it."""


@dataclass(frozen=True)
class Option:
    """How one option of a command is written, whether it must be there, and what it takes."""

    name: str
    is_required: bool
    hint: Any

    def values(self) -> st.SearchStrategy[str]:
        """Draw a value, most of them of the option's kind."""
        said = str(self.hint)
        choices = [str(choice) for choice in get_args(self.hint) if isinstance(choice, str | int)]
        if choices:
            return st.sampled_from(choices) | JUNK
        if "int" in said or "float" in said:
            return st.sampled_from(NUMBERS) | st.integers(0, 300).map(str) | JUNK
        return st.sampled_from(PATHS) | JUNK


def options_of(words: tuple[str, ...]) -> list[Option]:
    """Return what a command takes, from the table that the command line itself is made of."""
    place: Any = app
    for word in words:
        place = place[word]
    found = [one for one in place.assemble_argument_collection() if not one.children]
    return [
        Option(name, one.required and place_of == 0, one.hint)
        for one in found
        for place_of, name in enumerate(one.names)
    ]


def commands() -> Iterator[tuple[str, ...]]:
    """Yield every command as the words that are typed."""
    for name, command in COMMANDS.items():
        inner = [sub for sub in command if not sub.startswith("-")] if isinstance(command, App) else []
        yield from ((name, sub) for sub in inner)
        if not inner:
            yield (name,)


TABLE = {words: options_of(words) for words in commands()}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw what somebody might type: a command, most of what it needs, options of it and of others, and junk."""
    words = draw(st.sampled_from(sorted(TABLE)))
    mine = TABLE[words]
    chosen = [one for one in mine if one.is_required and draw(st.integers(0, 11))]
    chosen += draw(st.lists(st.sampled_from(mine), max_size=4, unique=bool(draw(st.integers(0, 9)))))
    if not draw(st.integers(0, 9)):
        chosen.append(draw(st.sampled_from([one for others in TABLE.values() for one in others])))
    typed = [token for one in draw(st.permutations(chosen)) for token in draw(written(one))]
    if not draw(st.integers(0, 9)):
        typed.insert(draw(st.integers(0, len(typed))), draw(JUNK))
    head = list(words) if draw(st.integers(0, 19)) else draw(st.lists(JUNK, max_size=2))
    return [*head, *typed]


@st.composite
def written(draw: st.DrawFn, option: Option) -> list[str]:
    """Draw one way to write an option: with a value, joined, several values, none."""
    if option.hint is bool and draw(st.integers(0, 9)):
        return [option.name]
    value = draw(option.values())
    if not option.name.startswith("-"):
        return [value]
    ways = [[option.name, value]] * 20 + [[f"{option.name}={value}"], [option.name], [option.name, value, value]]
    return draw(st.sampled_from(ways))


@contextlib.contextmanager
def ended_in(seconds: int) -> Iterator[None]:
    """Raise `TooLong` in whatever runs after so many seconds."""

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def meet(typed: list[str]) -> tuple[Answer, list[str]]:
    """Run a command line in a folder of its own; returns what it did, and what it changed around that folder."""
    with tempfile.TemporaryDirectory() as outer, pytest.MonkeyPatch.context() as patch:
        place = Path(outer, "inner", "place")
        for name, content in HOLDINGS.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(content)
        patch.chdir(place)
        patch.setenv("HOME", str(place))
        before = files_under(Path(outer))
        with ended_in(MOST_S):
            answer = run(*typed)
        after = files_under(Path(outer))
        assert {name: after.get(name) for name in before} == before, "what stood there is no longer as it was"
        return answer, sorted(after.keys() - before.keys())


def check(typed: list[str]) -> None:
    """Meet a command line, and see that it ends as is promised."""
    answer, made = meet(typed)
    assert answer.code in CODES, answer
    assert "Unexpected" not in answer.err, answer.err
    assert not any(name.endswith((".tmp", ".lock")) for name in made), made
    if not any(word.startswith("--debug") for word in typed):
        assert "Traceback" not in answer.err, answer.err
    if answer.code and typed[:1] != list(LOOKING):
        assert "Error: " in answer.err, answer
    if answer.code == 2:
        assert made == [], answer.err


FAST = settings(max_examples=25, deadline=None, database=None, derandomize=True)
LONG = settings(max_examples=2000, deadline=None, database=None, derandomize=True)


@pytest.mark.slow
@FAST
@given(command_lines())
def test_any_command_line_ends_as_documented(typed: list[str]) -> None:
    check(typed)


@pytest.mark.slow
@LONG
@given(command_lines())
def test_thousands_of_command_lines_end_as_documented(typed: list[str]) -> None:
    check(typed)


def test_every_command_is_drawn_from() -> None:
    assert {words[0] for words in TABLE} == set(COMMANDS)
    assert all(TABLE.values())
