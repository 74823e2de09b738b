"""Encoder and model files: a whole network comes out, or `UntrustedFile` and nothing."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moola.core.features import FEATURE_NAMES
from moola.core.windows import WINDOW_BARS
from moola.errors import TrainingDiverged, UntrustedFile
from moola.models.model_files import (
    BASE_FILE,
    ENCODER_KIND,
    MODEL_KIND,
    ModelFile,
    encoder_sha256,
    read_encoder,
    read_model,
    weights_digest,
    weights_of,
    write_encoder,
    write_model,
)
from moola.models.network import build_network
from moola.models.sealed import read_sealed, seal
from moola.provenance.learned_times import seen_among
from moola.training.finetune import run_network
from tests.made import HOUR_US
from tests.networks_made import CPU, equal_weights, made_scaler, scaled_features, tiny_encoder, tiny_network

Content = dict[str, Any]

PRETRAINING = {"seed": 5, "time_range": ["2024-01-01", "2024-02-01"], "val_loss": 0.5}

SHORT = torch.ones(10, dtype=torch.float64)

SOME_WEIGHT = "lstm.weight_hh_l0"


def made_model(
    predict_pointers: bool = True, threshold: float | None = 0.4, n_heads: int = 1, mirror: list[int] | None = None
) -> ModelFile:
    network = tiny_network(7, predict_pointers, dropout=0.3, n_heads=n_heads)
    names = ["consolidation", "retracement"]
    return ModelFile(network, "enhanced_simple_lstm", made_scaler(), 12, names, 1.7, threshold, {"seed": 7}, mirror)


@pytest.fixture
def encoder_path(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.pt"
    write_encoder(path, tiny_encoder(5, num_layers=2), made_scaler(), 12, PRETRAINING)
    return path


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.pkl"
    write_model(path, made_model())
    return path


def test_weights_that_are_no_numbers_are_never_written(model_path: Path, encoder_path: Path) -> None:
    model, before = made_model(), (model_path.read_bytes(), encoder_path.read_bytes())
    with torch.no_grad():
        model.network.encoder.lstm.weight_hh_l0[0, 0] = torch.nan
    with pytest.raises(TrainingDiverged, match="1 of"):
        write_model(model_path, model)
    with pytest.raises(TrainingDiverged, match=rf"first {SOME_WEIGHT}"):
        write_encoder(encoder_path, model.network.encoder, made_scaler(), 12, PRETRAINING)
    assert (model_path.read_bytes(), encoder_path.read_bytes()) == before


def reseal(path: Path, kind: str, change: Callable[[Content], Any]) -> None:
    """Alter the content and compute both hashes again."""
    content = copy.deepcopy(read_sealed(path, kind))
    change(content)
    path.write_bytes(seal(kind, content))


def put(*keys: str, value: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def drop(*keys: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def poison(value: float, *keys: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in keys:
            content = content[key]
        content.view(-1)[0] = value

    return change


def test_an_encoder_comes_back_whole(encoder_path: Path) -> None:
    file = read_encoder(encoder_path)
    original = tiny_encoder(5, num_layers=2)
    assert equal_weights(file.encoder, original)
    assert file.n_tensors == len(original.state_dict()) == 16
    assert file.encoder.architecture == original.architecture
    assert file.window_bars == 12
    assert file.pretraining == PRETRAINING
    np.testing.assert_array_equal(file.scaler.center, made_scaler().center)
    np.testing.assert_array_equal(file.scaler.scale, made_scaler().scale)
    assert file.scaler.clip == made_scaler().clip


def test_an_encoder_that_was_read_encodes_to_the_same_bits(encoder_path: Path) -> None:
    features = torch.from_numpy(scaled_features(1))
    read = read_encoder(encoder_path).encoder(features)
    assert torch.equal(read, tiny_encoder(5, num_layers=2)(features))


@pytest.mark.parametrize(("predict_pointers", "threshold"), [(True, 0.4), (True, None), (False, None)])
def test_a_model_that_was_read_predicts_the_same_bits(
    tmp_path: Path, predict_pointers: bool, threshold: float | None
) -> None:
    path, model, features = tmp_path / "model.pkl", made_model(predict_pointers, threshold), scaled_features(2)
    write_model(path, model)
    read = read_model(path)
    assert not read.network.training
    assert equal_weights(read.network, model.network)
    logits, curves = run_network(read.network, features, CPU)
    before_logits, before_curves = run_network(model.network, features, CPU)
    np.testing.assert_array_equal(logits, before_logits)
    assert (curves is None) == (before_curves is None) == (not predict_pointers)
    if curves is not None:
        np.testing.assert_array_equal(curves, before_curves)
    assert (read.model_name, read.window_bars, read.class_names) == ("enhanced_simple_lstm", 12, model.class_names)
    assert (read.temperature, read.pointer_threshold, read.training) == (1.7, threshold, {"seed": 7})
    np.testing.assert_array_equal(read.scaler.center, model.scaler.center)
    np.testing.assert_array_equal(read.scaler.scale, model.scaler.scale)


@pytest.mark.parametrize(("n_heads", "mirror"), [(1, None), (3, [0, 1]), (2, [1, 0])])
def test_heads_and_mirror_come_back(tmp_path: Path, n_heads: int, mirror: list[int] | None) -> None:
    path, model = tmp_path / "model.pkl", made_model(n_heads=n_heads, mirror=mirror)
    write_model(path, model)
    read = read_model(path)
    assert (len(read.network.heads), read.mirror) == (n_heads, mirror)
    assert equal_weights(read.network, model.network)
    features = scaled_features(2)
    np.testing.assert_array_equal(
        run_network(read.network, features, CPU)[0], run_network(model.network, features, CPU)[0]
    )


def test_the_same_network_writes_the_same_bytes_and_a_file_read_writes_itself(tmp_path: Path) -> None:
    first, again, copied = (tmp_path / name for name in ("first.pt", "again.pt", "copied.pt"))
    write_model(first, made_model())
    write_model(again, made_model())
    write_model(copied, read_model(first))
    assert first.read_bytes() == again.read_bytes() == copied.read_bytes()


def test_model_and_encoder_files_are_not_taken_for_each_other(encoder_path: Path, model_path: Path) -> None:
    with pytest.raises(UntrustedFile, match="kind 'encoder'"):
        read_model(encoder_path)
    with pytest.raises(UntrustedFile, match="kind 'model'"):
        read_encoder(model_path)


ENCODER_CHANGES: dict[str, Callable[[Content], Any]] = {
    "layer missing": drop("weights", SOME_WEIGHT),
    "second layer missing": lambda content: [content["weights"].pop(k) for k in list(content["weights"]) if "l1" in k],
    "no weights": put("weights", value={}),
    "layer surplus": put("weights", "lstm.weight_hh_l9", value=torch.zeros(16, 4)),
    "layer of another shape": put("weights", SOME_WEIGHT, value=torch.zeros(16, 5)),
    "layer transposed": put("weights", SOME_WEIGHT, value=torch.zeros(4, 16)),
    "layer of another type": put("weights", SOME_WEIGHT, value=torch.zeros(16, 4, dtype=torch.float64)),
    "layer no tensor": put("weights", SOME_WEIGHT, value=[0.0]),
    "NaN weight": poison(float("nan"), "weights", SOME_WEIGHT),
    "infinite weight": poison(float("inf"), "weights", SOME_WEIGHT),
    "one layer said": put("architecture", "num_layers", value=1),
    "three layers said": put("architecture", "num_layers", value=3),
    "other units said": put("architecture", "hidden_dim", value=5),
    "no units": put("architecture", "hidden_dim", value=0),
    "units in text": put("architecture", "hidden_dim", value="4"),
    "unknown encoder": put("architecture", "name", value="transformer"),
    "other input": put("architecture", "input_dim", value=4),
    "architecture surplus": put("architecture", "dropout", value=0.1),
    "architecture missing": drop("architecture"),
    "feature missing": put("features", "names", value=list(FEATURE_NAMES[:-1])),
    "features in another order": put("features", "names", value=list(FEATURE_NAMES[::-1])),
    "features of another version": put("features", "version", value=2),
    "scaler missing": drop("scaler"),
    "scaler short": put("scaler", "center", value=torch.zeros(10, dtype=torch.float64)),
    "scaler of other features": lambda content: [content["scaler"].update(center=SHORT, scale=SHORT)],
    "scaler of zeros": put("scaler", "scale", value=torch.zeros(11, dtype=torch.float64)),
    "NaN scale": poison(float("nan"), "scaler", "scale"),
    "NaN center": poison(float("nan"), "scaler", "center"),
    "infinite scale": poison(float("inf"), "scaler", "scale"),
    "no window length": drop("window_bars"),
    "window length in words": put("window_bars", value="many"),
}


@pytest.mark.parametrize("change", ENCODER_CHANGES.values(), ids=ENCODER_CHANGES.keys())
def test_an_encoder_file_that_is_not_whole_is_refused_behind_a_right_seal(
    encoder_path: Path, change: Callable[[Content], Any]
) -> None:
    reseal(encoder_path, ENCODER_KIND, change)
    with pytest.raises(UntrustedFile, match=r"(?s)intact moola encoder file.*Nothing of it was used"):
        read_encoder(encoder_path)


@pytest.mark.parametrize(("size", "value"), [("hidden_dim", 4097), ("num_layers", 17)])
def test_sizes_beyond_reason_are_refused_before_memory_is_taken(encoder_path: Path, size: str, value: int) -> None:
    reseal(encoder_path, ENCODER_KIND, put("architecture", size, value=value))
    with pytest.raises(UntrustedFile, match="ValueError: sizes"):
        read_encoder(encoder_path)


MODEL_CHANGES: dict[str, Callable[[Content], Any]] = {
    "head missing": drop("weights", "heads.0.class_head.0.weight"),
    "encoder missing": lambda content: [content["weights"].pop(k) for k in list(content["weights"]) if "lstm" in k],
    "head surplus": put("weights", "heads.0.class_head.9.weight", value=torch.zeros(1)),
    "pointer heads denied": put("predict_pointers", value=False),
    "head of another shape": put("weights", "heads.0.class_head.3.bias", value=torch.zeros(3)),
    "NaN head": poison(float("nan"), "weights", "heads.0.class_head.3.bias"),
    "class surplus": put("class_names", value=["a", "b", "c"]),
    "no class": put("class_names", value=[]),
    "unknown network": put("model", value="other"),
    "features": put("features", "names", value=["open", "high", "low", "close"]),
    "no calibration": drop("calibration"),
    "no temperature": put("calibration", "temperature", value=None),
    "no threshold": drop("pointer_threshold"),
    "no training": drop("training"),
    "NaN center": poison(float("nan"), "scaler", "center"),
    "NaN temperature": put("calibration", "temperature", value=float("nan")),
    "temperature of zero": put("calibration", "temperature", value=0.0),
    "window length without end": put("window_bars", value=float("inf")),
    "no number of heads": drop("n_heads"),
    "no head": put("n_heads", value=0),
    "a head more than there are": put("n_heads", value=2),
    "heads in words": put("n_heads", value="1"),
    "heads by truth": put("n_heads", value=True),
    "heads of another kind": put("head", value="linear"),
    "heads of no kind": put("head", value=None),
    "heads of an unknown kind": put("head", value="forest"),
    "heads of a list of kinds": put("head", value=["mlp"]),
    "no word of a mirror": drop("mirror"),
    "mirror short": put("mirror", value=[0]),
    "mirror of one class twice": put("mirror", value=[0, 0]),
    "mirror beyond the classes": put("mirror", value=[1, 2]),
    "mirror in words": put("mirror", value="01"),
    "mirror by name": put("mirror", value={0: 1, 1: 0}),
}


@pytest.mark.parametrize("change", MODEL_CHANGES.values(), ids=MODEL_CHANGES.keys())
def test_a_model_file_that_is_not_whole_is_refused_behind_a_right_seal(
    model_path: Path, change: Callable[[Content], Any]
) -> None:
    reseal(model_path, MODEL_KIND, change)
    with pytest.raises(UntrustedFile, match=r"(?s)intact moola model file.*Nothing of it was used"):
        read_model(model_path)


def test_a_file_of_before_linear_heads_says_no_kind_and_linear_heads_say_theirs(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    write_model(path, made_model())
    reseal(path, MODEL_KIND, drop("head"))
    assert equal_weights(read_model(path).network, made_model().network)
    linear = build_network(tiny_encoder(5), 2, True, 0.0, 0, head_kind="linear")
    with torch.no_grad():
        for number, weights in enumerate(linear.heads.parameters()):
            weights.fill_(number + 0.5)
    write_model(path, replace(made_model(), network=linear))
    assert equal_weights(read_model(path).network, linear)
    assert read_model(path).network.head_kind == "linear"
    for change in (put("n_heads", value=2), drop("head"), put("head", value="mlp")):
        write_model(path, replace(made_model(), network=linear))
        reseal(path, MODEL_KIND, change)
        with pytest.raises(UntrustedFile, match=r"(?s)intact moola model file.*Nothing of it was used"):
            read_model(path)


def test_heads_beyond_reason_are_refused_before_memory_is_taken(model_path: Path) -> None:
    reseal(model_path, MODEL_KIND, put("n_heads", value=101))
    with pytest.raises(UntrustedFile, match="ValueError: 101 heads"):
        read_model(model_path)


def test_content_resealed_without_a_change_is_read(encoder_path: Path, model_path: Path) -> None:
    reseal(encoder_path, ENCODER_KIND, lambda content: None)
    reseal(model_path, MODEL_KIND, lambda content: None)
    assert equal_weights(read_encoder(encoder_path).encoder, tiny_encoder(5, num_layers=2))
    assert equal_weights(read_model(model_path).network, made_model().network)


def test_every_part_of_real_files_is_covered_by_the_seal(encoder_path: Path, model_path: Path) -> None:
    for path, read in ((encoder_path, read_encoder), (model_path, read_model)):
        data = path.read_bytes()
        rng = np.random.default_rng(1)
        positions = {0, 1, len(data) - 1, len(data) - 80, *rng.integers(0, len(data), size=60).tolist()}
        for position in sorted(positions):
            path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
            with pytest.raises(UntrustedFile):
                read(path)
        for length in rng.integers(0, len(data), size=20):
            path.write_bytes(data[:length])
            with pytest.raises(UntrustedFile):
                read(path)


def test_reading_leaves_the_global_random_numbers_of_torch_alone(encoder_path: Path, model_path: Path) -> None:
    before = torch.random.get_rng_state()
    read_encoder(encoder_path)
    read_model(model_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_of_is_a_copy_that_training_does_not_change() -> None:
    encoder = tiny_encoder(1)
    kept, digest_before = weights_of(encoder), weights_digest(encoder)
    with torch.no_grad():
        encoder.lstm.weight_hh_l0[0, 0] += 1e-6
    assert not torch.equal(kept[SOME_WEIGHT], encoder.lstm.weight_hh_l0)
    assert not kept[SOME_WEIGHT].requires_grad
    assert weights_digest(encoder) != digest_before
    assert weights_digest(tiny_encoder(1)) == digest_before


BASE = Path("base")

SHA256 = "8aa75c53d455c3c2a5de8ad28bd39731eeba9350bd12b1c04589a4c487fcac61"

UNTIL = "2014-06-01T00:00:00.000000Z"


def seen(first: str, n_windows: int) -> list[bool]:
    """Tell of windows of hourly bars, one after another, whether `base` learned from their times."""
    start = np.datetime64(first, "us").astype(np.int64) + np.arange(n_windows) * WINDOW_BARS * HOUR_US
    return seen_among(read_encoder(BASE).pretraining, start, start + WINDOW_BARS * HOUR_US).tolist()


def test_the_file_is_the_one_that_was_measured_and_is_small_enough():
    assert hashlib.sha256(BASE_FILE.read_bytes()).hexdigest() == encoder_sha256(BASE) == SHA256
    assert BASE_FILE.stat().st_size < 4_000_000


def test_its_record_names_what_it_learned_from():
    base = read_encoder(BASE)
    record = base.pretraining
    assert base.window_bars == WINDOW_BARS
    assert record["symbols"] == ["AUDUSD", "EURUSD", "GBPUSD", "USDJPY", "XAUUSD"]
    assert record["timeframes"] == ["1h", "2h", "4h", "8h", "1d"]
    assert record["licence"] == "Apache-2.0"
    assert record["time_range_end"] == "close"
    assert record["time_range"][1] <= UNTIL
    assert {(row["symbol"], row["timeframe"]) for row in record["series"]} == {
        (symbol, timeframe) for symbol in record["symbols"] for timeframe in record["timeframes"]
    }
    assert max(row["last_close"] for row in record["series"]) <= UNTIL
    assert base.encoder.architecture.hidden_dim == record["recipe"]["hidden_dim"]


def test_windows_from_june_2014_on_are_clean_and_those_before_are_not():
    assert not any(seen("2014-06-01", 2000))
    assert all(seen("2010-01-01", 300))
    assert seen("2014-05-30T23:00", 1) == [True]


def test_its_notice_names_the_file_and_every_symbol():
    notice = BASE_FILE.with_suffix(".NOTICE.txt").read_text()
    assert SHA256 in notice
    assert all(symbol in notice for symbol in read_encoder(BASE).pretraining["symbols"])
    assert "Apache License 2.0" in notice
    assert "QuantConnect/Lean" in notice
    assert "komo135/forex-historical-data" in notice
