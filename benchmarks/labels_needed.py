"""Labels needed to be as good as 174 random ones, where a simulated person answers what the page asks.

The person is the rule that labelled the windows of the few-label benchmark. They begin with random windows; then, in
rounds, half of what is asked is where heads fitted to the labels so far are least sure, and half is random: as on the
page, whose heads these are. Each round is evaluated on test windows that nothing is chosen by. The targets are the
Brier score and the average precision (of `retracement`) of heads that learned from a whole draw of 174 labels, each the
mean over draws. A way of asking is chosen with --train-only: the last two draws are then the test windows.

Usage: benchmarks/labels_needed.py [BENCH_FOLDER] [--orders N] [--test N] [--round N] [--train-only]
           [--asking mixed|random|unsure] [--no-prior] [--target BRIER AP]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from moola.core.features import mirrored_features
from moola.core.seeds import generator
from moola.evaluation.calibration import calibrated
from moola.evaluation.class_metrics import average_precision
from moola.fit.label_learning import QUICK, fit_heads, read_heads
from moola.fit.linear_heads_fit import encoded
from moola.models.head_prior import HeadPrior, prior_of
from moola.models.model_files import BASE_NAME, EncoderFile, read_encoder
from moola.tables.window_file import WindowTable, read_windows
from moola.training.linear_fit import EncodedWindows

TRAIN, TEST = "expansions_eurusd_1m_train.parquet", "expansions_eurusd_1m_test.parquet"
N_RANDOM, FIRST, SEED = 174, 24, 17


@dataclass(frozen=True)
class Windows:
    """Encoded windows with their classes, both ways up."""

    table: WindowTable
    upright: np.ndarray
    turned: np.ndarray
    class_index: np.ndarray
    prior: HeadPrior | None = None

    def take(self, rows: np.ndarray) -> Windows:
        """Return some of them."""
        return Windows(self.table.take(rows), self.upright[rows], self.turned[rows], self.class_index[rows], self.prior)

    def learned(self, rows: np.ndarray) -> EncodedWindows:
        """Return some of them for a fit; the classes mean the same upside down."""
        chosen = self.table.take(rows)
        pointers = np.stack([chosen.expansion_start, chosen.expansion_end], axis=1)
        n_classes = int(self.class_index.max()) + 1
        return EncodedWindows(
            self.upright[rows],
            self.turned[rows],
            self.class_index[rows],
            pointers,
            chosen.intervals(),
            list(range(n_classes)),
            self.prior,
        )


@dataclass(frozen=True)
class Score:
    """How good heads are on all test windows after so many labels."""

    n_labels: int
    brier: float
    ap: float


def encode(table: WindowTable, file: EncoderFile, classes: list[str]) -> Windows:
    """Encode windows both ways."""
    features = table.with_features().features
    assert features is not None
    device = torch.device("cpu")
    ways = [
        encoded(file.encoder, file.scaler.transform(one), device) for one in (features, mirrored_features(features))
    ]
    class_index = np.array([classes.index(name) for name in table.label], dtype=np.int64)
    return Windows(table, ways[0], ways[1], class_index, prior_of(file.encoder))


Reader = Callable[[Windows, np.ndarray], np.ndarray]


def reader_of(pool: Windows, rows: np.ndarray) -> Reader:
    """Fit the page's heads to some windows; returns what gives the class probabilities of others."""
    n_classes = int(pool.class_index.max()) + 1
    heads, _, temperature = fit_heads(pool.learned(rows), n_classes, QUICK)

    def read(other: Windows, asked: np.ndarray) -> np.ndarray:
        logits, _ = read_heads(heads, [other.upright[asked], other.turned[asked]], list(range(n_classes)))
        return calibrated(logits, temperature)

    return read


def score(read: Reader, test: Windows, n_labels: int) -> Score:
    """Return the figures on all test windows."""
    prob = read(test, np.arange(len(test.class_index)))
    true = np.eye(prob.shape[1])[test.class_index]
    positive = test.class_index == prob.shape[1] - 1
    ap = average_precision(prob[:, -1], positive, np.ones((1, len(positive))))
    return Score(n_labels, float(((prob - true) ** 2).sum(axis=1).mean() / 2), float(np.asarray(ap)[0]))


