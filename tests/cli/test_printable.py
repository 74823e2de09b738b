"""Text of other people's files on a terminal: messages, tables, progress, logs."""

import io
import logging
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
    screen.say(HOSTILE)
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
