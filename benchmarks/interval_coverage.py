"""How often the 95 % intervals hold the true figure, on simulated windows that share bars.

Beside moola's blocks (`evaluation.comparisons`): the same blocks with as many windows drawn as there are,
and windows drawn one by one as if they shared nothing. Prints a markdown table; 92 to 98 % is the aim.
With a stride of 26 bars a window shares bars with the next 4.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from simulated_windows import simulate, true_brier

from moola.core.seeds import generator
from moola.evaluation.class_metrics import accuracy, brier, pr_auc
from moola.evaluation.comparisons import block_length, block_weights, percentile_interval, resample_size
from moola.tables.prediction_table import Predictions

BLURS = (1.0, 1.5)
Measure = Callable[[Predictions, Predictions, np.ndarray], np.ndarray]
MEASURES: dict[str, Measure] = {
    "brier": lambda one, _, weights: brier(one, weights),
    "accuracy": lambda one, _, weights: accuracy(one, weights),
    "pr_auc": lambda one, _, weights: pr_auc(one, weights),
    "brier difference": lambda one, other, weights: brier(one, weights) - brier(other, weights),
}


def truths(seed: int) -> dict[str, float]:
    """Return the figures of all windows there could be: exact for Brier, else of 200 000 that share no bar."""
    many = simulate(generator(seed, "truth"), 200_000, 105, BLURS)
    ones = np.ones((1, len(many[0])))
    exact = {"brier": true_brier(BLURS[0]), "brier difference": true_brier(BLURS[0]) - true_brier(BLURS[1])}
    return {name: exact.get(name, float(measure(*many, ones)[0])) for name, measure in MEASURES.items()}


def full_blocks(n: int, block: int, seed: int, n_resamples: int) -> np.ndarray:
    """Draw blocks until there are n windows: the plain circular block bootstrap."""
    rng = generator(seed, "full blocks", n, block)
    first = rng.integers(0, n, size=(n_resamples, -(-n // block), 1))
    rows = ((first + np.arange(block)) % n).reshape(n_resamples, -1)[:, :n]
    return np.stack([np.bincount(row, minlength=n) for row in rows]).astype(np.float64)


def coverage(n: int, options: argparse.Namespace, truth: dict[str, float]) -> list[str]:
    """Return the table's lines for one number of windows."""
    some = simulate(generator(options.seed, "layout"), n, options.stride, BLURS)[0]
    block = block_length(some.start_us, some.end_us)
    one_by_one = generator(options.seed, "one by one", n).multinomial(n, np.full(n, 1 / n), options.resamples)
    drawn = {
        "moola": block_weights(n, block, options.seed, options.resamples),
        "blocks, n drawn": full_blocks(n, block, options.seed, options.resamples),
        "one by one": one_by_one.astype(np.float64),
    }
    held = {(way, name): 0 for way in drawn for name in MEASURES}
    for number in range(options.simulations):
        tables = simulate(generator(options.seed, "windows", n, number), n, options.stride, BLURS)
        for way, weights in drawn.items():
            for name, measure in MEASURES.items():
                interval = percentile_interval(measure(*tables, weights))
                held[way, name] += interval is not None and interval[0] <= truth[name] <= interval[1]
    lines = []
    for way in drawn:
        shares = " | ".join(f"{100 * held[way, name] / options.simulations:.1f}" for name in MEASURES)
        lines.append(f"| {n} | {block} | {resample_size(n, block) if way == 'moola' else n} | {way} | {shares} |")
    return lines


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[60, 174, 500])
    parser.add_argument("--stride", type=int, default=26, help="bars between the starts of two windows")
    parser.add_argument("--simulations", type=int, default=600)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    truth = truths(options.seed)
    print("| windows | block | drawn | way | " + " | ".join(f"{name} %" for name in MEASURES) + " |")
    print("|---:|---:|---:|---|" + "---:|" * len(MEASURES))
    for n in options.windows:
        print("\n".join(coverage(n, options, truth)), flush=True)


if __name__ == "__main__":
    main()
