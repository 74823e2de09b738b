"""`enhanced_simple_lstm`: encoder, mask token, heads for class and pointers, and their losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from moola.core.features import N_FEATURES, RobustScaler
from moola.core.seeds import derive_seed
from moola.models.heads import POINTERS, Heads, LinearHeads, Outputs, averaged
from moola.options.option_fields import HeadKind

# Encoders: scaled features of a window to one vector per bar.


@dataclass(frozen=True)
class EncoderArchitecture:
    """What rebuilds an encoder: its name in `ENCODERS` and its sizes."""

    name: str
    input_dim: int
    hidden_dim: int
    num_layers: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


RETURN_COLUMNS = slice(0, 4)
CLOSE_RETURN_COLUMN = 3


class WindowScale(nn.Module):
    """Put returns in units of the window's own volatility, and add the price path they make.

    Patterns are drawn in units of the market's pace, which changes with the hour and the news: a
    scaler fitted on all windows cannot follow that, the window itself can. The path is
    the running sum of close returns less its mean, over the spread that a random walk of this length
    has. Both come from what the encoder is shown, so that masked bars stay masked.
    """

    added_dim = 1

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Float[Tensor, "windows bars widened"]:
        """Return scaled features with one more column."""
        returns = features[..., RETURN_COLUMNS]
        pace = returns.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-6)
        returns = returns / pace
        # A running sum as a product: torch has no deterministic cumsum on GPUs.
        n_bars = features.shape[1]
        path = returns[..., CLOSE_RETURN_COLUMN] @ torch.ones(n_bars, n_bars, device=features.device).triu()
        path = (path - path.mean(dim=1, keepdim=True)) / math.sqrt(n_bars / 6)
        rest = features[..., RETURN_COLUMNS.stop :]
        return torch.cat([returns, rest, path[..., None]], dim=-1)


class BiLSTMEncoder(nn.Module):
    """Bidirectional LSTM (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005).

    Each bar's vector has `2 * hidden_dim` values: the past read forward, the rest read backward.
    """

    def __init__(self, architecture: EncoderArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.window_scale = WindowScale()
        self.lstm = nn.LSTM(
            architecture.input_dim + WindowScale.added_dim,
            architecture.hidden_dim,
            architecture.num_layers,
            batch_first=True,
            bidirectional=True,
        )
        self.output_dim = 2 * architecture.hidden_dim
        # How the LSTM multiplies while gradients are kept; never part of a file. Reading is always in float32.
        self.training_dtype = torch.float32

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Float[Tensor, "windows bars hidden"]:
        """Encode scaled features bar by bar."""
        widened = self.window_scale(features)
        is_low = torch.is_grad_enabled() and self.training_dtype != torch.float32
        with torch.autocast(features.device.type, dtype=torch.bfloat16, enabled=is_low):
            encoded: Tensor = self.lstm(widened)[0]
        return encoded.float()


ENCODERS: dict[str, Callable[[EncoderArchitecture], BiLSTMEncoder]] = {"bilstm": BiLSTMEncoder}


def build_encoder(architecture: EncoderArchitecture, seed: int) -> BiLSTMEncoder:
    """Build an encoder with weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "encoder"))
        return ENCODERS[architecture.name](architecture)


# Two encoders as one: each reads a window with its own scaler, and a bar's vectors lie one behind the other.


SIDE_BY_SIDE = "side_by_side"
MAX_ENCODERS = 2
# The scaler of a model whose encoders have their own: features pass as they are.
AS_THEY_ARE = RobustScaler(np.zeros(N_FEATURES), np.ones(N_FEATURES), 1e30)


@dataclass(frozen=True)
class PairArchitecture:
    """What rebuilds encoders side by side: the sizes of each."""

    parts: tuple[EncoderArchitecture, ...]

    @property
    def input_dim(self) -> int:
        """Features per bar."""
        return self.parts[0].input_dim

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return {"name": SIDE_BY_SIDE, "parts": [part.as_dict() for part in self.parts]}


class ScaledEncoder(nn.Module):
    """An encoder behind its scaler, which is part of its weights: unscaled features in."""

    def __init__(self, encoder: BiLSTMEncoder, scaler: RobustScaler) -> None:
        super().__init__()
        self.encoder = encoder
        self.center = nn.Buffer(torch.from_numpy(scaler.center).float())
        self.scale = nn.Buffer(torch.from_numpy(scaler.scale).float())
        self.clip = nn.Buffer(torch.tensor([scaler.clip]).float())

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Float[Tensor, "windows bars hidden"]:
        """Scale, clip and encode."""
        scaled = (features - self.center) / self.scale
        encoded: Tensor = self.encoder(torch.minimum(torch.maximum(scaled, -self.clip), self.clip))
        return encoded


