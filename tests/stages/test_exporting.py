"""A graph says what the model says, of features or of prices, and tells how it is to be used."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from benchmarks.export_equality import told

from moola.core.features import FEATURE_NAMES, relative_features
from moola.errors import OperationFailed, UntrustedFile, WrongUsage
from moola.evaluation.calibration import calibrated
from moola.fit.predicting import read_windows_both_ways
from moola.models.model_files import ModelFile, write_model
from moola.options.training_options import ExportOptions
from moola.stages import export_onnx
from moola.stages.export_onnx import (
    FEATURES,
    KINDS,
    OHLC,
    checked_windows,
    export,
    furthest,
    largest_difference,
    metadata,
    onnx_bytes,
    output_names,
    predicted,
    run_onnx,
)
from moola.tables.prediction_table import read_predictions
from moola.tables.window_file import read_windows
from tests.conftest import DATA
from tests.fit.fits_made import once
from tests.made import made_windows
from tests.networks_made import CPU, made_scaler, tiny_network

BARS = 30


def model_of(n_heads=2, pointers=True, mirror=(1, 0), visible=None, n_classes=2) -> ModelFile:
    network = tiny_network(3, predict_pointers=pointers, n_heads=n_heads, n_classes=n_classes)
    names = [f"class {i}" for i in range(n_classes)]
    turned, weight = None if mirror is None else list(mirror), np.linspace(1, 2, BARS)
    training = {"annotators": ["ann"]}
    return ModelFile(
        network, "enhanced_simple_lstm", made_scaler(), BARS, names, 1.3, 0.4, training, turned, weight, visible
    )


MODELS = {
    "mirrored": model_of,
    "one head, visible bars": lambda: model_of(n_heads=1, mirror=None, visible=21),
    "without pointers": lambda: model_of(pointers=False, mirror=(0, 2, 1), n_classes=3),
    "linear": lambda: once().model,
    "linear, one way": lambda: replace(once().model, mirror=None),
}


@functools.cache
def graph_of(name: str, takes=FEATURES) -> tuple[ModelFile, bytes]:
    model = MODELS[name]()
    return model, onnx_bytes(model, metadata(model, "a" * 64, takes), takes)


# tests/fit/test_linear_heads_fit.py compares the graphs of linear heads.
@pytest.mark.parametrize("name", list(MODELS)[:3])
def test_probabilities_are_those_of_the_model_to_1e_5(name):
    model, content = graph_of(name)
    assert largest_difference(model, content) < 1e-5
    features = relative_features(made_windows(9, seed=5, window_bars=BARS).ohlc)[:, : model.n_seen_bars]
    for n_windows in (1, 2, 9):
        said = run_onnx(content, features[:n_windows].astype(np.float32))
        logits, curves = read_windows_both_ways(model, features[:n_windows], CPU)
        assert said[0].shape == (n_windows, len(model.class_names))
        assert np.abs(said[0] - calibrated(logits, model.temperature)).max() < 1e-5
        assert len(said) == 1 + (curves is not None)
        if curves is not None:
            assert np.abs(said[1] - curves).max() < 1e-5


def graph_says(model, ohlc, content) -> dict[str, np.ndarray]:
    seen = ohlc[:, : model.n_seen_bars].astype(np.float32)
    return dict(zip(output_names(model, OHLC), run_onnx(content, seen), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_prices_in_give_what_the_command_predicts(name, tmp_path):
    """`benchmarks/export_equality.py` does the same with 10,000 windows."""
    model, content = graph_of(name, OHLC)
    write_model(tmp_path / "model.pt", model)
    ohlc = checked_windows(4 * len(KINDS), model.window_bars, seed=3)
    expected = told(tmp_path / "model.pt", ohlc, tmp_path)
    cut = {key: value[:, : model.n_seen_bars] if value.ndim == 3 else value for key, value in expected.items()}
    said = graph_says(model, ohlc, content)
    assert said.keys() == cut.keys()
    assert furthest(model, said, cut) < 1e-5
    for key in ("class_prob", "pointer_prob"):
        if key in cut:
            np.testing.assert_allclose(said[key], cut[key], rtol=0, atol=1e-5)
    if "pointers" in cut:
        same = (said["pointers"] == cut["pointers"]).all(axis=1)
        assert same.mean() > 0.95
        np.testing.assert_allclose(said["pointer_near_prob"][same], cut["pointer_near_prob"][same], atol=1e-5)


def test_windows_that_are_compared_are_valid_and_awkward():
    ohlc = checked_windows(4 * len(KINDS), 30)
    open_, high, low, close = np.moveaxis(ohlc, -1, 0)
    assert (low > 0).all()
    assert ((low <= np.minimum(open_, close)) & (np.maximum(open_, close) <= high)).all()
    assert (ohlc == ohlc.astype(np.float32)).all()
    assert ((high == low).all(axis=1)).any()
    assert (high > low).all(axis=1).any()
    assert {1, 2} <= {len(np.unique(window)) for window in ohlc}
    assert len(ohlc) == len({window.tobytes() for window in ohlc})


def test_a_graph_that_is_off_is_told_from_one_that_is_not():
    model = model_of()
    right = predicted(model, checked_windows(16, BARS))
    assert furthest(model, right, right) == 0.0
    for name in ("class_prob", "pointer_prob", "pointer_near_prob"):
        assert furthest(model, right | {name: right[name] + 0.01}, right) == pytest.approx(0.01)
    worst = right["pointers"].copy()
    worst[:, 0] = worst[:, 1] = 0
    assert furthest(model, right | {"pointers": worst}, right) > 1e-3
    assert furthest(model, right | {"pointers": right["pointers"][:, ::-1] + (1, 0)}, right) > 1e-3


def test_a_saved_run_says_its_own_numbers_in_onnxruntime(made_run, moola):
    run = made_run("--augment-data", "false")
    answer = moola("export", "--model", run / "model.pkl", "--output", "out/model.onnx")
    assert answer.code == 0, answer.err
    assert "features [windows, 105, 11] in, class_prob and pointer_prob out" in answer.out
    assert "those of the model to" in answer.out
    said = read_predictions(run / "predictions.parquet")
    features = read_windows(Path(DATA)).with_features().features[said.row].astype(np.float32)
    class_prob, pointer_prob = run_onnx(Path("out/model.onnx"), features)
    assert np.abs(class_prob - said.class_prob).max() < 1e-5
    assert np.abs(pointer_prob - said.curves).max() < 1e-5


def described(name: str, takes=FEATURES) -> tuple[ModelFile, dict[str, str], dict[str, list]]:
    """Return a model, its graph's metadata, and the shape of each thing that goes in or out."""
    model, content = graph_of(name, takes)
    assert onnx_bytes(model, metadata(model, "a" * 64, takes), takes) == content
    graph = onnx.load_from_string(content)
    puts = (*graph.graph.input, *graph.graph.output)
    assert {one.type.tensor_type.elem_type for one in puts} == {onnx.TensorProto.FLOAT}
    assert [one.version for one in graph.opset_import if not one.domain] == [17]
    shapes = {one.name: [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim] for one in puts}
    return model, {entry.key: entry.value for entry in graph.metadata_props}, shapes


