"""Encoders: scaled features of a window to one vector a bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moola.core.seeds import derive_seed


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
