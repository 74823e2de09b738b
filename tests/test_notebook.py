"""The notebooks and the page of the Python face: they run, name what there is, and tell nothing of a machine."""

from __future__ import annotations

import ast
import platform
import re
import sys
from pathlib import Path

import nbformat
import pytest

import moola
from moola.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
PAGE = ROOT / "docs/python.md"
FOLDERS = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt|var|mnt|private|Users)\b|[A-Z]:\\")


def code_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def blocks_of_page() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)


def used_of_moola(code: str) -> set[str]:
    places = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    return {node.attr for node in places if isinstance(node.value, ast.Name) and node.value.id == "moola"}


OF_OWN = ROOT / "docs/notebooks/own_frame.ipynb"
MUST_USE = {
    "first_look.ipynb": {"WindowClassifier", "ForwardChaining"},
    OF_OWN.name: {"WindowClassifier", "plot", "to_pandas"},
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_they_use_public_names_alone(path):
    assert MUST_USE[path.name] <= used_of_moola(code_of(path)) <= set(moola.__all__)


def test_the_page_uses_public_names_alone():
    assert {"WindowClassifier", "ForwardChaining"} <= used_of_moola("\n".join(blocks_of_page())) <= set(moola.__all__)


def test_the_notebook_of_an_own_frame_ends_in_events_on_a_chart():
    last = nbformat.read(OF_OWN, as_version=4).cells[-1]
    assert "moola.plot(events" in last.source
    assert [kind for output in last.outputs for kind in output.data if kind.startswith("image/")]


def test_the_page_names_every_function_and_class():
    assert set(re.findall(r"`(\w+)(?=[(.`])", PAGE.read_text())) >= set(moola.__all__) - {"MoolaError", "__version__"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_its_commands_exist(path):
    used = set(re.findall(r"command\(\s*\"([a-z-]+)", code_of(path)))
    assert ({"train"} if path != OF_OWN else set()) <= used <= set(COMMANDS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_kept_as_it_ran_and_names_no_folder_and_no_machine(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = []
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type in ("stream", "display_data", "execute_result")
        assert output.get("name", "stdout") == "stdout"
        shown.append(output.get("text", ""))
        shown += [text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]
    text = "\n".join([*shown, str(notebook.metadata), str([cell.metadata for cell in cells])])
    assert not FOLDERS.findall(text)
    assert platform.node() not in text
    assert sys.prefix not in text


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs_and_shows_what_it_shows(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts/docs"))
    import run_notebook

    kept, again = nbformat.read(path, as_version=4), run_notebook.executed(path)
    for one, other in zip(kept.cells, again.cells, strict=True):
        assert kinds(one) == kinds(other), one.source


def kinds(cell: nbformat.NotebookNode) -> list[list[str]]:
    return [sorted(output.get("data", [output.output_type])) for output in cell.get("outputs", [])]


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there, *others = blocks_of_page()
    names: dict = {}
    exec("\n".join(others), names)
    assert len(names["loss"]) == 3
    # The page's first block is for a reader who has bars and a run.
    for path in ("data/raw/mine.parquet", "artifacts/runs/<RUN_ID>/model.pkl"):
        Path(path).parent.mkdir(parents=True)
    names["bars"].write_parquet("data/raw/mine.parquet")
    Path("model.pkl").rename("artifacts/runs/<RUN_ID>/model.pkl")
    exec(there, names)
    assert len(names["predictions"]) == len(moola.windows(names["bars"], stride=5))
