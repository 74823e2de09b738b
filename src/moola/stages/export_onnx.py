"""Stage `export`: a model file as one ONNX graph, from raw features or prices to calibrated probabilities, compared
with the model."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from moola import __version__
from moola.core.expansions import mass_around, mass_near
from moola.core.features import (
    FEATURE_NAMES,
    FEATURE_VERSION,
    MIRRORED_FROM,
    MIRRORED_SIGN,
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
from moola.models.heads import LinearHeads, Outputs, outputs_of
from moola.models.model_files import ModelFile, read_model
from moola.options.training_options import ExportOptions


class PredictionGraph(nn.Module):
    """Everything that `predict` does to the features of a window: scale, read, turn upside down, average, calibrate.

    Scaling and softmax are in float64, as there, and the network is in float32, but for the sums of linear heads over
    all pairs of bars: platforms add them up in another order, which would cost the sixth digit.
    """

    def __init__(self, model: ModelFile) -> None:
        super().__init__()
        self.network = model.network.cpu().float().eval()
        self.temperature, self.clip = float(model.temperature), float(model.scaler.clip)
        self.center = nn.Buffer(torch.from_numpy(model.scaler.center.astype(np.float64)))
        self.scale = nn.Buffer(torch.from_numpy(model.scaler.scale.astype(np.float64)))
        self.turned_from = nn.Buffer(torch.tensor(MIRRORED_FROM))
        self.turned_sign = nn.Buffer(torch.tensor(MIRRORED_SIGN).double())
        self.mirror = None if model.mirror is None else nn.Buffer(torch.tensor(model.mirror))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return calibrated class probabilities, and pointer curves where the network has pointer heads."""
        return tuple(output.float() for output in self.read(features.double()))

    def read(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return the same for features in float64, in float64."""
        turned = None if self.mirror is None else features.index_select(2, self.turned_from) * self.turned_sign
        if self.network.head_kind == "mlp":
            logits, curves = self._by_layers(features, turned)
        else:
            logits, curves = self._by_linear_heads(features, turned)
        class_prob = torch.softmax(logits / self.temperature, dim=1)
        return (class_prob,) if curves is None else (class_prob, curves)

    def _by_layers(self, features: Tensor, turned: Tensor | None) -> tuple[Tensor, Tensor | None]:
        logits, curves = _curved(self.network(self._scaled(features)))
        if turned is None or self.mirror is None:
            return logits, curves
        logits_turned, curves_turned = _curved(self.network(self._scaled(turned)))
        logits = (logits + logits_turned.index_select(1, self.mirror)) / 2
        return logits, None if curves is None or curves_turned is None else (curves + curves_turned) / 2

    def _by_linear_heads(self, features: Tensor, turned: Tensor | None) -> tuple[Tensor, Tensor | None]:
        head = self.network.heads[0]
        assert isinstance(head, LinearHeads)
        vectors = self.network.encoder(self._scaled(features))
        if turned is None or self.mirror is None:
            logits = None if head.pointer_head is None else head.pointer_head(vectors)
            scores = head.scores(vectors)
        else:
            mirrored = self.network.encoder(self._scaled(turned))
            scores, logits = head.scores_both_ways(vectors, mirrored, self.mirror.tolist())
        return _curved(outputs_of([one.double() for one in scores], None if logits is None else logits.double()))

    def _scaled(self, features: Tensor) -> Tensor:
        return ((features - self.center) / self.scale).clamp(-self.clip, self.clip).float()


def _curved(outputs: Outputs) -> tuple[Tensor, Tensor | None]:
    pointers = outputs.pointer_logits
    return outputs.class_logits.double(), None if pointers is None else torch.softmax(pointers.double(), dim=1)


class FeatureGraph(nn.Module):
    """`relative_features` in operations that a graph has, in float64 (specification 3)."""

    def __init__(self, n_bars: int) -> None:
        super().__init__()
        bars = np.arange(n_bars)
        behind = bars[:, None] - np.arange(ZSCORE_BARS)[None, :]
        self.n_bars = n_bars
        self.last = nn.Buffer(torch.from_numpy(behind.clip(min=0).ravel()))
        self.is_there = nn.Buffer(torch.from_numpy((behind >= 0).astype(np.float64))[None, :, :, None])
        self.count = nn.Buffer(torch.from_numpy(np.minimum(bars + 1, ZSCORE_BARS).astype(np.float64))[None, :, None])

    def forward(self, ohlc: Tensor) -> Tensor:
        """Return the eleven features `[1, bars, 11]` of prices `[1, bars, 4]` in float64."""
        returns = torch.log(ohlc[:, 1:] / ohlc[:, :-1])
        first = torch.zeros(1, 1, 4, dtype=torch.float64)
        return torch.cat([torch.cat([first, returns], dim=1), self._ratios(ohlc), self._zscores(ohlc)], dim=2)

    @staticmethod
    def _ratios(ohlc: Tensor) -> Tensor:
        open_, high, low, close = (ohlc[:, :, kind : kind + 1] for kind in range(4))
        span = high - low
        parts = [torch.abs(close - open_), high - torch.maximum(open_, close), torch.minimum(open_, close) - low]
        has_range = span > 0
        ratios = torch.cat(parts, dim=2) / torch.where(has_range, span, torch.ones_like(span))
        return torch.where(has_range, ratios, torch.zeros_like(ratios))

    def _zscores(self, ohlc: Tensor) -> Tensor:
        # Differences to one price among the 20: equal prices give exactly 0, and large ones lose no digits.
        behind = ohlc.index_select(1, self.last).reshape(1, self.n_bars, ZSCORE_BARS, 4)
        apart = (behind - ohlc[:, :, None, :]) * self.is_there
        mean = apart.sum(dim=2) / self.count
        variance = (apart * apart).sum(dim=2) / self.count - mean * mean
        varies = variance > 0
        std = torch.sqrt(torch.where(varies, variance, torch.ones_like(variance)))
        zscore = torch.where(varies, -mean / std, torch.zeros_like(mean))
        return zscore.clamp(-ZSCORE_CLIP, ZSCORE_CLIP)


class DecodedPair(nn.Module):
    """The pair start <= end that `predict` reports, and the probability that each is within 3 bars."""

    def __init__(self, n_bars: int, length_weight: np.ndarray | None) -> None:
        super().__init__()
        bars = np.arange(n_bars)
        # A row per end and a column per start: the first of equal pairs has the earliest end, then the earliest start.
        length = bars[:, None] - bars[None, :]
        weight = np.ones(n_bars) if length_weight is None else length_weight[:n_bars]
        self.n_bars = n_bars
        self.weight = nn.Buffer(torch.from_numpy(np.where(length >= 0, weight[length.clip(min=0)], 0.0)))
        self.first = nn.Buffer(torch.from_numpy(np.maximum(bars - HIT_BARS, 0)))
        self.behind = nn.Buffer(torch.from_numpy(np.minimum(bars + HIT_BARS + 1, n_bars)))
        self.bars = nn.Buffer(torch.from_numpy(bars))

    def forward(self, curves: Tensor) -> tuple[Tensor, Tensor]:
        """Return bars `[1, 2]` (int64) and probabilities `[1, 2]` of curves `[1, bars, 2]`."""
        sums = torch.cat([torch.zeros(1, 1, 2, dtype=torch.float64), torch.cumsum(curves, dim=1)], dim=1)
        mass = (sums.index_select(1, self.behind) - sums.index_select(1, self.first)).clamp(0.0, 1.0)
        around = mass + PEAK_SHARE * curves
        product = around[:, None, :, 0] * around[:, :, None, 1] * self.weight
        best = product.reshape(1, self.n_bars * self.n_bars).argmax(dim=1)
        end = torch.div(best, self.n_bars, rounding_mode="floor")
        pair = torch.stack([best - end * self.n_bars, end], dim=1)
        is_near = torch.abs(self.bars[None, :, None] - pair[:, None, :]) <= HIT_BARS
        return pair, (curves * is_near.double()).sum(dim=1).clamp(max=1.0)


class OhlcGraph(nn.Module):
    """Raw prices of one window in; class probabilities, decoded pointers, their probabilities and curves out."""

    def __init__(self, model: ModelFile) -> None:
        super().__init__()
        self.features = FeatureGraph(model.n_seen_bars)
        self.prediction = PredictionGraph(model)
        self.decoded = DecodedPair(model.n_seen_bars, model.length_weight)

    def forward(self, ohlc: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs in float32, bars too: MetaTrader's arrays are then of one type."""
        class_prob, *curves = self.prediction.read(self.features(ohlc.double()))
        if not curves:
            return (class_prob.float(),)
        pair, near = self.decoded(curves[0])
        return tuple(output.float() for output in (class_prob, pair, near, curves[0]))


def checked_windows(n: int, window_bars: int, seed: int = 0) -> Float[np.ndarray, "windows bars 4"]:
    """Return valid windows of open, high, low and close that float32 holds exactly, as float64.

    The kinds take turns: a random walk of any price and volatility, one on a coarse grid of ticks, one without ranges,
    one price throughout, one price but for the smallest step of float32, jumps by factors, flat stretches between
    moves, and bars whose body is their whole range.
    """
    rng = generator(seed, "checked windows")
    made = [KINDS[number % len(KINDS)](rng, window_bars) for number in range(n)]
    return np.stack(made).astype(np.float32).astype(np.float64) if made else np.zeros((0, window_bars, 4))


def _walk(rng: np.random.Generator, n_bars: int, step: np.ndarray | None = None, wick: float = 1.0) -> np.ndarray:
    """Return bars of a random walk; `wick` scales how far high and low lie outside the body."""
    volatility = 10.0 ** rng.uniform(-5, -1.5)
    step = rng.normal(0, volatility, n_bars) if step is None else step
    close = 10.0 ** rng.uniform(-4, 6) * np.exp(np.cumsum(step))
    open_ = np.concatenate([close[:1], close[:-1]])
    wicks = np.exp(np.abs(rng.normal(0, volatility, (2, n_bars))) * wick)
    return np.stack([open_, np.maximum(open_, close) * wicks[0], np.minimum(open_, close) / wicks[1], close], axis=1)


def _on_ticks(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    bars = _walk(rng, n_bars)
    tick = bars[0, 0] * 10.0 ** rng.uniform(-4, -2)
    return np.maximum(np.round(bars / tick), 1) * tick


def _without_ranges(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    return np.repeat(_walk(rng, n_bars)[:, 3:], 4, axis=1)


def _one_price(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    return np.full((n_bars, 4), 10.0 ** rng.uniform(-4, 6))


def _smallest_step(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    bars = _one_price(rng, n_bars).astype(np.float32)
    place = rng.integers(n_bars)
    bars[place:] = np.nextafter(bars[place:], np.float32(np.inf))
    return bars


def _jumps(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    step = np.where(rng.random(n_bars) < 0.05, rng.normal(0, 1.5, n_bars), rng.normal(0, 1e-3, n_bars))
    return _walk(rng, n_bars, step)


def _flat_stretches(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    moves = np.repeat(rng.random(-(-n_bars // 7)) < 0.4, 7)[:n_bars]
    return _walk(rng, n_bars, np.where(moves, rng.normal(0, 2e-3, n_bars), 0.0), wick=float(rng.integers(2)))


def _whole_bodies(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    return _walk(rng, n_bars, wick=0.0)


KINDS = (_walk, _on_ticks, _without_ranges, _one_price, _smallest_step, _jumps, _flat_stretches, _whole_bodies)


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
        # The exporter that traces is deprecated; the other needs a package more and twenty times as long.
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
        outputs = dict(zip(output_names(model, takes), run_onnx(content, ohlc.astype(np.float32)), strict=True))
        return furthest(model, outputs, predicted(model, ohlc))
    rng = generator(0, "export")
    wide = rng.normal(size=(N_CHECKED, model.n_seen_bars, N_FEATURES)) * 1.5
    features = (model.scaler.center + model.scaler.scale * wide).astype(np.float32)
    outputs = dict(zip(output_names(model, takes), run_onnx(content, features), strict=True))
    return furthest(model, outputs, _outputs(model, features.astype(np.float64)))


def predicted(model: ModelFile, ohlc: np.ndarray) -> dict[str, np.ndarray]:
    """Return what `predict` gives for the prices `[windows, bars, 4]` that the model sees, by the outputs' names."""
    return _outputs(model, relative_features(ohlc))


def _outputs(model: ModelFile, features: np.ndarray) -> dict[str, np.ndarray]:
    logits, curves = read_windows_both_ways(model, features, torch.device("cpu"))
    class_prob = {CLASS_OUTPUT: calibrated(logits, model.temperature)}
    if curves is None:
        return class_prob
    pair, near = decode(curves, len(curves), model.length_weight)
    return class_prob | {PAIR_OUTPUT: pair, NEAR_OUTPUT: near, POINTER_OUTPUT: curves}


def furthest(model: ModelFile, outputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Return the largest difference of two predictions of the same windows, as a probability.

    Of two pairs of bars that are not the same, it is how much less likely the one is than the other by the model's own
    curves: where two pairs are as likely to the last digit, either is right.
    """
    off = [
        float(np.abs(outputs[name] - expected[name]).max())
        for name in (CLASS_OUTPUT, POINTER_OUTPUT)
        if name in outputs
    ]
    if PAIR_OUTPUT in outputs:
        pair, curves = np.rint(outputs[PAIR_OUTPUT]).astype(np.int64), expected[POINTER_OUTPUT]
        best, found = (_likeness(model, curves, one) for one in (expected[PAIR_OUTPUT], pair))
        near = np.stack([mass_near(curves[..., i], pair[:, i], HIT_BARS) for i in (0, 1)], axis=1)
        off += [float((best - found).max()), float(np.abs(outputs[NEAR_OUTPUT] - near).max())]
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
