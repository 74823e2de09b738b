"""Pretext tasks of pretraining: hidden bars (`masked`), a teacher's view (`latent`), two crops (`ts2vec`), and the
masks."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from moola.core.seeds import derive_seed
from moola.errors import InvalidData
from moola.models.network import BiLSTMEncoder, MaskingEncoder, masked_loss


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
        """The encoder's vectors of the visible features; one pass, made by the first pretext task that asks."""
        encoded: Tensor = self.masking(self.features, self.mask)
        return encoded

    @property
    def encode(self) -> BiLSTMEncoder:
        """The encoder itself, for pretext tasks that look at something else or look again."""
        return self.masking.encoder


@dataclass(frozen=True)
class Sizes:
    """What a pretext task's head is built for."""

    n_features: int
    window_bars: int
    encoded_dim: int


@dataclass(frozen=True)
class ArmSettings:
    """Options of the pretext tasks.

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

    Losses are 1 for an uninformed baseline, so that pretext tasks can be added up.
    """

    needs_prices: ClassVar[bool] = False
    # Distinguished from the other windows of the batch: a batch of neighbours is another task than one from all over.
    contrasts_windows: ClassVar[bool] = False
    source: ClassVar[str] = ""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__()
        self.sizes, self.seed = sizes, seed

    def prepare(self, encoder: BiLSTMEncoder, settings: ArmSettings) -> None:
        """Take what a pretext task needs beside its sizes, once: a copy of the untrained encoder, settings."""

    def fit(self, windows: Windows) -> None:
        """Learn the scale of the targets from training windows, once."""

    def draw(self, n_windows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw what the targets of a batch leave to chance, batch after batch."""
        return {}

    def targets(self, windows: Windows, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """State what is to be predicted of a batch; depends on no weights and no other batch, so any thread may ask."""
        return {}

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """State how far the encoder's vectors are from predicting the targets."""
        raise NotImplementedError


def prices_of(windows: Windows) -> Float[np.ndarray, "windows bars 4"]:
    """Return the prices that a pretext task reads, or explain which file lacks them."""
    if windows.ohlc is None:
        raise InvalidData(
            "pretext tasks that read prices must have the bars of the windows, but this relative file carries "
            "features alone. "
            "Convert the 4-D file again with `moola convert`, or give --arms masked."
        )
    return windows.ohlc


# Task `masked`: predict the hidden bars.


class MaskedArm(Arm):
    """Reconstruct each feature of the hidden bars linearly (after He et al., CVPR 2022, and BERT).

    The squared error is divided by that of saying each feature's training mean.
    """

    source = "He et al., CVPR 2022"

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "reconstruction"))
            self.reconstruct = nn.Linear(sizes.encoded_dim, sizes.n_features)
        self.register_buffer("spread", torch.ones(()))

    def fit(self, windows: Windows) -> None:
        """Take the squared error of the mean as the unit."""
        spread = windows.features.astype(np.float64).var(axis=(0, 1)).mean()
        self.spread = torch.tensor(max(spread, 1e-6), dtype=torch.float32)

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Squared error on the hidden bars alone; 0 where none is hidden."""
        return masked_loss(self.reconstruct(view.encoded), view.features, view.mask) / self.spread


# Task `latent`: predict an averaged teacher's vectors of the hidden bars.


# I-JEPA's; a step's weights count for 250 steps or so.
MAX_DECAY = 0.996
# Below it a vector's values do not differ, and rounding errors must not become targets.
MIN_SPREAD = 1e-4


class LatentArm(Arm):
    """Predict the teacher's vectors of the hidden bars, which it makes of the clean windows.

    The teacher is an exponential average of the encoder, moved once a training step and never by gradients
    (data2vec; I-JEPA). Its vectors are standardised over the batch, see `standardised`, so the loss is 1 for
    saying the mean, and an encoder that says the same of all windows has nothing to be right about.
    """

    source = "Baevski et al., ICML 2022 (data2vec); Assran et al., CVPR 2023 (I-JEPA)"
    teacher: BiLSTMEncoder
    n_steps: Tensor

    def __init__(self, sizes: Sizes, seed: int) -> None:
        super().__init__(sizes, seed)
        width = sizes.encoded_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "latent"))
            self.predict = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.register_buffer("n_steps", torch.zeros(()))

    def prepare(self, encoder: BiLSTMEncoder, settings: ArmSettings) -> None:
        """Start the teacher as the encoder is; it is kept among this pretext task's weights, and so in checkpoints."""
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def _average(self, encoder: BiLSTMEncoder) -> None:
        """Move the teacher towards the encoder, by larger steps while it is young."""
        decay = torch.clamp((1 + self.n_steps) / (10 + self.n_steps), max=MAX_DECAY)
        for mine, its in zip(self.teacher.parameters(), encoder.parameters(), strict=True):
            mine.lerp_(its, 1 - decay)
        self.n_steps += 1

    def loss(self, view: View, targets: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Squared error on the hidden bars alone; 0 where none is hidden. A training step moves the teacher first."""
        if self.training:
            self._average(view.encode)
        with torch.no_grad():
            target = standardised(self.teacher(view.features))
        return masked_loss(self.predict(view.encoded), target, view.mask)


def standardised(vectors: Float[Tensor, "windows bars hidden"]) -> Float[Tensor, "windows bars hidden"]:
    """Put each value of the vectors at mean 0 at each bar of the batch, and spread 1 over the batch.

    The mean is taken bar by bar: what a vector holds of its place in the window is the easiest thing to predict
    and has no information on the window. One window alone is centred on the mean of its own bars. Values that do
    not differ stay near 0.
    """
    center = vectors.mean(dim=0 if len(vectors) > 1 else 1, keepdim=True)
    centred = vectors - center
    return centred / centred.square().mean(dim=(0, 1)).sqrt().clamp(min=MIN_SPREAD)


# Which bars masked pretraining hides: each mask is one callable, one entry in `MASKS`.


Mask = Bool[np.ndarray, "windows bars"]


class MaskStrategy(Protocol):
    """Draw masks; at least one bar of every window is masked and at least one is not."""

    def __call__(
        self, rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, patch_bars: int, /
    ) -> Mask:
        """Return True where a bar is hidden."""
        ...


def random_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, _patch_bars: int) -> Mask:
    """Hide each bar on its own, the same number in every window (BERT, Devlin et al. 2019)."""
    return _choose(rng, n_windows, n_bars, mask_ratio)


def block_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, _patch_bars: int) -> Mask:
    """Hide one run of bars in each window."""
    n_masked = _count(n_bars, mask_ratio)
    first = rng.integers(0, n_bars - n_masked + 1, size=(n_windows, 1))
    bars = np.arange(n_bars)[None, :]
    return (bars >= first) & (bars < first + n_masked)


def patch_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, patch_bars: int) -> Mask:
    """Hide whole adjacent patches of bars (PatchTST, Nie et al. 2023); the last may be shorter."""
    # At least two patches, so that one can be hidden and one seen.
    patch_bars = min(patch_bars, -(-n_bars // 2))
    n_patches = -(-n_bars // patch_bars)
    by_patch = _choose(rng, n_windows, n_patches, mask_ratio)
    return np.repeat(by_patch, patch_bars, axis=1)[:, :n_bars]


def edge_mask(rng: np.random.Generator, n_windows: int, n_bars: int, mask_ratio: float, _patch_bars: int) -> Mask:
    """Hide the first or the last bars of a window, either as often: what came before, or what follows."""
    bars, n_masked = np.arange(n_bars)[None, :], _count(n_bars, mask_ratio)
    is_last = rng.random((n_windows, 1)) < 0.5
    return np.where(is_last, bars >= n_bars - n_masked, bars < n_masked)


def _count(n: int, mask_ratio: float) -> int:
    return min(max(round(n * mask_ratio), 1), n - 1)


def _choose(rng: np.random.Generator, n_windows: int, n: int, mask_ratio: float) -> Mask:
    rank = rng.random((n_windows, n)).argsort(axis=1).argsort(axis=1)
    chosen: Mask = rank < _count(n, mask_ratio)
    return chosen


MASKS: dict[str, MaskStrategy] = {
    "random": random_mask,
    "block": block_mask,
    "patch": patch_mask,
    "edge": edge_mask,
}


@dataclass(frozen=True)
class MaskPlan:
    """What is hidden: strategy, share of the bars (0 hides nothing), bars per patch."""

    strategy: str
    mask_ratio: float
    patch_bars: int


def draw_mask(plan: MaskPlan, rng: np.random.Generator, n_windows: int, n_bars: int) -> Mask:
    """Draw masks by a plan; a ratio of 0 hides nothing and draws nothing."""
    if plan.mask_ratio <= 0:
        return np.zeros((n_windows, n_bars), dtype=bool)
    return MASKS[plan.strategy](rng, n_windows, n_bars, plan.mask_ratio, plan.patch_bars)


# The pace by which the encoder scales returns is measured in what it is shown: a few bars are too few.
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
    number of candidates. One window alone has nothing to be distinguished from: only bars are contrasted then. The
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
