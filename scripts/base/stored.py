"""Windows and their targets made once, so that nothing but the network is left to do in each epoch.

A window is shown many times, and what the tasks ask of it never changes: a GPU would wait for the making.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moola.core.features import RobustScaler
from moola.core.move_finders import STATES, log_prices
from moola.core.seeds import generator
from moola.fit.synthetic import taker
from moola.tables.cutting import WindowSource
from moola.training.encoder_training import Batch, Pretraining, PretrainModule, PretrainPlan
from moola.training.pretext_tasks import Windows
from moola.training.structure_tasks import N_TARGETS, MovesArm, structure_targets

PIECE = 1024
# Of structure targets, which change their sign upside down: displacements, places in channels, passages; not ranges.
SIGNS = np.array([-1, -1, 1, 1] * 4 + [-1] * 4 + [-1] * 6, dtype=np.float32)
_SHARED: list = []


def store(folder: Path, source: WindowSource, scaler: RobustScaler, arms: dict[str, MovesArm], n_workers: int) -> None:
    """Write features both ways up, structure targets, and pointers and states of each task, as .npy files."""
    folder.mkdir(parents=True, exist_ok=True)
    n, bars = len(source), source.window_bars
    shapes = {
        "upright": ((n, bars, 11), np.float32),
        "turned": ((n, bars, 11), np.float32),
        "structure": ((n, bars, N_TARGETS), np.float16),
    }
    for name, arm in arms.items():
        shapes[f"pointers_{name}"] = ((n, len(arm.definitions), 2), np.int16)
        shapes[f"states_{name}"] = ((n, len(arm.definitions), len(STATES)), np.float16)
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        for name, (shape, dtype) in shapes.items()
    }
    # Forked processes see the source and write into the files' shared pages: nothing is sent.
    _SHARED[:] = [source, scaler, arms, files]
    source.features(np.arange(1))
    source.features(np.arange(1), np.ones(1, dtype=bool))
    firsts = range(0, n, PIECE)
    if n_workers == 1:
        for first in firsts:
            _store_piece(first)
    else:
        with get_context("fork").Pool(n_workers) as pool:
            for _ in pool.imap_unordered(_store_piece, firsts):
                pass
    for file in files.values():
        file.flush()


def _store_piece(first: int) -> None:
    source, scaler, arms, files = _SHARED
    rows = np.arange(first, min(first + PIECE, len(source)))
    here = slice(first, first + len(rows))
    take = taker(source, scaler)
    shown: Windows = take(rows, np.zeros(len(rows), dtype=bool))
    files["upright"][here] = shown.features
    files["turned"][here] = scaler.transform(source.features(rows, np.ones(len(rows), dtype=bool)))
    assert shown.ohlc is not None
    files["structure"][here] = structure_targets(log_prices(shown.ohlc))
    for name, arm in arms.items():
        found = arm.labels(shown, np.arange(len(arm.definitions)))
        files[f"pointers_{name}"][here], files[f"states_{name}"][here] = found


def stored_in(folder: Path, arm: str, device: torch.device) -> dict[str, Tensor]:
    """Load what `store` wrote, with the pointers and states of one task."""
    names = {"upright": "upright", "turned": "turned", "structure": "structure"}
    names |= {"pointers": f"pointers_{arm}", "states": f"states_{arm}"}
    return {name: torch.from_numpy(np.load(folder / f"{file}.npy")).to(device) for name, file in names.items()}


class StoredPretraining(Pretraining):
    """The same objective on windows that are stored on the device: a batch is a choice of rows."""

    def __init__(
        self,
        module: PretrainModule,
        stored: dict[str, Tensor],
        take: Callable[[np.ndarray, np.ndarray], Windows],
        train_rows: np.ndarray,
        val_rows: np.ndarray,
        plan: PretrainPlan,
    ) -> None:
        super().__init__(module, take, train_rows, val_rows, plan)
        self.stored = stored
        self.signs = torch.from_numpy(SIGNS).to(plan.device)

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Shuffled windows, as those that are made batch by batch."""
        return (job() for job in self.train_jobs(epoch))

    def val_batches(self) -> Iterable[Batch]:
        """Later windows with masks that the seed fixes."""
        rng = generator(self.plan.seed, "pretrain", "val")
        return (job() for job in self._jobs(self.val_rows, rng, mirror=False))

    def _made(
        self, rows: np.ndarray, flipped: np.ndarray, mask: np.ndarray, drawn: dict[str, dict[str, np.ndarray]]
    ) -> Batch:
        at, device = torch.from_numpy(rows), self.plan.device
        at, turned = at.to(device), torch.from_numpy(flipped).to(device)
        features = torch.where(turned[:, None, None], self.stored["turned"][at], self.stored["upright"][at])
        targets: dict[str, dict[str, Tensor]] = {name: {} for name, _ in self._arms()}
        if "structure" in targets:
            found = self.stored["structure"][at].float()
            targets["structure"]["structure"] = torch.where(turned[:, None, None], found * self.signs, found)
        if "moves" in targets:
            chosen = torch.from_numpy(drawn["moves"]["chosen"]).to(device)
            states = self.stored["states"][at][:, chosen].float()
            # Of a move's states only its direction turns.
            states[..., 0] *= torch.where(turned, -1.0, 1.0)[:, None]
            pointers = self.stored["pointers"][at][:, chosen].long()
            targets["moves"] = {"pointers": pointers, "states": states, "chosen": chosen}
        return features, torch.from_numpy(mask).to(device), targets
