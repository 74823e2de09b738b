"""What to label next: the windows in an order that is computed once and then walked in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from moola.core.features import relative_features
from moola.core.seeds import generator
from moola.label.model import ModelAnswers
from moola.label.out_of_fold import OutOfFold
from moola.label.windows import Shelf

QueueName = Literal["time", "random", "uncertainty", "disagreement", "diversity", "label errors", "conflicts"]
QUEUES: tuple[QueueName, ...] = get_args(QueueName)
# Of windows that have labels already.
SECOND_LOOKS = ("label errors", "conflicts")
# Farthest first costs a pass over all windows for each one; nobody labels more in one sitting.
N_DIVERSE = 1000
CHUNK = 4096


class Queues:
    """The orders in which windows can be labelled.

    Parameters
    ----------
    shelf
        Windows to order.
    answers
        What models say of them; None leaves `uncertainty` out, and a single head leaves `disagreement` out.
    seed
        Seed of `random`, and of what follows the diverse windows.
    out_of_fold
        Predictions by models that did not learn from a window; None leaves `label errors` out.
    """

    def __init__(
        self, shelf: Shelf, answers: ModelAnswers | None, seed: int, out_of_fold: OutOfFold | None = None
    ) -> None:
        self.shelf, self.answers, self.seed, self.out_of_fold = shelf, answers, seed, out_of_fold
        self._orders: dict[str, list[int]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the queues that can be asked for here."""
        missing = {
            "uncertainty": self.answers is None,
            "disagreement": self.answers is None or self.answers.disagreement is None,
            "label errors": self.out_of_fold is None,
        }
        return [name for name in QUEUES if not missing.get(name, False)]

    def order(self, name: str) -> list[int]:
        """Return the numbers of all windows in the order of a queue; the same at every call and start."""
        if name not in self._orders:
            self._orders[name] = self._computed(name).tolist()
        return self._orders[name]

    def _computed(self, name: str) -> np.ndarray:
        by_time = np.argsort(self.shelf.bars.start_us[self.shelf.first_bar], kind="stable")
        if name == "time":
            return by_time
        if name == "random":
            return generator(self.seed, "label", "random").permutation(len(self.shelf))
        if name == "uncertainty" and self.answers is not None:
            return by_time[np.argsort(-self.answers.entropy()[by_time], kind="stable")]
        if name == "disagreement" and self.answers is not None and self.answers.disagreement is not None:
            return by_time[np.argsort(-self.answers.disagreement[by_time], kind="stable")]
        if name == "diversity":
            return farthest_first(summaries(self.shelf), N_DIVERSE, self.seed)
        raise KeyError(name)

    def next(self, name: str, status: Mapping[str, str], after: str | None = None) -> tuple[int | None, int]:
        """Return the next window of a queue, and how many it has left.

        Parameters
        ----------
        status
            Status of the windows that the annotator has saved, by id. What was skipped comes again when all else
            is done.
        after
            Window that is open now; it is not given again unless no other is left.

        Returns
        -------
        tuple
            Number of the window (None where every one is labelled or rejected), and the windows not yet saved.
        """
        names = self.shelf.window_id
        order = self.order(name)
        n_left = sum(1 for known in names if known not in status)
        fresh = next((number for number in order if names[number] not in status and names[number] != after), None)
        if fresh is not None:
            return fresh, n_left
        waiting = [number for number in order if status.get(names[number], "skipped") == "skipped"]
        if not waiting:
            return None, n_left
        here = next((i for i, number in enumerate(waiting) if names[number] == after), -1)
        return waiting[(here + 1) % len(waiting)], n_left


def next_look(waiting: Sequence[int], order: Sequence[int], after: int | None) -> int | None:
    """Return the next of some windows that wait for a second look, behind the open one in the order, then around."""
    if not waiting:
        return None
    place = {number: i for i, number in enumerate(order)}
    here = -1 if after is None else place.get(after, -1)
    return min(waiting, key=lambda number: (place[number] <= here, place[number]))


def summaries(shelf: Shelf) -> Float[np.ndarray, "windows 22"]:
    """Return mean and spread of each of the eleven features of each window, every column on one scale."""
    parts = []
    for first in range(0, len(shelf), CHUNK):
        table = shelf.table(np.arange(first, min(first + CHUNK, len(shelf))))
        assert table.ohlc is not None
        features = relative_features(table.ohlc)
        parts.append(np.concatenate([features.mean(axis=1), features.std(axis=1)], axis=1))
    found = np.concatenate(parts)
    spread = found.std(axis=0)
    scaled: np.ndarray = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def farthest_first(
    points: Float[np.ndarray, "windows columns"], n_first: int, seed: int
) -> Int[np.ndarray, " windows"]:
    """Order points so that each of the first `n_first` is the farthest from all before it (Gonzalez 1985).

    Begins with the point nearest to the mean; the first of equals wins. The rest follows at random.
    """
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(n_first, len(points)):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    shuffled = generator(seed, "label", "diversity").permutation(rest)
    return np.concatenate([np.array(chosen, dtype=np.int64), shuffled])
