"""docs/howto/labelling.md says what the page and the commands do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moola.config.sources import option_names
from moola.label.server import STATIC

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "howto/labelling.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_the_keys_are_those_of_the_page():
    rows = re.findall(r'\{ keys: \[(.*?)\], says: "(.*?)" \}', (STATIC / "keys.js").read_text(encoding="utf-8"))
    assert len(rows) > 15
    for keys, says in rows:
        told = " ".join(f"`{key}`" for key in re.findall(r'"(.*?)"', keys))
        assert f"| {told} | {says} |" in TEXT


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_has_the_options_it_is_given(line):
    words = line.split()
    assert words[0] == "moola"
    command = " ".join(words[1:3]) if words[1] == "labels" else words[1]
    options = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
    assert options <= option_names(command)


def test_the_pictures_are_there_and_small():
    pictures = re.findall(r"\]\(((?:../)?images/.*?)\)", TEXT)
    assert len(pictures) == 2
    assert all(0 < (DOCS / "howto" / picture).stat().st_size < 100_000 for picture in pictures)
