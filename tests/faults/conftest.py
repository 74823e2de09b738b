"""The small world, made once for all tests of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import shared_folder
from tests.faults.world import make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that each fault happens in a copy of."""

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            make_world(folder, patch)

    return shared_folder(tmp_path_factory, "world", fill)
