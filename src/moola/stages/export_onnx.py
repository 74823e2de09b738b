"""Stage `export`: a model file as one ONNX graph, from raw features to calibrated probabilities."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moola import __version__
from moola.core.features import (
    FEATURE_NAMES,
    FEATURE_VERSION,
    MIRRORED_FROM,
    MIRRORED_SIGN,
    N_FEATURES,
    ZSCORE_BARS,
    ZSCORE_CLIP,
)
from moola.core.seeds import generator
from moola.core.windows import inner_zone
from moola.errors import OperationFailed, WrongUsage
from moola.evaluation.calibration import calibrated
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.files import sha256_file, write_atomic
from moola.fit.predicting import PEAK_SHARE, read_windows_both_ways
from moola.models.heads import Outputs
from moola.models.model_files import ModelFile, read_model
from moola.options.training_options import ExportOptions

OPSET = 17
INPUT, CLASS_OUTPUT, POINTER_OUTPUT = "features", "class_prob", "pointer_prob"
TOLERANCE = 1e-5
N_CHECKED = 8
RETURNS = (
    "log_return_<kind>: ln(p_t / p_(t-1)) of the same price kind, 0 at the window's first bar",
    "body_ratio, upper_wick_ratio, lower_wick_ratio: |close - open|, high - max(open, close) and min(open, close) - "
    "low over high - low, 0 on a bar without range",
    f"zscore_<kind>: (p_t - mean) / population std over the last {ZSCORE_BARS} bars including t (all so far before "
    f"there are as many), 0 where the std is 0, clipped to +-{ZSCORE_CLIP:g}",
)


class PredictionGraph(nn.Module):
    """Everything that `predict` does to the features of a window: scale, read, turn upside down, average, calibrate."""

    def __init__(self, model: ModelFile) -> None:
        super().__init__()
        self.network = model.network.cpu().float().eval()
        self.temperature, self.clip = float(model.temperature), float(model.scaler.clip)
        self.center = nn.Buffer(torch.from_numpy(model.scaler.center).float())
        self.scale = nn.Buffer(torch.from_numpy(model.scaler.scale).float())
        self.turned_from = nn.Buffer(torch.tensor(MIRRORED_FROM))
        self.turned_sign = nn.Buffer(torch.tensor(MIRRORED_SIGN).float())
        self.mirror = None if model.mirror is None else nn.Buffer(torch.tensor(model.mirror))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return calibrated class probabilities, and pointer curves where the network has pointer heads."""
        turned = features.index_select(2, self.turned_from) * self.turned_sign
        if self.mirror is not None and self.network.head_kind == "linear":
            logits, curves = _curved(
                self.network.both_ways(self._scaled(features), self._scaled(turned), self.mirror.tolist())
            )
        else:
            logits, curves = self._read(features)
        if self.mirror is not None and self.network.head_kind == "mlp":
            logits_turned, curves_turned = self._read(turned)
            logits = (logits + logits_turned.index_select(1, self.mirror)) / 2
            if curves is not None and curves_turned is not None:
                curves = (curves + curves_turned) / 2
        class_prob = torch.softmax(logits / self.temperature, dim=1)
        return (class_prob,) if curves is None else (class_prob, curves)

    def _read(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        return _curved(self.network(self._scaled(features)))

    def _scaled(self, features: Tensor) -> Tensor:
        return ((features - self.center) / self.scale).clamp(-self.clip, self.clip)


def _curved(outputs: Outputs) -> tuple[Tensor, Tensor | None]:
    pointers = outputs.pointer_logits
    return outputs.class_logits, None if pointers is None else torch.softmax(pointers, dim=1)


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
    require_onnx()
    model = read_model(options.model)
    content = onnx_bytes(model, metadata(model, sha256_file(options.model)))
    off = largest_difference(model, content)
    if off is not None and off > TOLERANCE:
        raise OperationFailed(
            f"the graph must predict what the model predicts to {TOLERANCE:g}, but its probabilities are {off:.1g} off "
            f"({options.model}). Report it; nothing was written."
        )
    write_atomic(options.output, content)
    return {
        "output": str(options.output),
        "size_bytes": len(content),
        "input": {INPUT: ["windows", model.n_seen_bars, N_FEATURES]},
        "outputs": [CLASS_OUTPUT, *([POINTER_OUTPUT] if model.network.predict_pointers else [])],
        "class_names": list(model.class_names),
        "largest_difference": off,
    }


def require_onnx() -> None:
    """State how to install what the export needs, where it is missing."""
    if importlib.util.find_spec("onnx") is None:
        raise OperationFailed(
            "export must have the package onnx, but it is not installed. Install the extra: pip install 'moola[onnx]'."
        )


def onnx_bytes(model: ModelFile, described: dict[str, Any]) -> bytes:
    """Return the graph as bytes, the same each time, for any number of windows at once."""
    import onnx

    names = [CLASS_OUTPUT, *([POINTER_OUTPUT] if model.network.predict_pointers else [])]
    with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.onnx"
        # The exporter that traces is told to go some day; the other needs a package more and twenty times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PredictionGraph(model),
            (torch.zeros(2, model.n_seen_bars, N_FEATURES),),
            traced,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes={name: {0: "windows"} for name in (INPUT, *names)},
        )
        graph = onnx.load(traced)
    onnx.helper.set_model_props(graph, {name: _text(value) for name, value in described.items()})
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString(deterministic=True))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def metadata(model: ModelFile, sha256: str) -> dict[str, Any]:
    """Return what a user of the graph must know; all but texts is JSON in the file."""
    n_seen = model.n_seen_bars
    return {
        "producer": f"moola {__version__}",
        "model_sha256": sha256,
        "input": f"{INPUT}: float32 [windows, {n_seen}, {N_FEATURES}], raw features; scaling is in the graph",
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
        "pointer_prob": "[windows, bars, 2]: probability that the expansion starts, and ends, at each bar; sums to 1 "
        "over bars",
        "temperature": float(model.temperature),
        "mirror": "none" if model.mirror is None else model.mirror,
        "decoding": {
            "rule": "of all start <= end, the largest product of both curves' mass within tolerance_bars (plus "
            "peak_share of the bar's own) times length_weight[end - start]",
            "tolerance_bars": HIT_BARS,
            "peak_share": PEAK_SHARE,
            "length_weight": None if model.length_weight is None else model.length_weight.tolist(),
        },
        "pointer_threshold": model.pointer_threshold,
        "training": model.training,
    }


def largest_difference(model: ModelFile, content: bytes) -> float | None:
    """Return how far onnxruntime is off the model on some made windows; None where it is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    rng = generator(0, "export")
    wide = rng.normal(size=(N_CHECKED, model.n_seen_bars, N_FEATURES)) * 1.5
    features = (model.scaler.center + model.scaler.scale * wide).astype(np.float32)
    said = run_onnx(content, features)
    logits, curves = read_windows_both_ways(model, features.astype(np.float64), torch.device("cpu"))
    expected = [calibrated(logits, model.temperature), *([curves] if curves is not None else [])]
    return max(float(np.abs(one - other).max()) for one, other in zip(said, expected, strict=True))


def run_onnx(content: bytes | Path, features: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of a graph for float32 features, by onnxruntime on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = str(content) if isinstance(content, Path) else content
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {INPUT: features})]
