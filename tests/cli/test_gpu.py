"""What only a GPU can show: the same commands there, twice the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import SPLIT

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_pretraining_and_training_on_a_gpu_give_the_same_bytes_twice(sample, moola, train, monkeypatch):
    monkeypatch.setenv("MOOLA_DEVICE", "cuda")
    contents = []
    for _ in range(2):
        source = "data/processed/unlabeled/windows.parquet"
        moola("pretrain-bilstm", "--input", source, "--split", SPLIT, "--output", "e.pt").ends(0)
        run = train("--pretrained-encoder", "e.pt", "--no-freeze-encoder").last_line
        contents.append((Path("e.pt").read_bytes(), (Path("artifacts/runs") / run / "model.pkl").read_bytes()))
    assert contents[0] == contents[1]
