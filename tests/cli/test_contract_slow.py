"""The commands of specification 1 to the letter, at full size; `make test-slow` runs them."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL
from tests.docs.pages import ROOT, page_commands

pytestmark = pytest.mark.slow
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SECTION = (ROOT / "docs/specification.md").read_text().split("## 1. ")[1].split("## 2. ")[0]
PRETRAIN, TRAIN, EVAL = (line for line in page_commands.commands_of(SECTION) if line.startswith("moola "))


def test_every_line_works_as_printed(sample, moola, monkeypatch):
    for name in SMALL.keys() - {"MOOLA_N_HEADS"}:
        monkeypatch.delenv(name)

    def run(line: str):
        answer = moola(*shlex.split(line.replace("--device cuda", f"--device {DEVICE}"))[1:])
        assert answer.code == 0, answer.err
        return answer

    run(PRETRAIN)
    run(TRAIN)
    unfrozen = TRAIN.replace("--freeze-encoder", "--no-freeze-encoder").replace("--epochs 5", "--epochs 25")
    run_id = run(unfrozen).last_line
    run(EVAL.replace("<RUN_ID>", run_id))
    assert Path("artifacts/plots/reliability_enh_rel.png").exists()
    target = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")
    target.parent.mkdir(parents=True)
    shutil.copy(f"artifacts/runs/{run_id}/model.pkl", target)
    run(
        f"moola predict --model {target} --data data/processed/labeled/train_latest_relative.parquet --output p.parquet"
    )
