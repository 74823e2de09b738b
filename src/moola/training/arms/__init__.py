"""Pretraining arms: what an encoder can learn from bars without labels. One file, one entry in `ARMS`, one test."""

from __future__ import annotations

from moola.config.options import ArmName
from moola.training.arms.arm import Arm
from moola.training.arms.latent import LatentArm
from moola.training.arms.masked import MaskedArm
from moola.training.arms.moves import MovesArm
from moola.training.arms.structure import StructureArm
from moola.training.arms.ts2vec import Ts2VecArm

ARMS: dict[str, type[Arm]] = {
    "masked": MaskedArm,
    "latent": LatentArm,
    "structure": StructureArm,
    "moves": MovesArm,
    "ts2vec": Ts2VecArm,
}
# What pays (docs/log.md); `masked` hides bars from the others too.
DEFAULT_ARMS: tuple[ArmName, ...] = ("masked", "structure", "moves")
MASKED_ARMS = ("masked", "latent")
# Pointing at moves is the hardest of the three to learn and pays most.
ARM_WEIGHTS = {"moves": 3.0}
