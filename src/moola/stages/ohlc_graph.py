"""A model as a graph from raw prices to class and pointers: features, scaling, calibration and decoding inside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from moola.core.features import MIRRORED_FROM, MIRRORED_SIGN, ZSCORE_BARS, ZSCORE_CLIP
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.fit.predicting import PEAK_SHARE
from moola.models.heads import Outputs
from moola.models.linear_heads import LinearHeads, outputs_of
from moola.models.model_files import ModelFile


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
