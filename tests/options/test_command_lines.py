"""Lines to copy: a shell must read them back as the words that they were made of."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from moola.options.option_sources import command_line, command_words, window_bars_words


@pytest.mark.parametrize(
    "name", ["my bars.parquet", "it's.csv", 'a"b.csv', "x(1).csv", "$HOME;rm", "<bars>", "*.csv", "é"]
)
def test_a_shell_reads_the_words_back(name: str) -> None:
    assert shlex.split(command_line("moola", "label", "--bars", Path(name))) == ["moola", "label", "--bars", name]


def test_what_a_reader_fills_in_stays_readable() -> None:
    assert command_line("moola", "train", "--data", "<windows>") == "moola train --data <windows>"
    # It is no placeholder where a shell would run something of it.
    assert command_line("<a;rm -r b>") == "'<a;rm -r b>'"


def test_options_become_words() -> None:
    words = command_words({"epochs": 2, "mirror_classes": ("a:b", "c"), "augment_data": True})
    assert command_line(*words) == "--epochs 2 --mirror-classes a:b c --augment-data true"


def test_the_default_length_needs_no_option() -> None:
    assert window_bars_words(105) == window_bars_words(None) == ()
    assert window_bars_words(90) == ("--window-bars", "90")
