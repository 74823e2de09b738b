"""Stage `export`: a model file as one ONNX graph, from raw features or prices to calibrated probabilities."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from moola import __version__
from moola.core.expansions import mass_around, mass_near
from moola.core.features import (
    FEATURE_NAMES,
    FEATURE_VERSION,
    N_FEATURES,
    ZSCORE_BARS,
    ZSCORE_CLIP,
    relative_features,
)
from moola.core.seeds import generator
from moola.core.windows import inner_zone
from moola.errors import OperationFailed, WrongUsage
from moola.evaluation.calibration import calibrated
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.files import sha256_file, write_atomic
from moola.fit.predicting import PEAK_SHARE, decode, read_windows_both_ways
from moola.models.model_files import ModelFile, read_model
from moola.options.training_options import ExportOptions
from moola.stages.checked_windows import checked_windows
from moola.stages.ohlc_graph import OhlcGraph, PredictionGraph

OPSET = 17
Taken = Literal["features", "ohlc"]
FEATURES: Taken = "features"
OHLC: Taken = "ohlc"
CLASS_OUTPUT, PAIR_OUTPUT, NEAR_OUTPUT, POINTER_OUTPUT = "class_prob", "pointers", "pointer_near_prob", "pointer_prob"
TOLERANCE = 1e-5
N_CHECKED = 8
N_PRICES = 4
RETURNS = (
    "log_return_<kind>: ln(p_t / p_(t-1)) of the same price kind, 0 at the window's first bar",
    "body_ratio, upper_wick_ratio, lower_wick_ratio: |close - open|, high - max(open, close) and min(open, close) - "
    "low over high - low, 0 on a bar without range",
    f"zscore_<kind>: (p_t - mean) / population std over the last {ZSCORE_BARS} bars including t (all so far before "
    f"there are as many), 0 where the std is 0, clipped to +-{ZSCORE_CLIP:g}",
)
# What a graph of prices gives besides.
DECODED = {
    PAIR_OUTPUT: "[1, 2]: first and last bar of the expansion, counted from the window's first bar, as whole numbers",
    NEAR_OUTPUT: f"[1, 2]: probability that the expansion starts, and ends, within {HIT_BARS} bars of them",
}


def export(options: ExportOptions) -> dict[str, Any]:
    """Write a model as ONNX, with what one must know to use it in the file's metadata.

    Raises
    ------
    WrongUsage
        The name does not end in .onnx.
    OperationFailed
        The extra `onnx` is missing, or the graph does not predict what the model predicts.
    """
    if options.output.suffix != ".onnx":
        raise WrongUsage(f"--output must end in .onnx, but it is {options.output}. Rename it.")
    takes: Taken = options.input or FEATURES
    model, content, off = checked_graph(options.model, takes)
    write_atomic(options.output, content)
    return {"output": str(options.output), "size_bytes": len(content), "largest_difference": off} | facts(model, takes)


def facts(model: ModelFile, takes: Taken) -> dict[str, Any]:
    """Return what goes into a graph, what comes out, and the classes."""
    windows = 1 if takes == OHLC else "windows"
    return {
        "input": {takes: [windows, model.n_seen_bars, width(takes)]},
        "outputs": output_names(model, takes),
        "class_names": list(model.class_names),
    }


def checked_graph(path: Path, takes: Taken) -> tuple[ModelFile, bytes, float | None]:
    """Return a model, its graph, and how far onnxruntime is off the model; None where it is not installed.

    Raises
    ------
    OperationFailed
        The extra `onnx` is missing, or the graph does not predict what the model predicts.
    """
    require_onnx()
    model = read_model(path)
    content = onnx_bytes(model, metadata(model, sha256_file(path), takes), takes)
    off = largest_difference(model, content, takes)
    if off is not None and not off <= TOLERANCE:
        raise OperationFailed(
            f"the graph must predict what the model predicts to {TOLERANCE:g}, but its probabilities are {off:.1g} off "
            f"({path}). Report it; nothing was written."
        )
    return model, content, off


def width(takes: Taken) -> int:
    """Return the values of a bar that a graph takes."""
    return N_PRICES if takes == OHLC else N_FEATURES


def output_names(model: ModelFile, takes: Taken) -> list[str]:
    """Return the outputs of a graph in their order."""
    if not model.network.predict_pointers:
        return [CLASS_OUTPUT]
    decoded = [PAIR_OUTPUT, NEAR_OUTPUT] if takes == OHLC else []
    return [CLASS_OUTPUT, *decoded, POINTER_OUTPUT]


def require_onnx() -> None:
    """State how to install what the export needs, where it is missing."""
    if importlib.util.find_spec("onnx") is None:
        raise OperationFailed(
            "export must have the package onnx, but it is not installed. Install the extra: pip install 'moola[onnx]'."
        )


def onnx_bytes(model: ModelFile, described: dict[str, Any], takes: Taken = FEATURES) -> bytes:
    """Return the graph as bytes, the same each time.

    Of features it takes any number of windows at once; of prices one, so that no shape is left open.
    """
    import onnx

    names = output_names(model, takes)
    graph_of = OhlcGraph(model) if takes == OHLC else PredictionGraph(model)
    n_windows = 1 if takes == OHLC else 2
    with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.onnx"
        # The exporter that traces is told to go some day; the other needs a package more and twenty times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph_of,
            (torch.ones(n_windows, model.n_seen_bars, width(takes)),),
            traced,
            dynamo=False,
            opset_version=OPSET,
            input_names=[takes],
            output_names=names,
            dynamic_axes={} if takes == OHLC else {name: {0: "windows"} for name in (takes, *names)},
        )
        graph = onnx.load(traced)
    onnx.helper.set_model_props(graph, {name: _text(value) for name, value in described.items()})
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString(deterministic=True))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def metadata(model: ModelFile, sha256: str, takes: Taken = FEATURES) -> dict[str, Any]:
    """Return what a user of the graph must know; all but texts is JSON in the file."""
    n_seen = model.n_seen_bars
    taken = {
        FEATURES: f"{FEATURES}: float32 [windows, {n_seen}, {N_FEATURES}], raw features; scaling is in the graph",
        OHLC: f"{OHLC}: float32 [1, {n_seen}, {N_PRICES}], open, high, low and close of the oldest bar first, above 0 "
        "and with low <= open, close <= high; features and scaling are in the graph, and in float64",
    }
    return {
        "producer": f"moola {__version__}",
        "model_sha256": sha256,
        "input": taken[takes],
        "feature_names": list(FEATURE_NAMES),
        "feature_version": FEATURE_VERSION,
        "feature_transform": list(RETURNS),
        "window_bars": model.window_bars,
        "visible_bars": n_seen,
        "inner_zone": list(inner_zone(model.window_bars)),
        "scaler": {
            "formula": "clip((x - center) / scale, -clip, clip)",
            "center": model.scaler.center.tolist(),
            "scale": model.scaler.scale.tolist(),
            "clip": float(model.scaler.clip),
        },
        "class_names": list(model.class_names),
        "class_prob": "calibrated probability of each class, in the order of class_names; sums to 1",
        **(DECODED if takes == OHLC and model.network.predict_pointers else {}),
        "pointer_prob": "[windows, bars, 2]: probability that the expansion starts, and ends, at each bar; sums to 1 "
        "over bars",
        "temperature": float(model.temperature),
        "mirror": "none" if model.mirror is None else model.mirror,
        "decoding": {
            "where": "in the graph" if takes == OHLC else "left to the user of the graph",
            "rule": "of all start <= end, the largest product of both curves' mass within tolerance_bars (plus "
            "peak_share of the bar's own) times length_weight[end - start]",
            "tolerance_bars": HIT_BARS,
            "peak_share": PEAK_SHARE,
            "length_weight": None if model.length_weight is None else model.length_weight.tolist(),
        },
        "pointer_threshold": model.pointer_threshold,
        "training": model.training,
    }


def largest_difference(model: ModelFile, content: bytes, takes: Taken = FEATURES) -> float | None:
    """Return how far onnxruntime is off the model on some made windows; None where it is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    if takes == OHLC:
        ohlc = checked_windows(2 * N_CHECKED, model.n_seen_bars)
        said = dict(zip(output_names(model, takes), run_onnx(content, ohlc.astype(np.float32)), strict=True))
        return furthest(model, said, predicted(model, ohlc))
    rng = generator(0, "export")
    wide = rng.normal(size=(N_CHECKED, model.n_seen_bars, N_FEATURES)) * 1.5
    features = (model.scaler.center + model.scaler.scale * wide).astype(np.float32)
    said = dict(zip(output_names(model, takes), run_onnx(content, features), strict=True))
    return furthest(model, said, _outputs(model, features.astype(np.float64)))


