"""The house keeps its own rules: floors, names, pages that say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import moola
from tests.banned_calls import banned_calls

ROOT = Path(__file__).resolve().parents[1]
SOURCE = sorted((ROOT / "src/moola").rglob("*.py"))


def test_help_imports_no_torch_and_no_numpy():
    code = "import sys, moola.cli.app; sys.exit(bool({'torch', 'numpy', 'polars', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_module_and_entry_point_are_the_same_program():
    result = subprocess.run(
        [sys.executable, "-m", "moola.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == moola.__version__


@pytest.fixture(scope="module")
def architecture():
    sys.path.insert(0, str(ROOT / "scripts/docs"))
    try:
        import make_architecture
    finally:
        sys.path.pop(0)
    return make_architecture


@pytest.mark.slow
def test_no_module_imports_itself_by_a_detour(architecture):
    assert architecture.in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert architecture.in_circles(architecture.imports()) == []


def test_architecture_names_each_room_and_files_that_are_there(architecture):
    text = architecture.PAGE.read_text()
    rooms = [room for floor in architecture.floors() for room in floor]
    measured = text.split("<!-- measured -->")[1].split("<!-- end of measured -->")[0]
    assert re.findall(r"^\| \d+ \| `(\w+)` ", measured, flags=re.M) == rooms
    assert all(architecture.files_of(room) for room in rooms)
    for name in re.findall(r"`((?:\w+/)*\w+\.py)`", text):
        assert list((ROOT / "src/moola").rglob(name)) or (ROOT / name).is_file(), name


def test_names_say_something():
    for path in SOURCE:
        assert path.stem not in {"utils", "helpers", "common", "misc", "manager", "base"}, path


def test_nothing_runs_what_a_file_names_and_nothing_reaches_a_network():
    for path in SOURCE:
        assert not banned_calls(path.read_text()), path


PLANTED = {
    "eval(text)": "eval",
    "import builtins; builtins.exec(text)": "exec",
    "__import__(name)": "__import__",
    "import os; os.system(line)": "os.system",
    "from os import system as run; run(line)": "os.system",
    "import subprocess as s; s.run(line, shell=True)": "shell",
    "import subprocess; subprocess.run(line, shell=asked)": "shell",
    "import pickle": "pickle",
    "from pickle import loads": "pickle",
    "import joblib as fine": "joblib",
    "import torch; torch.load(path)": "weights_only",
    "import torch; torch.load(path, weights_only=False)": "weights_only",
    "import torch as t; t.load(path, weights_only=asked)": "weights_only",
    "from torch import load; load(path)": "weights_only",
    "network.load_state_dict(weights, strict=False)": "load_state_dict",
    "import numpy as np; np.load(path, allow_pickle=True)": "allow_pickle",
    "import yaml; yaml.load(text)": "yaml.load",
    "from importlib import import_module; import_module(name)": "import_module",
    "import urllib.request": "urllib.request",
    "from urllib import request": "urllib.request",
    "def late():\n    import requests": "requests",
    "import torch; torch.hub.load(repository, name)": "torch.hub",
}


@pytest.mark.parametrize(("source", "said"), PLANTED.items(), ids=PLANTED)
def test_the_scan_finds_what_is_planted(source, said):
    assert [said in reason for _, reason in banned_calls(source)] == [True]


def test_the_scan_leaves_what_is_safe():
    safe = """
import re, importlib, subprocess, torch
from urllib.parse import quote
re.compile("a"), torch.load(path, weights_only=True), subprocess.run(["git"]), subprocess.run(["git"], shell=False)
network.eval(), importlib.import_module("torch"), network.load_state_dict(weights, strict=True)
"""
    assert banned_calls(safe) == []


def test_readme_tree_names_what_is_there():
    text = (ROOT / "README.md").read_text()
    tree = text.split("## The tree")[1].split("```")[1]
    named = set(re.findall(r"^ *(\S+/|\S+\.\w+|Makefile) {2,}", tree, flags=re.M))
    packages = {
        path.name + "/" for path in (ROOT / "src/moola").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert packages <= named
    modules = {path.name for path in (ROOT / "src/moola").glob("*.py") if path.name != "__init__.py"}
    assert modules <= named
    # Not what set-up put there, which is ten times as much.
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".venv", ".git"))]
    there = {path.name for path in (*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*")))}
    assert {name.rstrip("/") for name in named} <= there


def test_nothing_but_plots_of_python_chooses_where_a_process_draws():
    # In a notebook pyplot, or its backend changed, would leave the user's own plots out.
    asking = re.compile(r"pyplot|matplotlib\.use|use\(.Agg.\)")
    found = {path.relative_to(ROOT).as_posix() for path in SOURCE if asking.search(path.read_text())}
    assert found == {"src/moola/api/plotting.py"}


def test_changelog_starts_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", text, flags=re.M).group(1) == moola.__version__


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page):
    for target, heading in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not heading or heading in headings(linked), f"{target}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and the site make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {re.sub(r"[ -]+", "-", one) for one in words}


def test_cited_sections_of_the_specification_exist():
    sections = set(re.findall(r"^## (\d+)\. ", (ROOT / "docs/specification.md").read_text(), flags=re.M))
    assert len(sections) >= 14
    for path in [*SOURCE, *(ROOT / "tests").rglob("*.py")]:
        for cited in re.findall(r"\bspecification (\d+)", path.read_text()):
            assert cited in sections, f"{path}: specification {cited}"
