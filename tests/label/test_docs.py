"""Keys that docs/howto/labelling.md names are keys of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moola.label.page_server import STATIC

TEXT = (Path(__file__).parents[2] / "docs/howto/labelling.md").read_text(encoding="utf-8").split("## Keys")[1]


@pytest.mark.parametrize(("part", "name"), [("Windows", "keys.js"), ("Chart", "span_keys.js")])
def test_the_keys_are_those_of_the_page(part, name):
    listed = re.findall(r"\{ keys: \[(.*?)\], text: ", (STATIC / name).read_text(encoding="utf-8"))
    keys = {key for row in listed for key in re.findall(r'"(.*?)"', row)}
    named = re.findall(r"`(.*?)`", TEXT.split(f"**{part}**")[1].split("\n- ")[0].split("\n\n")[0])
    assert len(named) > 8
    assert set(named) <= keys
