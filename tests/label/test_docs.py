"""docs/howto/labelling.md says what the page does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moola.label.page_server import STATIC

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "howto/labelling.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["keys.js", "span_keys.js"])
def test_the_keys_are_those_of_the_page(name):
    rows = re.findall(r'\{ keys: \[(.*?)\], says: "(.*?)" \}', (STATIC / name).read_text(encoding="utf-8"))
    assert len(rows) > 15
    for keys, says in rows:
        told = " ".join(f"`{key}`" for key in re.findall(r'"(.*?)"', keys))
        assert f"| {told} | {says} |" in TEXT
