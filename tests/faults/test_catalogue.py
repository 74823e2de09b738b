"""Every fault of the catalogue through the command line: exit code, message, and nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.catalogue import ALL
from tests.faults.fault import Fault
from tests.faults.world import enter, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        make_world(folder, patch)
    return folder


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_fault(fault: Fault, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "world"
    shutil.copytree(world, place, symlinks=True)
    enter(place, monkeypatch)
    answer = fault.happen(monkeypatch)
    assert answer.code == fault.code, answer.err
    assert fault.says in answer.message
    assert "Traceback" not in answer.err
    assert answer.touched == []
    assert not Path("exploded").exists()
    fault.then()


def test_names_are_unique() -> None:
    names = [fault.name for fault in ALL]
    assert len(set(names)) == len(names)


def test_the_page_has_a_row_for_each_fault_with_its_exit_code() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for fault in ALL:
        assert any(row.endswith(f"| {fault.code} | `{fault.name}` |") and fault.what in row for row in rows), fault.name
    n_heads = page.count("| fault | what you see |")
    assert len(rows) == len(ALL) + n_heads
