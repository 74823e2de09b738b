"""Every command on a page or in a help text is one that the command line takes."""

from __future__ import annotations

import re

import pytest
from cyclopts import CycloptsError

from moola.cli.app import app
from moola.cli.arguments import join_booleans
from tests.docs.pages import LINES, NOT_RUN, ROOT, examples, page_commands


def parse(line: str) -> None:
    """Parse a moola command line as the program does, and run nothing."""
    words = page_commands.words_of(line)
    app.parse_args(join_booleans(words[1:]), exit_on_error=False, print_error=False)


def other_command(line: str) -> None:
    """Look at a command that is not moola's: what it names must be in the repository."""
    words = page_commands.words_of(line.removeprefix("uv "))
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[:2] == ["pip", "install"]:
        named = [re.fullmatch(r"(?:moola|\.)\[([\w,]+)\]", word) for word in words[2:]]
        extras = [extra for found in named if found for extra in found[1].split(",")]
        files = [word for word in words[2:] if not word.startswith(("-", "moola[", ".[", "https:"))]
        assert extras or files
        project = (ROOT / "pyproject.toml").read_text()
        assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
        assert all((ROOT / name).exists() for name in files)
    elif words[:2] == ["python3", "scripts/data/make_relative_parquet.py"]:
        parse(f"moola convert {' '.join(words[2:])}")
    elif words[0] in ("python", "python3"):
        source = (ROOT / words[1]).read_text()
        assert all(word.split("=")[0] in source for word in words[2:] if word.startswith("--"))
    elif words[0] not in ("export", "cp"):
        assert (ROOT / words[0]).stat().st_mode & 0o111, words[0]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    # No moola.toml, nor anything else that stands in the checkout.
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("page", "line"), sorted(LINES))
def test_a_command_on_a_page_is_one(page, line):
    (parse if line.startswith("moola ") else other_command)(line)


@pytest.mark.parametrize(("command", "line"), examples().items(), ids=examples())
def test_every_command_has_an_example_that_parses(command, line):
    assert line is not None
    assert line.startswith(f"moola {command}")
    parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "moola train --data a --split b --epoch 3",
        "moola train --data a --split b --epochs three",
        "moola train --data a",
        "moola split --data a --output b --no-overwite",
        "moola convert --input a",
        "moola lable --bars a",
    ],
)
def test_a_wrong_command_is_found(line):
    with pytest.raises(CycloptsError):
        parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "pip install moola[nothing]",
        "uv pip install .[label,nothing]",
        "./nothing.sh",
        "python nothing.py",
    ],
)
def test_another_wrong_command_is_found(line):
    with pytest.raises((AssertionError, FileNotFoundError)):
        other_command(line)


def test_blocks_are_read_as_a_shell_reads_them():
    page = "text\n```bash\n# a comment\nmoola a \\\n  --b c\n\nmoola d   # why\n```\n```text\nmoola e\n```\n"
    assert page_commands.commands_of(page) == ["moola a --b c", "moola d   # why"]
    assert page_commands.words_of("moola d '1 2'  # why") == ["moola", "d", "1 2"]


def test_every_reason_not_to_run_is_needed():
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for _, line in LINES), pattern
