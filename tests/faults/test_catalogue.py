"""Every fault of the catalogue through the command line: exit code, message, and nothing written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.faults.catalogue import ALL, CATALOGUE
from tests.faults.fault import Fault
from tests.faults.world import enter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/docs"))
try:
    import make_faults
finally:
    sys.path.pop(0)


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


def test_a_row_of_the_page_has_the_fault_its_message_its_exit_code_and_its_test(world: Path) -> None:
    some = CATALOGUE["Promotions"][:2]
    for fault, row in zip(some, make_faults.rows_of(world, some), strict=True):
        cells = row.strip("| ").split(" | ")
        assert [cells[0], *cells[2:]] == [fault.what, str(fault.code), f"`{fault.name}`"]
        assert cells[1]
