"""`pretrain-bilstm` by arms and `pretrain-ts2vec`, on the sample with tiny networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from moola.cli import training_commands
from moola.models.model_files import read_encoder
from moola.tables.window_file import write_windows
from tests.conftest import DATA, RUNS, SPLIT
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
        answer = moola("pretrain-bilstm", "--input", DATA, *FIRST, "--arms", *given).ends(0)
        contents.add(Path("e.pt").read_bytes())
    assert len(contents) == 3
    assert "masked" not in answer.out
    assert read_encoder(Path("e.pt")).pretraining["mask"].endswith(" 0")


def test_short_windows_are_pretrained_on_too_unless_they_are_too_short_for_moves(sample, moola):
    given = ("pretrain-bilstm", "--input", BARS, "--output", "e.pt", "--stride", "90", "--json", "--window-bars")
    answer = moola(*given, "8").ends(0)
    assert answer.json["arms"] == ["masked", "structure", "moves"]
    assert read_encoder(Path("e.pt")).window_bars == 8
    answer = moola(*given, "6").ends(2, "at least 8 bars for moves of random definitions, but they have 6")
    assert moola(*given, "6", "--arms", "masked", "structure").code == 0


def test_a_file_of_features_alone_is_pretrained_on_by_its_hidden_bars(sample, moola):
    write_windows(Path("w.parquet"), replace(made_windows(40).with_features(), ohlc=None))
    answer = moola("pretrain-bilstm", "--input", "w.parquet", "--output", "e.pt", "--epochs", "1", "--json").ends(0)
    assert (answer.json["arms"], answer.json["mirror_windows"]) == (["masked"], False)
    assert "carry features alone: pretraining by masked only" in answer.err
    refused = moola("pretrain-bilstm", "--input", "w.parquet", "--output", "f.pt", "--arms", "masked", "moves").ends(3)
    assert "w.parquet carries features alone and moves was asked for" in refused.err
    assert not Path("f.pt").exists()


def test_a_table_that_names_no_arm_is_refused(sample, moola):
    Path("moola.toml").write_text("[pretrain-bilstm]\narms = []\n")
    moola("pretrain-bilstm", "--input", DATA, "--output", "e.pt").ends(2)
    assert not Path("e.pt").exists()


ENCODER = "artifacts/encoders/pretrained/ts2vec_11d_v1.pt"
# The labelled windows without their labels: few, so that each command takes a moment.
PRETRAIN = ("pretrain-ts2vec", "--input", DATA, "--split", SPLIT, "--output", ENCODER)


@pytest.mark.slow
@pytest.mark.slow
def test_its_encoder_trains_and_a_stopped_one_ends_in_the_same_bytes(sample, moola, train, monkeypatch):
    monkeypatch.setenv("MOOLA_EPOCHS", "2")
    answer = moola(*PRETRAIN).ends(0)
    assert f"Encoder in {ENCODER}" in answer.out
    assert "(1.0 = uninformed baseline), " in answer.out
    assert f"--pretrained-encoder {ENCODER}" in answer.out
    whole = Path(ENCODER).read_bytes()
    Path(ENCODER).unlink()

    class Stopping(training_commands.EpochProgress):
        def __call__(self, row):
            if row["epoch"] == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_commands, "EpochProgress", Stopping)
        assert moola(*PRETRAIN).code == 130
    answer = moola(*PRETRAIN, "--resume", "--json").ends(0, "Resumed after epoch 1")
    assert Path(ENCODER).read_bytes() == whole
    assert answer.json["arms"] == ["ts2vec"]
    assert answer.json["val_loss"] == pytest.approx(1.0, abs=0.1)
    trained = train("--pretrained-encoder", ENCODER)
    assert "Encoder: 8 of 8 tensors taken" in trained.err
    assert "digest equal before and after" in trained.out
    manifest = json.loads((RUNS / trained.last_line / "manifest.json").read_text())
    assert manifest["leak_proof"] is True


def test_options_come_from_file_and_environment_and_decide(sample, moola, monkeypatch):
    assert moola(*PRETRAIN).code == 0
    plain = Path(ENCODER).read_bytes()
    monkeypatch.delenv("MOOLA_EPOCHS")
    Path("moola.toml").write_text("[pretrain-ts2vec]\nepochs = 1\nsoft-tau = 0.2\n")
    assert moola(*PRETRAIN).code == 0
    softer = Path(ENCODER).read_bytes()
    assert softer != plain
    monkeypatch.setenv("MOOLA_SOFT_TAU", "1.5")
    assert moola(*PRETRAIN).code == 0
    assert Path(ENCODER).read_bytes() == plain


@pytest.mark.parametrize("wrong", ["--soft-tau 0", "--mask-ratio 0.3", "--arms masked"])
def test_wrong_usage_is_told(sample, moola, wrong):
    moola(*PRETRAIN, *wrong.split()).ends(2, wrong.split()[0])
    assert not Path(ENCODER).exists()


def test_it_works_beside_other_arms_and_the_teacher_too(sample, moola):
    given = ("--split", SPLIT, "--output", "both.pt", "--arms", "latent", "ts2vec", "--batch-size", "32")
    answer = moola("pretrain-bilstm", "--input", DATA, *given, "--json").ends(0)
    assert answer.json["arms"] == ["latent", "ts2vec"]
    assert set(answer.json["val_loss_by_arm"]) == {"latent", "ts2vec"}