class EncodersSideBySide(nn.Module):
    """Encoders that read the same unscaled features; a bar's vector is theirs in a row, in the order given."""

    def __init__(self, parts: Sequence[ScaledEncoder]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.architecture = PairArchitecture(tuple(part.encoder.architecture for part in parts))
        self.output_dim = sum(part.encoder.output_dim for part in parts)
        # As of one encoder; these are never trained.
        self.training_dtype = torch.float32

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Float[Tensor, "windows bars hidden"]:
        """Encode unscaled features bar by bar."""
        return torch.cat([part(features) for part in self.parts], dim=-1)


Encoder = BiLSTMEncoder | EncodersSideBySide


# A mask token before the encoder: what is hidden never gets in.


class MaskingEncoder(nn.Module):
    """A learnable token replaces the masked bars *before* the encoder (after He et al., CVPR 2022)."""

    def __init__(self, encoder: BiLSTMEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.mask_token = nn.Parameter(torch.zeros(encoder.architecture.input_dim))

    def forward(
        self, features: Float[Tensor, "windows bars features"], mask: Bool[Tensor, "windows bars"]
    ) -> Float[Tensor, "windows bars hidden"]:
        """Encode the bars that are not masked, with the token in place of the others."""
        encoded: Tensor = self.encoder(torch.where(mask[..., None], self.mask_token, features))
        return encoded


class EnhancedSimpleLSTM(nn.Module):
    """The network of `train --model enhanced_simple_lstm`: one encoder, and heads that are averaged.

    Several heads differ in their first weights and their dropout; their mean is steadier than each
    (Lakshminarayanan et al., NeurIPS 2017), and costs one encoder all the same.
    """

    def __init__(self, encoder: Encoder, heads: Sequence[Heads | LinearHeads]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.predict_pointers = heads[0].pointer_head is not None

    def forward(self, features: Float[Tensor, "windows bars features"]) -> Outputs:
        """Return the heads' mean: of class logits, and of pointer curves as logarithms of probabilities."""
        return averaged(self.each(self.encoder(features)))

    def each(self, encoded: Float[Tensor, "windows bars hidden"]) -> list[Outputs]:
        """Return every head's output."""
        return [head(encoded) for head in self.heads]

    @property
    def head_kind(self) -> HeadKind:
        """Kind of the heads: with a hidden layer, or linear in the encoder's vectors."""
        return "linear" if isinstance(self.heads[0], LinearHeads) else "mlp"

    def both_ways(
        self,
        features: Float[Tensor, "windows bars features"],
        turned: Float[Tensor, "windows bars features"],
        class_mirror: list[int],
    ) -> Outputs:
        """Read windows and their price mirrors at once with linear heads, as they were fitted."""
        head = self.heads[0]
        assert isinstance(head, LinearHeads)
        return head.both_ways(self.encoder(features), self.encoder(turned), class_mirror)


def build_network(
    encoder: Encoder,
    n_classes: int,
    predict_pointers: bool,
    dropout: float,
    seed: int,
    n_heads: int = 1,
    head_kind: HeadKind = "mlp",
) -> EnhancedSimpleLSTM:
    """Put fresh heads, with weights that the seed alone decides, on an encoder.

    The first head of several is the one that a network of one head has. Linear heads are one, and all zeros until
    they are fitted.
    """
    if head_kind == "linear":
        return EnhancedSimpleLSTM(encoder, [LinearHeads(encoder.output_dim, n_classes, predict_pointers)])
    heads = []
    with torch.random.fork_rng(devices=[]):
        for number in range(n_heads):
            torch.manual_seed(derive_seed(seed, "heads") if number == 0 else derive_seed(seed, "heads", number))
            heads.append(Heads(encoder.output_dim, n_classes, predict_pointers, dropout))
    return EnhancedSimpleLSTM(encoder, heads)


NETWORKS = {"enhanced_simple_lstm": build_network}


# Losses: each divided by what an uninformed predictor gets, so that 1 means "learned nothing".


def class_loss(
    class_logits: Float[Tensor, "windows classes"], class_index: Int[Tensor, " windows"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross-entropy over ln(number of classes), with label smoothing (Szegedy et al. 2016); 1 at a uniform guess."""
    loss = functional.cross_entropy(class_logits, class_index, label_smoothing=smoothing)
    return loss / math.log(max(class_logits.shape[1], 2))


def soft_class_loss(
    class_logits: Float[Tensor, "windows classes"],
    class_prob: Float[Tensor, "windows classes"],
    weight: Float[Tensor, " windows"],
) -> Float[Tensor, ""]:
    """Weighted cross-entropy against probabilities (Hinton et al. 2015) over ln(number of classes)."""
    by_window = -(class_prob * torch.log_softmax(class_logits, dim=1)).sum(dim=1)
    return (weight * by_window).mean() / math.log(max(class_logits.shape[1], 2))


def pointer_loss(
    pointer_logits: Float[Tensor, "windows bars 2"], curves: Float[Tensor, "windows bars 2"]
) -> Float[Tensor, ""]:
    """Cross-entropy between soft pointer curves and the softmax over bars, over ln(bars).

    Windows without pointers (curves of zeros) count for nothing; 0 when no window has any.
    """
    log_prob = torch.log_softmax(pointer_logits, dim=1)
    by_window = -(curves * log_prob).sum(dim=1).sum(dim=1) / len(POINTERS)
    n_with = (curves.sum(dim=(1, 2)) > 0).sum().clamp(min=1)
    return by_window.sum() / n_with / math.log(pointer_logits.shape[1])


def masked_loss(
    reconstructed: Float[Tensor, "windows bars features"],
    features: Float[Tensor, "windows bars features"],
    mask: Bool[Tensor, "windows bars"],
) -> Float[Tensor, ""]:
    """Mean squared error on the masked bars alone."""
    error = (reconstructed - features).square().mean(dim=-1)
    return (error * mask).sum() / mask.sum().clamp(min=1)
