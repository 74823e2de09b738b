"""RUN_11D_TRAINING.sh with a stand-in for moola: its stages, their order, what it promotes, and a second run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

STAND_IN = """#!/usr/bin/env bash
echo "$*" >>calls.txt
option() { local name=$1; shift; while [ $# -gt 0 ]; do [ "$1" = "$name" ] && echo "$2" && return; shift; done; }
make() { mkdir -p "$(dirname "$1")"; echo made >"$1"; }
case $1 in
    sample)
        for name in train_latest train_latest_relative later; do make data/processed/labeled/$name.parquet; done
        make data/splits/fwd_chain_v3.json; make data/raw/eurusd_1h_2007_2018.parquet
        make data/raw/eurusd_1h_2018.parquet ;;
    pretrain-bilstm) make "$(option --output "$@")" ;;
    train)
        run=scratch
        case "$*" in *--no-freeze*) run=unfrozen ;; *--freeze*) run=frozen ;; esac
        make artifacts/runs/$run/manifest.json; echo "$run" >artifacts/runs/$run/model.pkl; echo "$run" ;;
    eval) make "$(option --save-metrics "$@")"; make "$(option --save-reliability-plot "$@")" ;;
    gate)
        case "$*" in *--data*) word=$LATER ;; *) word=hold ;; esac
        echo "Verdict: $word: as told."
        [ "$word" = promote ] || exit 4 ;;
    promote) mkdir -p artifacts/models/supervised
        cp "$(option --run "$@")/model.pkl" artifacts/models/supervised/enhanced_baseline_v2_relative.pt
        echo Promoted ;;
    scan) make "$(option --output "$@")"; make "$(option --overview "$@")" ;;
esac
"""
PROMOTED = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Run the script in a folder of its own; returns its output and the commands that it gave."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "RUN_11D_TRAINING.sh", tmp_path)
    for path, text in (
        ("scripts/setup.sh", "#!/bin/sh\n"),
        ("scripts/venv.sh", "#!/bin/sh\necho venv\n"),
        ("venv/bin/moola", STAND_IN),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)

    def run(later: str) -> tuple[str, list[str]]:
        Path("calls.txt").unlink(missing_ok=True)
        environment = {"PATH": os.environ["PATH"], "LATER": later}
        done = subprocess.run(
            ["./RUN_11D_TRAINING.sh"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        calls = Path("calls.txt").read_text().splitlines()
        return done.stdout, [call for call in calls if call != "--version"]

    return run


def test_it_promotes_by_the_gate_on_later_windows_and_ends_with_the_page(script):
    out, calls = script("promote")
    words = [call.split()[0] for call in calls]
    assert words[0] == "sample"
    assert sorted(words[1:3]) == ["pretrain-bilstm", "train"]
    assert words.count("train") == words.count("eval") == 3
    assert words.count("gate") == 2
    assert words.index("promote") > max(place for place, word in enumerate(words) if word == "gate")
    # The unfrozen run trains beside all that, and is evaluated last.
    assert words[-2:] == ["scan", "eval"]
    assert PROMOTED.read_text() == "frozen\n"
    # Nothing in training or in the scan is given the later windows.
    assert {call.split()[0] for call in calls if "later.parquet" in call} == {"gate", "promote"}
    end = out.splitlines()
    assert end[-1].endswith("artifacts/scans/latest_year.html")
    assert end[-3] == "Verdict: promote: as told."
    assert end[-2].startswith("To promote: venv/bin/moola promote --run artifacts/runs/frozen ")
    assert "cp artifacts/runs/frozen/model.pkl artifacts/models/supervised/enhanced_baseline_v2_relative.pt" in out

    again, calls = script("promote")
    # The model in use is not compared with itself, nor promoted twice; what is done stays done.
    assert [call.split()[0] for call in calls] == ["gate", "gate"]
    assert all("--baseline artifacts/runs/scratch" in call for call in calls)
    assert "in use already" in again


@pytest.mark.parametrize("word", ["hold", "inconclusive"])
def test_it_promotes_nothing_otherwise_and_says_why(script, word):
    out, calls = script(word)
    assert "promote" not in [call.split()[0] for call in calls]
    assert not PROMOTED.exists()
    assert f"== promote: not done, for the verdict is {word}" in out
    assert f"Verdict: {word}: as told." in out.splitlines()
    assert ("--accept inconclusive" in out) == (word == "inconclusive")
