"""The lines of SPEC.md 1 to the letter, at full size; `make test-slow` runs them."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

PRETRAIN = """pretrain-bilstm
  --input data/processed/labeled/train_latest_relative.parquet
  --input-dim 11 --hidden-dim 128 --num-layers 2
  --mask-ratio 0.15 --mask-strategy patch
  --epochs 50 --batch-size 256 --device {device}
  --output artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt --seed 17"""
TRAIN = """train
  --model enhanced_simple_lstm
  --data data/processed/labeled/train_latest_relative.parquet
  --split data/splits/fwd_chain_v3.json
  --pretrained-encoder artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt
  {freeze} --input-dim 11 --epochs {epochs} --augment-data false
  --device {device} --seed 17 --save-run true"""
EVAL = """eval
  --run artifacts/runs/{run}
  --metrics pr_auc brier ece accuracy f1_macro f1_per_class
  --event-metrics hit_at_pm3 lead_lag pointer_f1
  --save-reliability-plot artifacts/plots/reliability_enh_rel.png
  --save-metrics artifacts/metrics/enh_rel.json"""


def test_every_line_works_as_printed(sample, moola, monkeypatch):
    for name in ("HIDDEN_DIM", "NUM_LAYERS", "EPOCHS", "DEVICE"):
        monkeypatch.delenv(f"MOOLA_{name}")

    def run(text: str, **values: object):
        answer = moola(*shlex.split(text.format(device=DEVICE, **values)))
        assert answer.code == 0, answer.err
        return answer

    run(PRETRAIN)
    run(TRAIN, freeze="--freeze-encoder", epochs=5)
    run_id = run(TRAIN, freeze="--no-freeze-encoder", epochs=25).last_line
    run(EVAL, run=run_id)
    assert Path("artifacts/plots/reliability_enh_rel.png").exists()
    target = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")
    target.parent.mkdir(parents=True)
    shutil.copy(f"artifacts/runs/{run_id}/model.pkl", target)
    run(f"predict --model {target} --data data/processed/labeled/train_latest_relative.parquet --output p.parquet")
