"""Text of other people's files on a terminal, and messages beside a bar that is drawn."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pty
import re
import subprocess
import sys

import pytest

from moola.cli import main
from moola.cli.console import ConsoleOptions, FitProgress, Screen, close_logging, printable, set_up_logging

HOSTILE = "a\x1b[31m\x00\x07\x9b\u202e\u200b\u2028\udc80\rb\x7f"
ESCAPED = r"a\x1b[31m\x00\x07\x9b\u202e\u200b\u2028\udc80\rb\x7f"
# What is logged goes into the report of a test, which holds no half of a pair.
LOGGED, LOGGED_ESCAPED = HOSTILE.replace("\udc80", ""), ESCAPED.replace(r"\udc80", "")


def test_what_a_terminal_obeys_or_hides_is_escaped_and_the_rest_stays():
    assert printable(HOSTILE) == ESCAPED
    assert printable("é 中文 \N{GREEK SMALL LETTER PI}\n-") == "é 中文 \N{GREEK SMALL LETTER PI}\n-"
    assert printable("a\nb", kept="") == r"a\nb"


def test_lines_and_tables_are_escaped_and_a_cell_stays_one_line(capsys):
    screen = Screen(ConsoleOptions())
    screen.write(HOSTILE)
    screen.table(["symbol", "bars"], [[HOSTILE + "\n", "1"]])
    assert capsys.readouterr().out.splitlines() == [
        ESCAPED,
        "  symbol" + " " * (len(ESCAPED) + 2 - 6) + "  bars",
        f"  {ESCAPED}\\n     1",
    ]


def test_progress_is_escaped(capsys):
    with FitProgress("cv") as show:
        show(1, 2, LOGGED + "\n")
    assert capsys.readouterr().err.startswith(f"cv: fit 1 of 2, {LOGGED_ESCAPED}\\n, ")


def test_warnings_and_the_log_file_are_escaped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    set_up_logging("try")
    logging.getLogger("moola.try").warning("%s", LOGGED)
    logging.getLogger("moola.try").error("%s", LOGGED)
    close_logging()
    assert sys.stderr.getvalue() == f"Warning: {LOGGED_ESCAPED}\n{LOGGED_ESCAPED}\n"
    assert (tmp_path / "data/logs/try.log").read_text().count(LOGGED_ESCAPED) == 2


@pytest.mark.parametrize("more", [[], ["--debug"]])
@pytest.mark.parametrize("command", ["bars check x.csv", "bars import --input x.csv --output y.csv"])
def test_an_error_about_a_file_prints_none_of_its_control_characters(tmp_path, monkeypatch, capsys, command, more):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_bytes(b"\x1b]0;evil\x07,b\x1b[2J,c\n1,2,3\n")
    with pytest.raises(SystemExit):
        main([*command.split(), *more])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert r"\x1b[2J" in shown.err


LONG = "artifacts/runs/" + "x" * 120
SCRIPT = f"""
import logging, sys
from moola.cli.console import close_logging, set_up_logging
from moola.cli.console import EpochProgress
set_up_logging("train")
log = logging.getLogger("moola.cli")
log.info("before the bar")
with EpochProgress("train", 2) as progress:
    log.info("Run {LONG} [bold]is[/bold] :smile: begun")
    progress({{"epoch": 1, "train_loss": 0.5}})
    log.warning("%s", "between two epochs")
    progress({{"epoch": 2, "train_loss": 0.4}})
log.info("behind the bar")
close_logging()
"""


def on_a_terminal(script: str, folder: str) -> str:
    """Return what a program writes to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=follower, stdout=follower, stderr=follower, env=environment, cwd=folder
    )
    os.close(follower)
    written = b""
    # A terminal whose other end is gone answers with an error.
    with contextlib.suppress(OSError):
        while piece := os.read(leader, 4096):
            written += piece
    os.close(leader)
    assert process.wait() == 0, written.decode()
    return written.decode()


def shown(written: str) -> list[str]:
    """Return the lines that stay on the screen, as a terminal without a right edge draws them."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", token):
            row -= int(token[2:-1] or 1)
        elif not token.startswith("\x1b"):
            line = lines[row].ljust(column)
            lines[row] = line[:column] + token + line[column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in lines]


def test_messages_stand_in_lines_of_their_own_above_the_bar(tmp_path):
    lines = shown(on_a_terminal(SCRIPT, str(tmp_path)))
    whole = ["before the bar", f"Run {LONG} [bold]is[/bold] :smile: begun", "Warning: between two epochs"]
    assert [line for line in lines if "bar" in line or "begun" in line or "epochs" in line] == [
        *whole,
        "behind the bar",
    ]
    assert sum("━" in line for line in lines) == 1
    [bar] = [line for line in lines if "━" in line]
    assert "2/2" in bar
    assert lines.index(bar) == lines.index("behind the bar") - 1
