"""Two encoders through the commands: train, its card, predict, leakcheck, cv; and where they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.files import sha256_file
from moola.models.model_files import BASE_NAME, read_model, write_encoder
from moola.models.network import EncodersSideBySide
from moola.options.study_options import CvOptions
from moola.stages.cv_pooling import FitTask, train_options
from tests.conftest import DATA, SPLIT
from tests.fit.fits_made import small_base
from tests.networks_made import made_scaler, tiny_encoder

SPAN = ["1999-01-01T00:00:00Z", "1999-06-01T00:00:00Z"]


@pytest.fixture
def own(sample: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MOOLA_HIDDEN_DIM", "MOOLA_NUM_LAYERS", "MOOLA_EPOCHS"):
        monkeypatch.delenv(name)
    small_base(sample, monkeypatch)
    write_encoder(Path("own.pt"), tiny_encoder(3), made_scaler(), 105, {"time_range": SPAN})
    write_encoder(Path("leaky.pt"), tiny_encoder(4), made_scaler(), 105, {"time_range": ["1999-01-01", "2090-01-01"]})
    return sample


def test_a_run_on_both_is_whole_by_itself_and_says_so(own, train, moola) -> None:
    run = Path("artifacts/runs") / train("--pretrained-encoder", "base", "own.pt").last_line
    config, manifest = (json.loads((run / f"{name}.json").read_text()) for name in ("config", "manifest"))
    assert config["pretrained_encoder"] == ["base", "own.pt"]
    base, other = manifest["encoder_sha256"].split("+")
    assert other == sha256_file(Path("own.pt")) != base
    card = (run / "model_card.md").read_text()
    assert "`base own.pt`" in card
    assert "their vectors side by side" in card
    assert "--pretrained-encoder base own.pt" in card
    checked = moola("leakcheck", "--data", DATA, "--split", SPLIT, "--run", run, "--quick", "--json").json
    states = {row["what"]: row["state"] for row in checked["findings"]}
    assert states["encoder"] == states["scaler"] == states["run predictions"] == "ok"
    (found,) = [row["found"] for row in checked["findings"] if row["what"] == "encoder"]
    assert SPAN[0] in found
    Path("own.pt").unlink()
    assert isinstance(read_model(run / "model.pkl").network.encoder, EncodersSideBySide)
    answer = moola("predict", "--model", run / "model.pkl", "--data", DATA, "--output", "p.csv")
    assert answer.code == 0, answer.err


@pytest.mark.slow
def test_the_environment_names_two_and_what_either_has_seen_is_a_leak(own, train, monkeypatch) -> None:
    assert "pretrained on times of" not in train("--pretrained-encoder", "own.pt", "--no-save-run").err
    monkeypatch.setenv("MOOLA_PRETRAINED_ENCODER", "own.pt leaky.pt")
    answer = train("--no-save-run")
    assert "taken from own.pt and leaky.pt" in answer.err
    assert "the encoder was pretrained on times of" in answer.err


def test_they_are_refused_where_one_would_learn(own, moola) -> None:
    for words in (("--no-freeze-encoder",), ("--unlabelled", DATA)):
        answer = moola("train", "--data", DATA, "--split", SPLIT, "--pretrained-encoder", "base", "own.pt", *words)
        assert answer.code == 2
        assert f"names 2 and there is {words[0]}" in answer.err


def test_each_folds_own_encoder_of_a_cv_stands_beside_the_named_one() -> None:
    task = FitTask(Path("cv"), 2, 17, 1.0, "enhanced_simple_lstm")
    alone = CvOptions(data=Path("w.parquet"), pretrain_bars=Path("b.parquet"))
    assert train_options(alone, task).pretrained_encoder == task.encoder
    beside = CvOptions(data=Path("w.parquet"), pretrain_bars=Path("b.parquet"), pretrained_encoder=BASE_NAME)
    assert train_options(beside, task).pretrained_encoder == (BASE_NAME, task.encoder)
