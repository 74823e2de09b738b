"""cv with the encoder inside the package: linear heads in every fold, the same whatever the seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.runs import run_store
from tests.conftest import DATA


def test_every_fold_fits_linear_heads_and_seeds_agree(sample, moola, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOOLA_HIDDEN_DIM", "MOOLA_NUM_LAYERS", "MOOLA_EPOCHS"):
        monkeypatch.delenv(name)
    words = ("--folds", "2", "--seeds", "2", "--processes", "1", "--controls", "false")
    answer = moola("cv", "--data", DATA, "--pretrained-encoder", "base", *words)
    assert answer.code == 0, answer.err
    folder = Path("artifacts/cv") / answer.last_line
    manifest = json.loads((folder / run_store.MANIFEST).read_text())
    print(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")), manifest)
    assert 0
