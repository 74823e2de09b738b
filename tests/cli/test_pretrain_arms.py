"""`pretrain-bilstm` by arms on the sample with tiny networks: records, short windows, files without prices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moola.models.model_files import read_encoder
from moola.tables.window_file import write_windows
from tests.conftest import DATA, SPLIT
from tests.made import made_windows

BARS = "data/raw/eurusd_1h_2017.parquet"
FIRST = ("--split", SPLIT, "--output", "e.pt", "--epochs", "1")


def test_the_default_arms_are_recorded_with_a_loss_each(sample, moola):
    said = moola("pretrain-bilstm", "--input", DATA, *FIRST, "--json").json
    assert said["arms"] == ["masked", "structure", "moves"]
    assert said["mirror_windows"] is True
    assert set(said["val_loss_by_arm"]) == set(said["arms"])
    # Networks this small have learned next to nothing, which is 1.
    assert all(0.5 < loss < 1.5 for loss in said["val_loss_by_arm"].values())
    weighed = [said["val_loss_by_arm"][name] * weight for name, weight in zip(said["arms"], (1, 1, 3), strict=True)]
    assert said["val_loss"] == pytest.approx(sum(weighed) / 5, rel=1e-4)
    record = read_encoder(Path("e.pt")).pretraining
    assert {key: record[key] for key in ("arms", "val_loss_by_arm")} == {
        key: said[key] for key in ("arms", "val_loss_by_arm")
    }


def test_arms_and_mirror_are_chosen_and_decide_the_bytes(sample, moola):
    contents = set()
    for given in (("structure",), ("masked",), ("structure", "--no-mirror-windows")):
        answer = moola("pretrain-bilstm", "--input", DATA, *FIRST, "--arms", *given)
        assert answer.code == 0, answer.err
        contents.add(Path("e.pt").read_bytes())
    assert len(contents) == 3
    assert "masked" not in answer.out
    assert read_encoder(Path("e.pt")).pretraining["mask"].endswith(" 0")


def test_short_windows_are_pretrained_on_too_unless_they_are_too_short_for_moves(sample, moola):
    given = ("pretrain-bilstm", "--input", BARS, "--output", "e.pt", "--stride", "90", "--json", "--window-bars")
    answer = moola(*given, "8")
    assert answer.code == 0, answer.err
    assert answer.json["arms"] == ["masked", "structure", "moves"]
    assert read_encoder(Path("e.pt")).window_bars == 8
    answer = moola(*given, "6")
    assert answer.code == 2
    assert "at least 8 bars for moves of random definitions, but they have 6" in answer.err
    assert moola(*given, "6", "--arms", "masked", "structure").code == 0


def test_a_file_of_features_alone_is_pretrained_on_by_its_hidden_bars(sample, moola):
    write_windows(Path("w.parquet"), replace(made_windows(40).with_features(), ohlc=None))
    answer = moola("pretrain-bilstm", "--input", "w.parquet", "--output", "e.pt", "--epochs", "1", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["arms"], answer.json["mirror_windows"]) == (["masked"], False)
    assert "carry features alone: pretraining by masked only" in answer.err
    refused = moola("pretrain-bilstm", "--input", "w.parquet", "--output", "f.pt", "--arms", "masked", "moves")
    assert refused.code == 3
    assert "w.parquet carries features alone and moves was asked for" in refused.err
    assert not Path("f.pt").exists()


def test_a_table_that_names_no_arm_is_refused(sample, moola):
    Path("moola.toml").write_text("[pretrain-bilstm]\narms = []\n")
    answer = moola("pretrain-bilstm", "--input", DATA, "--output", "e.pt")
    assert answer.code == 2, answer.err
    assert not Path("e.pt").exists()
