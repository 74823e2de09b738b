"""A chart read by a model's encoder: one vector a bar, the mean over the windows that have it in their inner zone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moola.core.windows import inner_zone
from moola.models.model_files import ModelFile

Vectors = Float[np.ndarray, "windows bars hidden"]


@contextmanager
def heard(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what an encoder says while a network reads windows, so that it need not read them twice."""
    said: list[Tensor] = []
    handle = encoder.register_forward_hook(lambda _module, _inputs, output: said.append(output.cpu()))
    try:
        yield said
    finally:
        handle.remove()


def vectors_heard(said: list[Tensor], n_windows: int, model: ModelFile) -> list[Vectors]:
    """Return the vectors of windows each way, from the passes in which they were read.

    Linear heads read a pass of windows both ways before the next pass; others read all windows one way, then the other.
    """
    ways = n_ways(model)
    by_way = len(said) // ways
    if model.network.head_kind == "linear":
        pieces = [said[way::ways] for way in range(ways)]
    else:
        pieces = [said[way * by_way : (way + 1) * by_way] for way in range(ways)]
    return [torch.cat(piece)[:n_windows].numpy() for piece in pieces]


class BarVectors:
    """Sums of vectors over windows, bar by bar, added in the order of the windows.

    A bar that no window has in its zone has the mean over all windows that have it; where `zone_alone`, none.
    """

    def __init__(
        self, n_bars: int, n_hidden: int, n_ways: int, zone: tuple[int, int], zone_alone: bool = False
    ) -> None:
        self.zone, self.zone_alone = zone, zone_alone
        self.inner = np.zeros((n_ways, n_bars, n_hidden), dtype=np.float32)
        self.whole = np.zeros((n_ways, n_bars, n_hidden), dtype=np.float32)
        self.n_inner, self.n_whole = np.zeros(n_bars, dtype=np.int64), np.zeros(n_bars, dtype=np.int64)

    def add(self, first_bar: Int[np.ndarray, " windows"], by_way: list[Vectors]) -> None:
        """Add windows, which begin at these bars of the chart."""
        n_seen = by_way[0].shape[1]
        first, last = self.zone
        for row, start in enumerate(first_bar):
            for way, vectors in enumerate(by_way):
                self.inner[way, start + first : start + last] += vectors[row, first:last]
                self.whole[way, start : start + n_seen] += vectors[row]
            self.n_inner[start + first : start + last] += 1
            self.n_whole[start : start + n_seen] += 1

    def means(self) -> tuple[tuple[Float[np.ndarray, "bars hidden"], ...], Bool[np.ndarray, " bars"]]:
        """Return the mean vectors each way, and which bars a window has."""
        if self.zone_alone:
            count = np.maximum(self.n_inner, 1)[:, None].astype(np.float32)
            return tuple(inner / count for inner in self.inner), self.n_inner > 0
        is_inner = (self.n_inner > 0)[:, None]
        count = np.maximum(np.where(self.n_inner > 0, self.n_inner, self.n_whole), 1)[:, None].astype(np.float32)
        found = tuple(
            np.where(is_inner, inner, whole) / count for inner, whole in zip(self.inner, self.whole, strict=True)
        )
        return found, self.n_whole > 0


def zone_of(model: ModelFile) -> tuple[int, int]:
    """Bars of a window in which a model is trusted: the inner zone, as far as the model sees it."""
    first, last = inner_zone(model.window_bars)
    return first, min(last, model.n_seen_bars)


def sums_for(model: ModelFile, n_bars: int, ahead: int | None) -> BarVectors:
    """Return where vectors of a chart are added up; no vector depends on more than `ahead` bars after its bar."""
    hidden, ways, n_seen = model.network.encoder.output_dim, n_ways(model), model.n_seen_bars
    if ahead is None:
        return BarVectors(n_bars, hidden, ways, zone_of(model))
    return BarVectors(n_bars, hidden, ways, (n_seen - 1 - ahead, n_seen), zone_alone=True)


def n_ways(model: ModelFile) -> int:
    """Count the ways in which windows are read: upside down too where it is known what each class becomes."""
    return 1 if model.mirror is None else 2
