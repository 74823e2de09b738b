#!/usr/bin/env python3
"""Write this version's golden files: small files of every kind, and what today's code reads out of them.

Usage: python scripts/data/make_golden.py   writes tests/golden/<version>, once; it never writes over one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import moola
from moola.core.label_rules import Expansion, WindowLabel
from moola.files import json_bytes, write_atomic
from moola.tables.label_store import LabelStore
from moola.tables.split_file import read_split
from moola.tables.window_file import read_windows, write_windows

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
N_WINDOWS = 8
DATA = "data/processed/labeled/train_latest_relative.parquet"
TINY = {"MOOLA_HIDDEN_DIM": "4", "MOOLA_NUM_LAYERS": "1", "MOOLA_EPOCHS": "3", "MOOLA_DEVICE": "cpu"}
KINDS = {
    "frozen": ("--pretrained-encoder", "encoder.pt", "--freeze-encoder"),
    "unfrozen": ("--pretrained-encoder", "encoder.pt", "--no-freeze-encoder"),
    "live": ("--visible-bars", "75", "--n-heads", "1"),
    "no_pointers": ("--no-predict-pointers", "--no-mirror-average"),
}


def main() -> None:
    """Make the files in a folder of their own, then move them to their place."""
    target = GOLDEN / moola.__version__
    if target.exists():
        raise SystemExit(
            f"golden files must stay as they were written, but {target} is there. Raise the version first."
        )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = Path("golden")
        made.mkdir()
        make_networks(made)
        make_labels(made / "labels.db", made / "labels.json")
        for path in sorted(made.iterdir()):
            write_atomic(target / path.name, path.read_bytes())
    print(f"{len(list(target.iterdir()))} files, {sum(path.stat().st_size for path in target.iterdir())} bytes")


def run(*arguments: str) -> str:
    """Run a command line of moola; return the last line that it prints."""
    command = [sys.executable, "-m", "moola.cli", *arguments]
    answer = subprocess.run(command, env=os.environ | TINY, capture_output=True, text=True, check=True)
    return answer.stdout.strip().splitlines()[-1]


def make_networks(made: Path) -> None:
    """Write windows, a split, an encoder, a model of every kind, and the predictions of each."""
    run("sample", "--quick")
    split, encoder, windows = made / "split.json", made / "encoder.pt", made / "windows.parquet"
    run("split", "--data", DATA, "--output", str(split))
    run("pretrain-bilstm", "--input", DATA, "--split", str(split), "--output", str(encoder))
    table = read_windows(Path("data/processed/labeled/train_latest.parquet"), 105)
    write_windows(windows, table.take(np.arange(len(table) - N_WINDOWS, len(table))))
    for kind, options in KINDS.items():
        chosen = [str(encoder) if option == "encoder.pt" else option for option in options]
        run_id = run("train", "--data", DATA, "--split", str(split), *chosen)
        model = made / f"model_{kind}.pkl"
        write_atomic(model, Path(f"artifacts/runs/{run_id}/model.pkl").read_bytes())
        run("predict", "--model", str(model), "--data", str(windows), "--output", str(made / f"said_{kind}.parquet"))
    parts = read_split(split).split
    rows = {part: parts.part(part).tolist() for part in ("train", "val", "test")}
    write_atomic(made / "split_rows.json", json_bytes(rows))


def make_labels(path: Path, said: Path) -> None:
    """Write a label store with revisions, an undo and every status, and every revision beside it."""
    hour = 3_600_000_000
    marks = (Expansion(40 * hour, 52 * hour, "retracement"), Expansion(60 * hour, 66 * hour, "zweite Welle"))
    first = WindowLabel("w1", "EURUSD", 0, 104 * hour, "ann", "A", "", "clear", marks[:1], "labelled")
    with LabelStore(path) as store:
        store.save(first, 0)
        store.save(replace(first, expansions=marks, grade="B"), 1)
        store.undo("w1", "ann", 2)
        store.save(replace(first, annotator="ben", expansions=(), status="skipped"), 0)
        store.save(replace(first, window_id="w2", expansions=(), status="rejected", reason="gap"), 0)
        labels = [label for one in store.all() for label in store.history(one.window_id, one.annotator)]
    write_atomic(said, json.dumps([asdict(label) for label in labels], indent=1).encode())


if __name__ == "__main__":
    main()