def predicted(model: ModelFile, ohlc: np.ndarray) -> dict[str, np.ndarray]:
    """Return what `predict` says of the prices `[windows, bars, 4]` that the model sees, by the outputs' names."""
    return _outputs(model, relative_features(ohlc))


def _outputs(model: ModelFile, features: np.ndarray) -> dict[str, np.ndarray]:
    logits, curves = read_windows_both_ways(model, features, torch.device("cpu"))
    class_prob = {CLASS_OUTPUT: calibrated(logits, model.temperature)}
    if curves is None:
        return class_prob
    pair, near = decode(curves, len(curves), model.length_weight)
    return class_prob | {PAIR_OUTPUT: pair, NEAR_OUTPUT: near, POINTER_OUTPUT: curves}


def furthest(model: ModelFile, said: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Return the largest difference of two predictions of the same windows, as a probability.

    Of two pairs of bars that are not the same, it is how much less likely the one is than the other by the model's own
    curves: where two pairs are as likely to the last digit, either is right.
    """
    off = [float(np.abs(said[name] - expected[name]).max()) for name in (CLASS_OUTPUT, POINTER_OUTPUT) if name in said]
    if PAIR_OUTPUT in said:
        pair, curves = np.rint(said[PAIR_OUTPUT]).astype(np.int64), expected[POINTER_OUTPUT]
        best, found = (_likeness(model, curves, one) for one in (expected[PAIR_OUTPUT], pair))
        near = np.stack([mass_near(curves[..., i], pair[:, i], HIT_BARS) for i in (0, 1)], axis=1)
        off += [float((best - found).max()), float(np.abs(said[NEAR_OUTPUT] - near).max())]
    return max(off)


def _likeness(model: ModelFile, curves: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Return what decoding compares of a pair a window; below 0 where it is no pair of bars."""
    rows, (start, end) = np.arange(len(pair)), pair.T
    is_pair = (start >= 0) & (start <= end) & (end < curves.shape[1])
    start, end = (np.where(is_pair, bar, 0) for bar in (start, end))
    around = [mass_around(curves[..., i], HIT_BARS) + PEAK_SHARE * curves[..., i] for i in (0, 1)]
    weight = 1.0 if model.length_weight is None else model.length_weight[end - start]
    return np.where(is_pair, around[0][rows, start] * around[1][rows, end] * weight, -1.0)


def run_onnx(content: bytes | Path, given: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of a graph for float32 windows, by onnxruntime on one thread of the CPU.

    A graph that takes one window at a time is given one after the other.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = str(content) if isinstance(content, Path) else content
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    [taken] = session.get_inputs()
    at_a_time = 1 if taken.shape[0] == 1 else max(len(given), 1)
    pieces = [session.run(None, {taken.name: given[i : i + at_a_time]}) for i in range(0, len(given), at_a_time)]
    return [np.concatenate(outputs) for outputs in zip(*pieces, strict=True)]
