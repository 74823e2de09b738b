"""Arm `latent`: say what an averaged teacher makes of the hidden bars."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moola.core.seeds import derive_seed
from moola.models.encoder import BiLSTMEncoder
from moola.models.losses import masked_loss
from moola.training.arms.arm import Arm, ArmSettings, Sizes, View

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
        """Start the teacher as the encoder is; it is kept among this arm's weights, and so in checkpoints."""
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

    The mean is taken bar by bar: what a vector says of its place in the window is the easiest thing to predict
    and tells nothing of the window. One window alone is centred on the mean of its own bars. Values that do
    not differ stay near 0.
    """
    center = vectors.mean(dim=0 if len(vectors) > 1 else 1, keepdim=True)
    centred = vectors - center
    return centred / centred.square().mean(dim=(0, 1)).sqrt().clamp(min=MIN_SPREAD)
