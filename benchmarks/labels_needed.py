"""Labels needed to be as good as 174 random ones, where a simulated person answers what the page asks.

The person is the rule that labelled the windows of the few-label benchmark. They begin with random windows; then, in
rounds, half of what is asked is where heads fitted to the labels so far are least sure, and half is random: as on the
page. Each round is evaluated on test windows that nothing is chosen by. The target is the Brier score of heads that
learned from a whole draw of 174 labels, the mean over draws.

Usage: benchmarks/labels_needed.py [BENCH_FOLDER] [--orders N] [--test N] [--round N] [--asking mixed|random|unsure]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moola.core.features import mirrored_features
from moola.core.seeds import generator
from moola.evaluation.calibration import calibrated
from moola.fit.label_learning import fit_heads, read_heads
from moola.fit.linear_heads_fit import encoded
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
        )


def encode(table: WindowTable, file: EncoderFile, classes: list[str]) -> Windows:
    """Encode windows both ways."""
    features = table.with_features().features
    assert features is not None
    device = torch.device("cpu")
    ways = [
        encoded(file.encoder, file.scaler.transform(one), device) for one in (features, mirrored_features(features))
    ]
    return Windows(table, ways[0], ways[1], np.array([classes.index(name) for name in table.label], dtype=np.int64))


def probabilities(pool: Windows, rows: np.ndarray, other: Windows, asked: np.ndarray) -> np.ndarray:
    """Fit heads to some windows, and return the class probabilities of others."""
    n_classes = int(max(pool.class_index.max(), other.class_index.max())) + 1
    heads, _, temperature = fit_heads(pool.learned(rows), n_classes)
    logits, _ = read_heads(heads, [other.upright[asked], other.turned[asked]], list(range(n_classes)))
    return calibrated(logits, temperature)


def brier(pool: Windows, rows: np.ndarray, test: Windows) -> float:
    """Return the Brier score on all test windows of heads that learned from some windows."""
    prob = probabilities(pool, rows, test, np.arange(len(test.class_index)))
    true = np.eye(prob.shape[1])[test.class_index]
    return float(((prob - true) ** 2).sum(axis=1).mean() / 2)


def ask(pool: Windows, known: np.ndarray, n: int, asking: str, seed: int) -> np.ndarray:
    """Return the windows that the person is asked next: random ones, those least sure, or half and half."""
    rest = np.setdiff1d(np.arange(len(pool.class_index)), known)
    n_random = {"random": n, "unsure": 0, "mixed": n - n // 2}[asking]
    drawn = generator(seed, "ask", len(known)).choice(rest, min(n_random, len(rest)), replace=False)
    if n_random == n:
        return drawn
    rest = np.setdiff1d(rest, drawn)
    sure = probabilities(pool, known, pool, rest).max(axis=1)
    return np.concatenate([drawn, rest[np.argsort(sure, kind="stable")[: n - n_random]]])


def labels_needed(
    pool: Windows, test: Windows, target: float, asking: str, seed: int, n_round: int, n_first: int = FIRST
) -> tuple[int | None, list[tuple[int, float]]]:
    """Return after how many labels the target is reached (None where it never is), and the score of each round."""
    known = generator(seed, "first").choice(len(pool.class_index), n_first, replace=False)
    curve: list[tuple[int, float]] = []
    most = min(len(pool.class_index), 2 * N_RANDOM)
    while True:
        curve.append((len(known), brier(pool, known, test)))
        if curve[-1][1] <= target:
            return len(known), curve
        if len(known) >= most:
            return None, curve
        known = np.concatenate([known, ask(pool, known, n_round, asking, seed)])


def main() -> None:
    """Print the target, and labels needed for each order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/bench"))
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--test", type=int, default=0, help="test windows, evenly spread; 0 for all")
    parser.add_argument("--round", type=int, default=10, help="labels between two fits")
    parser.add_argument("--asking", choices=["mixed", "random", "unsure"], default="mixed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun, file = time.monotonic(), read_encoder(BASE_NAME)
    tables = [read_windows(given.folder / name, file.window_bars) for name in (TRAIN, TEST)]
    classes = sorted(set(tables[0].label.tolist()))
    if given.test:
        tables[1] = tables[1].take(np.linspace(0, len(tables[1]) - 1, given.test).astype(np.int64))
    pool, test = (encode(table, file, classes) for table in tables)
    draw = tables[0].extra["draw"].to_numpy()
    scores = [brier(pool, np.flatnonzero(draw == one), test) for one in np.unique(draw)]
    target = float(np.mean(scores))
    print(f"Brier of {N_RANDOM} labels on {len(test.class_index)} test windows: {target:.4f} "
          f"(draws {', '.join(f'{score:.4f}' for score in scores)})", flush=True)  # fmt: skip
    needed = []
    for order in range(given.orders):
        n, curve = labels_needed(pool, test, target, given.asking, SEED + order, given.round)
        needed.append(2 * N_RANDOM if n is None else n)
        said = ", ".join(f"{labels}: {score:.4f}" for labels, score in curve)
        print(f"order {order}: {n or 'not reached'} labels ({said})", flush=True)
    print(f"{given.asking}: median {np.median(needed):.0f} labels, {min(needed)} to {max(needed)}, "
          f"over {given.orders} orders, in {time.monotonic() - begun:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
