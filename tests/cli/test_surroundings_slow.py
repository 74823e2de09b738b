"""Folder, time zone, locale and hash seed change no byte of what the commands from convert to scan write."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
LINES = """
convert --input data/processed/labeled/train_latest.parquet --output relative.parquet
split --data relative.parquet --output split.json
pretrain-bilstm --input relative.parquet --split split.json --output encoder.pt --arms masked structure
train --data relative.parquet --split split.json --pretrained-encoder encoder.pt --augment-data --save-run
eval --run artifacts/runs/{run}
predict --model artifacts/runs/{run}/model.pkl --data relative.parquet --output predicted.parquet
scan --model artifacts/runs/{run}/model.pkl --bars data/raw/eurusd_1h_2017.parquet --stride 50 --output events.csv
"""
HERE = {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0", "LANG": "C"}
THERE = {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4242", "LANG": "de_DE.UTF-8"}


def written(folder: Path, sample: Path, surroundings: dict[str, str]) -> dict[str, bytes]:
    """Run the lines in a folder; return what the files hold that say no time of day."""
    folder.mkdir(parents=True)
    shutil.copytree(sample / "data", folder / "data")
    run = ""
    for line in LINES.strip().splitlines():
        command = [sys.executable, "-m", "moola.cli", *shlex.split(line.format(run=run))]
        answer = subprocess.run(
            command, cwd=folder, env=os.environ | surroundings, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stderr
        if line.startswith("train"):
            run = answer.stdout.strip().splitlines()[-1]
    names = ["relative.parquet", "split.json", "encoder.pt", "predicted.parquet", "events.csv"]
    names += [f"artifacts/runs/{run}/{name}" for name in ("model.pkl", "predictions.parquet", "metrics.json")]
    return {Path(name).name: (folder / name).read_bytes() for name in names}


def test_surroundings_change_no_byte(sample, tmp_path):
    here = written(tmp_path / "here", sample, HERE)
    there = written(tmp_path / "over there" / "and deeper", sample, THERE)
    assert [name for name in here if here[name] != there[name]] == []
    assert min(map(len, here.values())) > 0
