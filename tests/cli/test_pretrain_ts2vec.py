"""`pretrain-ts2vec` on the sample with tiny networks: its encoder file is like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.cli import training_commands
from tests.conftest import DATA, RUNS, SPLIT

ENCODER = "artifacts/encoders/pretrained/ts2vec_11d_v1.pt"
# The labelled windows without their labels: few, so that each command takes a moment.
PRETRAIN = ("pretrain-ts2vec", "--input", DATA, "--split", SPLIT, "--output", ENCODER)


def test_its_encoder_trains_and_a_stopped_one_ends_in_the_same_bytes(sample, moola, train, monkeypatch):
    monkeypatch.setenv("MOOLA_EPOCHS", "2")
    answer = moola(*PRETRAIN)
    assert answer.code == 0, answer.err
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
    answer = moola(*PRETRAIN, "--resume", "--json")
    assert answer.code == 0, answer.err
    assert "Resumed after epoch 1" in answer.err
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
    answer = moola(*PRETRAIN, *wrong.split())
    assert (answer.code, wrong.split()[0] in answer.err) == (2, True)
    assert not Path(ENCODER).exists()


def test_it_works_beside_other_arms_and_the_teacher_too(sample, moola):
    given = ("--split", SPLIT, "--output", "both.pt", "--arms", "latent", "ts2vec", "--batch-size", "32")
    answer = moola("pretrain-bilstm", "--input", DATA, *given, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["arms"] == ["latent", "ts2vec"]
    assert set(answer.json["val_loss_by_arm"]) == {"latent", "ts2vec"}
