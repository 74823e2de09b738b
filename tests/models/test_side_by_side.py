"""Two encoders side by side: the vectors of each, what both have seen, and a model file that needs neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from moola.errors import InvalidData, UntrustedFile, WrongUsage
from moola.models.model_files import (
    BASE_NAME,
    MODEL_KIND,
    ModelFile,
    encoder_sha256,
    read_encoder,
    read_model,
    write_encoder,
    write_model,
)
from moola.models.network import EncodersSideBySide, build_network
from moola.models.sealed import read_sealed, write_sealed
from moola.training.finetune import run_encoder
from tests.networks_made import CPU, equal_weights, made_scaler, scaled_features, tiny_encoder


@pytest.fixture
def named(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "one.pt", tmp_path / "other.pt"
    for seed, path in enumerate(paths):
        span = [f"20{seed}0-01-01T00:00:00Z", f"20{seed}1-01-01T00:00:00Z"]
        write_encoder(path, tiny_encoder(seed, hidden_dim=3 + seed), made_scaler(), 12, {"time_range": span})
    return paths


def test_each_reads_with_its_own_scaler_and_their_vectors_lie_in_a_row(named: tuple[Path, Path]) -> None:
    both, features = read_encoder(named), scaled_features(1).astype(np.float64)
    found = run_encoder(both.encoder, both.scaler.transform(features), CPU)
    alone = [read_encoder(path) for path in named]
    due = [run_encoder(one.encoder, one.scaler.transform(features), CPU) for one in alone]
    assert found.shape[2] == both.encoder.output_dim == 6 + 8
    np.testing.assert_allclose(found, np.concatenate(due, axis=2), atol=1e-6)
    # The order given is the order of the vectors.
    other = read_encoder(named[::-1])
    np.testing.assert_allclose(run_encoder(other.encoder, features.astype(np.float32), CPU)[..., :8], due[1], atol=1e-6)
    assert [one["time_range"][0][:4] for one in both.pretraining["also_learned"]] == ["2000", "2010"]
    assert (both.window_bars, both.n_tensors) == (12, sum(one.n_tensors for one in alone))
    assert encoder_sha256(named) == "+".join(str(encoder_sha256(path)) for path in named)


def test_base_stands_beside_windows_of_any_length(named: tuple[Path, Path]) -> None:
    assert read_encoder((BASE_NAME, named[0])).window_bars == 12


def test_no_more_than_two_none_twice_and_none_of_another_length(named: tuple[Path, Path], tmp_path: Path) -> None:
    for wrong in ((named[0], named[0]), (*named, BASE_NAME)):
        with pytest.raises(WrongUsage, match="one encoder or two different ones"):
            read_encoder(wrong)
    write_encoder(tmp_path / "long.pt", tiny_encoder(), made_scaler(), 13, {})
    with pytest.raises(InvalidData, match=r"12, .*long.pt is for 13"):
        read_encoder((named[0], tmp_path / "long.pt"))


def made_model(named: tuple[Path, Path]) -> ModelFile:
    both = read_encoder(named)
    network = build_network(both.encoder, 2, True, 0.0, 0, head_kind="linear")
    return ModelFile(network, "enhanced_simple_lstm", both.scaler, 12, ["a", "b"], 1.0, None, {})


def test_the_model_file_holds_both_and_needs_no_encoder_file(named: tuple[Path, Path], tmp_path: Path) -> None:
    model = made_model(named)
    path = tmp_path / "model.pkl"
    write_model(path, model)
    for one in named:
        one.unlink()
    again = read_model(path)
    assert isinstance(again.network.encoder, EncodersSideBySide)
    assert equal_weights(again.network, model.network)
    features = again.scaler.transform(scaled_features(1).astype(np.float64))
    one, other = (run_encoder(m.network.encoder, features, CPU) for m in (model, again))
    assert (one == other).all()


def test_a_stored_scaler_that_cannot_be_used_and_a_third_encoder_are_refused(named, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    write_model(path, made_model(named))
    content = read_sealed(path, MODEL_KIND)
    content["weights"]["encoder.parts.1.scale"][3] = 0.0
    write_sealed(path, MODEL_KIND, content)
    with pytest.raises(UntrustedFile, match="a scaler that cannot be used"):
        read_model(path)
    content["architecture"]["parts"] = content["architecture"]["parts"] * 2
    write_sealed(path, MODEL_KIND, content)
    with pytest.raises(UntrustedFile, match="4 encoders side by side"):
        read_model(path)
    assert torch.is_tensor(content["weights"]["encoder.parts.0.clip"])
