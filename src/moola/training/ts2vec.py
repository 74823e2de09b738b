"""Arm `ts2vec`: separates bars and windows across two crops, softly where they are near in time."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from moola.models.network import BiLSTMEncoder
from moola.training.pretext_tasks import Arm, ArmSettings, Sizes, View, Windows

# The pace by which the encoder scales returns is measured in what it is shown: a few bars do not tell it.
MIN_SHARED = 0.25
HIDDEN_SHARE = 0.5
# Weight of another window in the same place, beside 1 for the same window in the other crop.
MOST_OF_ANOTHER = 0.5
INSTANCE_SHARE = 0.5


class Ts2VecArm(Arm):
    """Contrast two overlapping crops of each window, over bars and over windows, at ever coarser scales.

    Each crop is encoded in its own context and with bars of its own hidden. On the bars that the crops share,
    the vector of a bar must be that of the same bar in the other crop rather than that of another bar
    (temporal) or of another window (instance); then neighbours are max-pooled and so on up to the window.
    Bars near each other and windows that overlap are no plain negatives: they count as positives in part.
    """

    contrasts_windows = True
    source = "Yue et al., AAAI 2022 (TS2Vec); Lee et al., ICLR 2024 (SoftCLT)"

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        self.settings = ArmSettings()

    def prepare(self, encoder: BiLSTMEncoder, settings: ArmSettings) -> None:
        """Take how soft the contrast is."""
        self.settings = settings

    def draw(self, n_windows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw two crops of each window and their hidden bars.

        Returns
        -------
        `first` and `second`: bar numbers `(windows, bars of the crop)`, the first's last bars being the second's
        first ones; `n_shared`: how many; `hidden`: `(2, windows, bars)`.
        """
        n_bars = self.sizes.window_bars
        first, second, n_shared = draw_crops(n_windows, n_bars, rng)
        hidden = rng.random((2, n_windows, n_bars)) < HIDDEN_SHARE
        return {"first": first, "second": second, "n_shared": np.array(n_shared), "hidden": hidden}

    def targets(self, windows: Windows, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what was drawn, and `near` `(windows, windows)`: how near in time the windows are."""
        n_bars = windows.features.shape[1]
        near = nearness(windows.position, n_bars, self.settings.soft_tau_windows, windows.flipped)
        return {**drawn, "near": near}

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Contrastive loss over that of a uniform guess among all candidates."""
        n_shared = int(targets["n_shared"])
        first, second = (
            view.encode(_crop(view.features, targets["hidden"][number], targets[name]))
            for number, name in enumerate(("first", "second"))
        )
        return contrast(first[:, -n_shared:], second[:, :n_shared], targets["near"], self.settings.soft_tau)


def draw_crops(n_windows: int, n_bars: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw two overlapping crops, of the same lengths for all windows of a batch and placed again in each.

    Returns
    -------
    Bar numbers of the first crop and of the second, `(windows, bars of the crop)`, and how many bars they share:
    at least 2 and a quarter of the window, up to all of it. The first ends where the shared bars end, the second
    begins where they begin.
    """
    n_shared = int(rng.integers(min(max(math.ceil(MIN_SHARED * n_bars), 2), n_bars), n_bars + 1))
    left = int(rng.integers(n_bars - n_shared + 1))
    right = left + n_shared
    first_left, second_right = int(rng.integers(left + 1)), int(rng.integers(right, n_bars + 1))
    shift = rng.integers(-first_left, n_bars - second_right + 1, n_windows)[:, None]
    return shift + np.arange(first_left, right), shift + np.arange(left, second_right), n_shared


def _crop(
    features: Float[Tensor, "windows bars features"],
    hidden: Bool[Tensor, "windows bars"],
    bars: Int[Tensor, "windows cropped"],
) -> Float[Tensor, "windows cropped features"]:
    """Take some bars of each window; hidden ones are zeros, each scaled feature's median."""
    shown = features.masked_fill(hidden[..., None], 0.0)
    return shown[torch.arange(len(bars), device=bars.device)[:, None], bars]


def nearness(
    position: Int[np.ndarray, " windows"],
    window_bars: int,
    tau: float,
    flipped: Bool[np.ndarray, " windows"] | None = None,
) -> Float[np.ndarray, "windows windows"]:
    """State how far each window is a positive of each other: sigmoid of the distance in time, in window lengths.

    `MOST_OF_ANOTHER` in the same place, next to nothing beyond a window's length, 1 for a window and itself; 0
    where one of the two is shown upside down, for then it is another move.
    """
    distance = np.abs(position[:, None] - position[None, :]) / window_bars
    # At most as much as overflows no exponential.
    near = MOST_OF_ANOTHER * 2 / (1 + np.exp(np.minimum(tau * distance, 80.0)))
    if flipped is not None:
        near = near * (flipped[:, None] == flipped[None, :])
    np.fill_diagonal(near, 1.0)
    return near.astype(np.float32)


def contrast(
    first: Float[Tensor, "windows bars hidden"],
    second: Float[Tensor, "windows bars hidden"],
    near: Float[Tensor, "windows windows"],
    tau: float,
) -> Float[Tensor, ""]:
    """Return the soft contrastive loss over all scales, over that of a uniform guess among all candidates.

    Parameters
    ----------
    near
        How far each window is a positive of each other.
    tau
        How fast the weight of another bar falls with its distance in bars, whatever the scale.

    Notes
    -----
    SoftCLT's weights are made to sum to 1 at each anchor, so that a uniform guess loses the logarithm of the
    number of candidates. One window alone has nothing to be told from: only bars are contrasted then. The
    loss of a perfect guess is not 0 but the entropy of the weights.
    """
    n_windows, bars_each = len(first), 1
    total, blind = first.new_zeros(()), 0.0
    while True:
        n_steps = first.shape[1]
        if n_windows > 1:
            total = total + INSTANCE_SHARE * _soft_loss(first.transpose(0, 1), second.transpose(0, 1), near)
            blind += INSTANCE_SHARE * math.log(2 * n_windows - 1)
        if n_steps == 1:
            break
        steps = torch.arange(n_steps, device=first.device, dtype=first.dtype) * bars_each
        by_step = 2 * torch.sigmoid(-tau * (steps[:, None] - steps[None, :]).abs())
        total = total + (1 - INSTANCE_SHARE) * _soft_loss(first, second, by_step)
        blind += (1 - INSTANCE_SHARE) * math.log(2 * n_steps - 1)
        first, second, bars_each = _pooled(first), _pooled(second), 2 * bars_each
    return total / blind


def _pooled(vectors: Float[Tensor, "windows bars hidden"]) -> Float[Tensor, "windows half hidden"]:
    """Take the larger of each two neighbours; a last one without a neighbour falls away, as in TS2Vec."""
    return functional.max_pool1d(vectors.transpose(1, 2), kernel_size=2).transpose(1, 2)


def _soft_loss(
    first: Float[Tensor, "groups each hidden"],
    second: Float[Tensor, "groups each hidden"],
    weights: Float[Tensor, "each each"],
) -> Float[Tensor, ""]:
    """Cross-entropy of each vector's guess at its counterpart among the others of both crops in its group."""
    both = torch.cat([first, second], dim=1)
    itself = torch.eye(both.shape[1], dtype=torch.bool, device=both.device)
    wanted = weights.repeat(2, 2).masked_fill(itself, 0.0)
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    likeness = both @ both.transpose(1, 2)
    all_told = likeness.masked_fill(itself, -math.inf).logsumexp(dim=2)
    return (all_told - (wanted * likeness).sum(dim=2)).mean()
