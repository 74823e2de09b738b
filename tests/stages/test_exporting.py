"""The graph says what the model says, for any number of windows, and tells how it is to be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from moola.core.features import FEATURE_NAMES, relative_features
from moola.errors import OperationFailed, UntrustedFile, WrongUsage
from moola.evaluation.calibration import calibrated
from moola.fit.predicting import read_windows_both_ways
from moola.models.model_files import ModelFile, read_model, write_model
from moola.options.training_options import ExportOptions
from moola.stages import export_onnx
from moola.stages.export_onnx import export, largest_difference, metadata, onnx_bytes, run_onnx
from moola.tables.prediction_table import read_predictions
from tests.conftest import DATA
from tests.made import made_windows
from tests.networks_made import CPU, made_scaler, tiny_network

BARS = 30
FEATURES = relative_features(made_windows(9, seed=5, window_bars=BARS).ohlc).astype(np.float32)


def model_of(n_heads=2, pointers=True, mirror=(1, 0), visible=None, n_classes=2) -> ModelFile:
    network = tiny_network(3, predict_pointers=pointers, n_heads=n_heads, n_classes=n_classes)
    names = [f"class {i}" for i in range(n_classes)]
    return ModelFile(
        network,
        "enhanced_simple_lstm",
        made_scaler(),
        BARS,
        names,
        1.3,
        0.4,
        {"annotators": ["ann"]},
        None if mirror is None else list(mirror),
        np.linspace(1, 2, BARS),
        visible,
    )


@pytest.mark.parametrize(
    "model",
    [
        model_of(),
        model_of(n_heads=1, mirror=None),
        model_of(visible=21),
        model_of(pointers=False, mirror=(0, 2, 1), n_classes=3),
    ],
    ids=["mirrored", "plain", "visible bars", "without pointers"],
)
def test_probabilities_are_those_of_the_model_to_1e_5(model):
    content = onnx_bytes(model, metadata(model, "0" * 64))
    assert largest_difference(model, content) < 1e-5
    features = FEATURES[:, : model.n_seen_bars]
    for n_windows in (1, 2, 9):
        said = run_onnx(content, features[:n_windows])
        logits, curves = read_windows_both_ways(model, features[:n_windows].astype(np.float64), CPU)
        assert np.abs(said[0] - calibrated(logits, model.temperature)).max() < 1e-5
        assert said[0].shape == (n_windows, len(model.class_names))
        if curves is None:
            assert len(said) == 1
        else:
            assert np.abs(said[1] - curves).max() < 1e-5


def test_the_same_model_gives_the_same_bytes():
    described = metadata(model_of(), "0" * 64)
    assert onnx_bytes(model_of(), described) == onnx_bytes(model_of(), described)


def test_a_saved_run_says_its_own_numbers_in_onnxruntime(made_run):
    run = made_run("--augment-data", "false")
    result = export(ExportOptions(model=run / "model.pkl", output=Path("out/model.onnx")))
    assert result["largest_difference"] < 1e-5
    from moola.tables.window_file import read_windows

    told = read_predictions(run / "predictions.parquet")
    features = read_windows(Path(DATA)).with_features().features[told.row].astype(np.float32)
    class_prob, pointer_prob = run_onnx(Path("out/model.onnx"), features)
    assert np.abs(class_prob - told.class_prob).max() < 1e-5
    assert np.abs(pointer_prob - told.curves).max() < 1e-5


def test_metadata_says_how_features_are_made_and_scaled():
    model = model_of(visible=21)
    graph = onnx.load_from_string(onnx_bytes(model, metadata(model, "a" * 64)))
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(told["feature_names"]) == list(FEATURE_NAMES)
    assert json.loads(told["scaler"])["center"] == model.scaler.center.tolist()
    assert json.loads(told["class_names"]) == model.class_names
    assert (told["window_bars"], told["visible_bars"], told["temperature"]) == ("30", "21", "1.3")
    assert json.loads(told["mirror"]) == [1, 0]
    assert json.loads(told["training"]) == {"annotators": ["ann"]}
    assert "zscore" in told["feature_transform"]
    assert told["model_sha256"] == "a" * 64
    [taken] = graph.graph.input
    dimensions = taken.type.tensor_type.shape.dim
    assert (dimensions[0].dim_param, dimensions[1].dim_value, dimensions[2].dim_value) == ("windows", 21, 11)


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(Path("model.pt"), model_of())
    options = ExportOptions(model=Path("model.pt"), output=Path("model.onnx"))
    with pytest.raises(WrongUsage, match=r"end in \.onnx"):
        export(replace(options, output=Path("model.pt")))
    monkeypatch.setattr(export_onnx, "largest_difference", lambda *_: 0.1)
    with pytest.raises(OperationFailed, match="nothing was written"):
        export(options)
    assert not Path("model.onnx").exists()
    monkeypatch.setattr(export_onnx.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OperationFailed, match=r"moola\[onnx\]"):
        export(options)
    Path("torn.pt").write_bytes(Path("model.pt").read_bytes()[:-9])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UntrustedFile):
        export(replace(options, model=Path("torn.pt")))


def test_the_command_says_what_goes_in_and_out(tmp_path, monkeypatch, moola):
    monkeypatch.chdir(tmp_path)
    write_model(Path("model.pt"), model_of())
    answer = moola("export", "--model", "model.pt", "--output", "model.onnx")
    assert answer.code == 0, answer.err
    assert "features [windows, 30, 11] in, class_prob and pointer_prob out" in answer.out
    assert "those of the model to" in answer.out
    assert (
        read_model(Path("model.pt")).class_names
        == moola("export", "--model", "model.pt", "--output", "again.onnx", "--json").json["class_names"]
    )
