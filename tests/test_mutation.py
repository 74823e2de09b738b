"""The mutants that `make mutants` tries: a weak test lets one live, a strong one kills it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTATION = ROOT / "scripts/mutation"
SOURCE = '''"""Adults are 18 or older."""

Ages = dict[str, int | float]


def adult(age: int | None, least: int = 18) -> bool | None:
    """Tell 1 < 2 and not 3."""
    return age >= least and f"{age + 1}" != "-1"
'''
# The forks of a run must not be those of a process in which threads live: a script of its own tries the file.
TRY = """
import sys
from pathlib import Path
import pytest
from run import try_file
for test in sys.argv[1:]:
    tried = try_file(Path("."), "made.py", [f"tests/test_{test}.py"], 0, 17)
    print(tried.n_tried, *sorted(one.change for one in tried.survivors), sep="|")
"""


@pytest.fixture
def sites(monkeypatch):
    monkeypatch.syspath_prepend(str(MUTATION))
    return __import__("sites")


@pytest.mark.slow
def test_a_weak_test_lets_the_edge_live_and_a_strong_one_kills_every_mutant(tmp_path):
    (tmp_path / "src/moola").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    made = tmp_path / "src/moola/made.py"
    made.write_text("def adult(age: int) -> bool:\n    return age >= 18\n")
    head = "import sys\nsys.path.insert(0, 'src/moola')\nfrom made import adult\n\ndef test_adult():\n    assert "
    for name, test in (("weak", "adult(40) and not adult(3)"), ("strong", "adult(18) and not adult(17)")):
        (tmp_path / f"tests/test_{name}.py").write_text(head + test)
    (tmp_path / "tests/test_wrong.py").write_text(head + "adult(17)")
    ran = subprocess.run(
        [sys.executable, "-c", TRY, "weak", "strong", "wrong"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(MUTATION), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.splitlines()[-2:] == ["2|18 -> (19)|age >= 18 -> (age > 18)", "2"]
    assert ran.returncode == 1
    assert "the tests of made.py must pass before they are judged" in ran.stderr
    assert made.read_text().endswith("age >= 18\n")


def test_texts_docstrings_and_annotations_stay(sites):
    changes = sites.mutants(SOURCE)
    assert [one.change for one in changes] == [
        "18 -> (19)",
        "age >= least -> (age > least)",
        "age >= least and f\"{age + 1}\" != \"-1\" -> (age >= least or f'{age + 1}' != '-1')",
        "f\"{age + 1}\" != \"-1\" -> (f'{age + 1}' == '-1')",
    ]
    for one in changes:
        ast.parse(one.source)
        for kept in (
            '"""Adults are 18 or older."""',
            "int | float",
            "int | None",
            "bool | None",
            "Tell 1 < 2 and not 3",
        ):
            assert kept in one.source


def test_decorators_stay_and_what_they_decorate_is_changed(sites):
    source = "@dataclass(frozen=True)\nclass A:\n    @lru_cache(2)\n    def two(self):\n        return 2\n"
    assert [one.line_after for one in sites.mutants(source)] == ["return (3)"]


def test_a_change_is_made_in_its_place_behind_letters_of_two_bytes(sites):
    (one,) = sites.mutants('NAME = "Bröcker"; FIRST = NAME[0]\n')
    assert one.source == 'NAME = "Bröcker"; FIRST = NAME[(1)]\n'


def test_the_quickest_tests_of_the_last_run_come_first(sites, tmp_path):
    order, notes = __import__("order"), tmp_path / "took.json"
    items = [SimpleNamespace(nodeid=name) for name in ("long", "short", "new")]
    measured = order.QuickestFirst(notes)
    measured.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["long", "short", "new"]
    # A test reports its set-up, its call and its clean-up.
    for name, took in (("long", 0.2), ("long", 0.3), ("short", 0.4)):
        measured.pytest_runtest_logreport(SimpleNamespace(nodeid=name, duration=took))
    measured.pytest_sessionfinish()
    order.QuickestFirst(notes).pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["new", "short", "long"]


def test_every_explained_line_is_that_of_one_mutant(sites):
    explained = __import__("page").EXPLAINED
    for name, reasons in tomllib.loads(explained.read_text()).items():
        lines = [one.line_after for one in sites.mutants((ROOT / "src/moola" / name).read_text())]
        assert {line: lines.count(line) for line in reasons} == dict.fromkeys(reasons, 1), name


def test_the_table_keeps_rows_of_files_that_were_not_tried(sites, tmp_path):
    page = __import__("page")
    lived = sites.mutants("A = 1\n")
    target = tmp_path / "reliability.md"
    target.write_text("before\n<!-- mutants -->\n<!-- end of mutants -->\nafter\n")
    page.write_table(target, [page.Tried("b.py", 9, 4, lived)])
    page.write_table(target, [page.Tried("a.py", 3, 2, [])])
    rows = ["| a.py | 3 | 2 | 2 | 100% |", "| b.py | 9 | 4 | 3 | 75% |"]
    assert [line for line in target.read_text().splitlines() if ".py |" in line] == rows
    page.write_table(target, [page.Tried("b.py", 9, 4, [])])
    assert "| b.py | 9 | 4 | 4 | 100% |" in target.read_text()
    assert "75%" not in target.read_text()
    assert target.read_text().endswith("after\n")


def test_a_survivor_is_shown_with_its_reason(sites, tmp_path, monkeypatch):
    page = __import__("page")
    monkeypatch.setattr(page, "EXPLAINED", tmp_path / "explained.toml")
    tried = page.Tried("b.py", 9, 4, sites.mutants("A = 1\n"))
    (tmp_path / "explained.toml").write_text('["b.py"]\n"A = 1" = "of another line"\n')
    assert page.survivor_rows(tried) == ["b.py:1: 1 -> (2): not explained"]
    (tmp_path / "explained.toml").write_text('["b.py"]\n"A = (2)" = "nobody reads it"\n')
    assert page.survivor_rows(tried) == ["b.py:1: 1 -> (2): nobody reads it"]


def test_every_file_that_is_tried_has_its_tests(sites):
    run = __import__("run")
    for name in run.TESTED:
        assert (ROOT / "src/moola" / name).is_file()
        assert all((ROOT / test).is_file() for test in run.tests_of(name))
