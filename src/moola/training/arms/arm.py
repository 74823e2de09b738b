"""What an arm is: targets from windows without labels, and a loss on what the encoder says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moola.errors import InvalidData
from moola.models.encoder import BiLSTMEncoder
from moola.models.masking import MaskingEncoder


@dataclass(frozen=True)
class Windows:
    """A batch before the encoder sees it.

    Attributes
    ----------
    features
        Scaled features `(windows, bars, 11)`.
    ohlc
        Prices `(windows, bars, 4)`; `None` where a relative file carries none.
    position
        Place in time of each window's first bar, counted in bars.
    flipped
        Which windows are shown upside down; `None` where none is.
    """

    features: Float[np.ndarray, "windows bars features"]
    ohlc: Float[np.ndarray, "windows bars 4"] | None
    position: Int[np.ndarray, " windows"]
    flipped: Bool[np.ndarray, " windows"] | None = None

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class View:
    """A batch as the encoder sees it.

    Attributes
    ----------
    features
        Scaled features as they are.
    mask
        Which bars are hidden from the encoder; all False where nothing is hidden.
    masking
        The encoder behind its mask token.
    """

    features: Float[Tensor, "windows bars features"]
    mask: Bool[Tensor, "windows bars"]
    masking: MaskingEncoder

    @cached_property
    def encoded(self) -> Float[Tensor, "windows bars hidden"]:
        """The encoder's vectors of the visible features; one pass, made by the first arm that asks."""
        encoded: Tensor = self.masking(self.features, self.mask)
        return encoded

    @property
    def encode(self) -> BiLSTMEncoder:
        """The encoder itself, for arms that look at something else or look again."""
        return self.masking.encoder


@dataclass(frozen=True)
class Sizes:
    """What an arm's head is built for."""

    n_features: int
    window_bars: int
    encoded_dim: int


@dataclass(frozen=True)
class ArmSettings:
    """What options say to arms.

    Attributes
    ----------
    soft_tau
        Arm `ts2vec`: how fast the weight of another bar falls with its distance in bars.
    soft_tau_windows
        Arm `ts2vec`: how fast the weight of another window falls with its distance in window lengths.
    """

    soft_tau: float = 1.5
    soft_tau_windows: float = 5.0


class Arm(nn.Module):
    """One pretext task: `prepare` and `fit` once, then `draw`, `targets` and `loss` a batch.

    Losses are 1 for whoever knows nothing of the window, so that arms can be added up.
    """

    needs_prices: ClassVar[bool] = False
    # Told from the other windows of the batch: a batch of neighbours is another task than one from all over.
    contrasts_windows: ClassVar[bool] = False
    source: ClassVar[str] = ""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__()
        self.sizes, self.seed = sizes, seed

    def prepare(self, encoder: BiLSTMEncoder, settings: ArmSettings) -> None:
        """Take what an arm needs beside its sizes, once: a copy of the untrained encoder, settings."""

    def fit(self, windows: Windows) -> None:
        """Learn the scale of the targets from training windows, once."""

    def draw(self, n_windows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw what the targets of a batch leave to chance, batch after batch."""
        return {}

    def targets(self, windows: Windows, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Say what is to be predicted of a batch; hangs on no weights and no other batch, so any thread may ask."""
        return {}

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Say how far the encoder's vectors are from telling the targets."""
        raise NotImplementedError


def prices_of(windows: Windows) -> Float[np.ndarray, "windows bars 4"]:
    """Return the prices that an arm reads, or say which file lacks them."""
    if windows.ohlc is None:
        raise InvalidData(
            "arms that read prices must have the bars of the windows, but this relative file carries features alone. "
            "Convert the 4-D file anew with `moola convert`, or give --arms masked."
        )
    return windows.ohlc