def ask(read: Reader, pool: Windows, known: np.ndarray, n: int, asking: str, seed: int) -> np.ndarray:
    """Return the windows that the person is asked next: random ones, those least sure, or half and half."""
    rest = np.setdiff1d(np.arange(len(pool.class_index)), known)
    n_random = {"random": n, "unsure": 0}.get(asking, n - n // 2)
    drawn = generator(seed, "ask", len(known)).choice(rest, min(n_random, len(rest)), replace=False)
    if n_random == n:
        return drawn
    rest = np.setdiff1d(rest, drawn)
    unsure = rest[np.argsort(read(pool, rest).max(axis=1), kind="stable")]
    return np.concatenate([drawn, unsure[: n - n_random]])


def labels_needed(
    pool: Windows, test: Windows, target: Score, asking: str, seed: int, n_round: int, n_first: int = FIRST
) -> tuple[int | None, list[Score]]:
    """Return after how many labels both targets are reached (None where they never are), and each round's figures.

    The figures of a single round are noisy: a target counts as reached from the first round on that reaches it.
    """
    known = generator(seed, "first").choice(len(pool.class_index), n_first, replace=False)
    curve: list[Score] = []
    most = min(len(pool.class_index), 2 * N_RANDOM)
    while True:
        read = reader_of(pool, known)
        curve.append(score(read, test, len(known)))
        reached = [reached_at(curve, name, target) for name in ("brier", "ap")]
        if None not in reached:
            return max(one for one in reached if one is not None), curve
        if len(known) >= most:
            return None, curve
        known = np.concatenate([known, ask(read, pool, known, n_round, asking, seed)])


def reached_at(curve: list[Score], name: str, target: Score) -> int | None:
    """Return after how many labels a figure was first as good as the target."""
    sign = -1 if name == "brier" else 1
    good = [one.n_labels for one in curve if sign * getattr(one, name) >= sign * getattr(target, name)]
    return good[0] if good else None


def main() -> None:
    """Print the targets, and labels needed for each order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/bench"))
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--test", type=int, default=0, help="test windows, evenly spread; 0 for all")
    parser.add_argument("--round", type=int, default=10, help="labels between two fits")
    parser.add_argument("--asking", choices=["mixed", "random", "unsure"], default="mixed")
    parser.add_argument("--no-prior", action="store_true", help="heads without the prior of `base`")
    parser.add_argument(
        "--target", type=float, nargs=2, metavar=("BRIER", "AP"), help="in place of those of 174 random labels"
    )
    parser.add_argument("--train-only", action="store_true", help="the last two draws instead of the test windows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun, file = time.monotonic(), read_encoder(BASE_NAME)
    table = read_windows(given.folder / TRAIN, file.window_bars)
    classes = sorted(set(table.label.tolist()))
    draw = table.extra["draw"].to_numpy()
    pool = encode(table, file, classes)
    if given.no_prior:
        pool = replace(pool, prior=None)
    if given.train_only:
        held = np.isin(draw, np.unique(draw)[-2:])
        pool, test, draw = pool.take(np.flatnonzero(~held)), pool.take(np.flatnonzero(held)), draw[~held]
    else:
        other = read_windows(given.folder / TEST, file.window_bars)
        if given.test:
            other = other.take(np.linspace(0, len(other) - 1, given.test).astype(np.int64))
        test = encode(other, file, classes)
    scores = [score(reader_of(pool, np.flatnonzero(draw == one)), test, N_RANDOM) for one in np.unique(draw)]
    target = Score(N_RANDOM, *(float(np.mean([getattr(one, name) for one in scores])) for name in ("brier", "ap")))
    each = ", ".join(f"{one.brier:.4f} {one.ap:.4f}" for one in scores)
    print(f"{N_RANDOM} random labels, {len(test.class_index)} test windows: Brier {target.brier:.4f}, "
          f"AP {target.ap:.4f} (draws {each})", flush=True)  # fmt: skip
    if given.target:
        target = Score(N_RANDOM, *given.target)
        print(f"The target is Brier {target.brier:g}, AP {target.ap:g}.", flush=True)
    needed: dict[str, list[int]] = {"Brier": [], "AP": [], "both": []}
    for order in range(given.orders):
        n, curve = labels_needed(pool, test, target, given.asking, SEED + order, given.round)
        found = {"Brier": reached_at(curve, "brier", target), "AP": reached_at(curve, "ap", target), "both": n}
        for name, one in found.items():
            needed[name].append(2 * N_RANDOM if one is None else one)
        said = ", ".join(f"{one.n_labels}: {one.brier:.4f} {one.ap:.4f}" for one in curve)
        print(f"order {order}: {', '.join(f'{name} {one}' for name, one in found.items())} ({said})", flush=True)
    for name, found_by in needed.items():
        print(f"{given.asking}, {name}: median {np.median(found_by):.0f} labels, {min(found_by)} to {max(found_by)}, "
              f"over {given.orders} orders (never reached counts as {2 * N_RANDOM})", flush=True)  # fmt: skip
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
