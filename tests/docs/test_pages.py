"""Pages name what there is; those made from the code are complete; the site is built without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from moola import errors
from moola.cli.app import COMMANDS, app
from moola.evaluation.figures import CLASS_METRICS, EVENT_METRICS, class_metric_table, event_metric_table
from tests.docs.pages import PAGES, ROOT, page_commands

DOCS = ROOT / "docs"
METRICS = (DOCS / "evaluation.md").read_text().split("## Metrics")[1].split("\n## ")[0]


def generator(name: str):
    sys.path.insert(0, str(ROOT / "scripts/docs"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


def options_of(name: str) -> set[str]:
    """Return the names of every option of a command."""
    place: Any = app
    for word in name.split():
        place = place[word]
    return {option for one in place.assemble_argument_collection() for option in (*one.names, *one.negatives)}


def sections_of_commands() -> dict[str, str]:
    parts = re.split(r"^### moola (.+)$", (DOCS / "commands.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_commands_page_has_a_section_for_every_command():
    assert set(sections_of_commands()) == set(generator("make_commands").command_names())


@pytest.mark.parametrize(("name", "section"), sections_of_commands().items(), ids=sections_of_commands())
def test_the_commands_page_gives_an_example_and_options_that_exist(name, section):
    assert page_commands.commands_of(section)[0].startswith(f"moola {name}")
    text = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    assert set(re.findall(r"`(--[a-z][a-z0-9-]+)", text)) <= options_of(name)


@pytest.mark.slow
def test_the_page_of_options_has_the_help_of_every_command():
    # In a process of its own: the command line keeps what tests have set before.
    command = [sys.executable, str(ROOT / "scripts/docs/make_commands.py")]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in generator("make_commands").command_names():
        assert re.search(rf"^Usage: moola {name}( |$)", page, flags=re.MULTILINE)


def test_the_page_of_errors_has_a_row_for_each_with_its_exit_code():
    rows = re.findall(r"^\| `(\w+)` \| `\w+` \| (\d+) \| \S", generator("make_errors").page(), flags=re.MULTILINE)
    family = [getattr(errors, name) for name in errors.__all__]
    assert rows == [(one.__name__, str(one.exit_code)) for one in family if issubclass(one, errors.MoolaError)]


@pytest.mark.slow
def test_the_page_of_files_has_the_columns_that_commands_write(tmp_path):
    # It fails by itself where a column has no words, or words no column.
    page = generator("make_contracts").page(tmp_path)
    for name in ("Bars", "Windows", "Relative windows", "Split", "Predictions", "Events", "Run", "Manifest"):
        assert f"\n## {name}\n" in page
    assert page.count("\n- ") > 20


def test_every_metric_that_a_user_can_name_has_its_section():
    sections = re.findall(r"^### (\w+)$", METRICS, flags=re.MULTILINE)
    assert sections == [*CLASS_METRICS, *EVENT_METRICS]


def test_every_figure_is_named_in_the_section_of_its_metric():
    classes = ["consolidation", "retracement"]
    for section in METRICS.split("### ")[1:]:
        name = section.split()[0]
        if name in CLASS_METRICS:
            figures = class_metric_table((name,), classes, "retracement")
        else:
            figures = event_metric_table((name,), 0.5)
        for figure in figures:
            stem = re.sub(r"_(consolidation|retracement)$", "", figure)
            # A tolerance or an end stands for the others; a part of a metric may go by its own name alone.
            stem = re.sub(r"pm\d+(_start|_end|_both)?$|_(start|end)_(q25|median|q75)$", "", stem).rstrip("_")
            said = stem in section or re.sub(r"^(brier|calibration)_", "", stem) in section
            assert said, (name, figure)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_repository_that_a_page_names_are_there(page):
    # The lab book may name what has gone since.
    if page.name != "log.md":
        for name in re.findall(r"`((?:tests|src|benchmarks|scripts)/[\w./-]+)[:`]", page.read_text()):
            assert (ROOT / name).exists(), name


def test_every_step_of_the_tour_shows_its_picture_or_output():
    page = (DOCS / "tour.md").read_text()
    assert all((DOCS / picture).is_file() for picture in re.findall(r"<!-- picture \S+ -->\n!\[[^]]+\]\((\S+)\)", page))
    outputs = re.findall(r"<!-- output -->\n(.*?)<!-- end of output -->", page, re.DOTALL)
    assert all(re.fullmatch(r"```text\n.+\n```\n", output, re.DOTALL) for output in outputs)


def test_summaries_of_commands_fit_their_line():
    # In a process of its own: the width is that of the terminal in which the process began.
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "moola.cli", "--help"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^  ([a-z][a-z0-9-]+)  +\S", out, flags=re.MULTILINE)
    assert rows == list(COMMANDS)
    # A line that continues would begin with spaces.
    assert not re.search(r"^ {5,}\S", out, flags=re.MULTILINE)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_without_another_host(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "WARNING" not in answer.stderr
    for page in Path(tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"([^\"]+)\"", page.read_text())
        assert loaded
        assert not [target for target in loaded if "//" in target], page
