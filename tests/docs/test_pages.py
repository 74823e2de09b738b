"""Generated pages are those of the code; the site is built without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from moola.cli.app import COMMANDS
from moola.evaluation.figures import CLASS_METRICS, EVENT_METRICS, class_metric_table, event_metric_table
from tests.docs.pages import PAGES, ROOT

DOCS = ROOT / "docs"
METRICS = (DOCS / "metrics.md").read_text()


def generator(name: str):
    sys.path.insert(0, str(ROOT / "scripts/docs"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


def test_errors_page_is_what_the_errors_say():
    assert generator("make_errors").page() == (DOCS / "errors.md").read_text()


@pytest.mark.slow
def test_files_page_is_what_the_commands_write(tmp_path):
    assert generator("make_contracts").page(tmp_path) == (DOCS / "contracts.md").read_text()


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


def test_pictures_of_the_tour_are_there_and_small():
    page = (DOCS / "tour.md").read_text()
    pictures = re.findall(r"^<!-- picture \S+ -->\n!\[[^]]+\]\((\S+)\)$", page, flags=re.MULTILINE)
    assert len(pictures) == 5
    assert all(0 < (DOCS / picture).stat().st_size < 150_000 for picture in pictures)


def test_the_tour_shows_what_it_printed():
    outputs = re.findall(r"<!-- output -->\n(.*?)<!-- end of output -->", (DOCS / "tour.md").read_text(), re.DOTALL)
    assert len(outputs) == 7
    assert all(re.fullmatch(r"```text\n.+\n```\n", output, re.DOTALL) for output in outputs)


def test_summaries_of_commands_fit_their_line():
    # In a process of its own: the width is that of the terminal in which the process began.
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "moola.cli", "--help"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^│ ([a-z][a-z0-9-]+)  +\S.*│$", out, flags=re.MULTILINE)
    assert rows == list(COMMANDS)
    # A line that continues would begin with spaces.
    assert not re.search(r"^│ {5,}\S", out, flags=re.MULTILINE)


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
