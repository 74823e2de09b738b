"""A message that comes while a bar is drawn has a line of its own, and the bar is gone when the command is done."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys

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