@pytest.mark.slow
def test_metadata_says_what_goes_in_and_out_and_the_same_model_gives_the_same_bytes():
    model, said, shapes = described("one head, visible bars")
    assert json.loads(said["feature_names"]) == list(FEATURE_NAMES)
    assert json.loads(said["scaler"])["center"] == model.scaler.center.tolist()
    assert json.loads(said["class_names"]) == model.class_names
    assert (said["window_bars"], said["visible_bars"], said["temperature"]) == ("30", "21", "1.3")
    assert json.loads(described("mirrored")[1]["mirror"]) == [1, 0]
    assert json.loads(said["training"]) == {"annotators": ["ann"]}
    assert "zscore" in said["feature_transform"]
    assert said["model_sha256"] == "a" * 64
    assert shapes["features"] == ["windows", 21, 11]
    _, said, shapes = described("one head, visible bars", OHLC)
    assert shapes == {
        "ohlc": [1, 21, 4],
        "class_prob": [1, 2],
        "pointers": [1, 2],
        "pointer_near_prob": [1, 2],
        "pointer_prob": [1, 21, 2],
    }
    assert "float32 [1, 21, 4]" in said["input"]
    assert json.loads(said["decoding"])["where"] == "in the graph"
    assert "within 3 bars" in said["pointer_near_prob"]


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(Path("model.pt"), model_of())
    Path("torn.pt").write_bytes(Path("model.pt").read_bytes()[:-9])
    options = ExportOptions(model=Path("model.pt"), output=Path("model.onnx"))
    with pytest.raises(WrongUsage, match=r"end in \.onnx"):
        export(replace(options, output=Path("model.pt")))
    with pytest.raises(UntrustedFile):
        export(replace(options, model=Path("torn.pt")))
    monkeypatch.setattr(export_onnx, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(export_onnx, "largest_difference", lambda *_: 0.1)
    with pytest.raises(OperationFailed, match="nothing was written"):
        export(options)
    assert not Path("model.onnx").exists()
    monkeypatch.setattr(export_onnx.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OperationFailed, match=r"moola\[onnx\]"):
        export(options)
