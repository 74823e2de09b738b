"""How often the gate promotes a model that is no better, and how often one that is, on windows that share bars.

For each number of windows and each true gain in Brier: the share of verdicts `promote`, the share in which
Brier alone was better with probability 0.95, the median of the gate's own figure of windows that would show this
gain in 80 % of cases, and the share of simulations of so many windows that do show it. A gain of 0 is a model as
good as the baseline with errors of its own: its promotes are the gate's false alarms, at most 5 % by design. Both
models are perfectly calibrated, so that each time the ECE rule is broken is by chance: verdicts of `--ece-rule noise`
stand beside the contract's. Prints a markdown table. With a stride of 26 bars a window shares bars with the next 4.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from unittest.mock import patch

import numpy as np
from simulated_windows import CLASS_NAMES, SHARE_OF_SECOND, blur_of, simulate

from moola.core.seeds import generator
from moola.evaluation import gates
from moola.evaluation.comparisons import block_weights
from moola.evaluation.figures import TrainingFacts
from moola.options.option_fields import MIN_GAIN

FACTS = TrainingFacts(
    {CLASS_NAMES[0]: round(1000 * (1 - SHARE_OF_SECOND)), CLASS_NAMES[1]: round(1000 * SHARE_OF_SECOND)},
    None,
    None,
    None,
)


def row_of(n: int, gain: float, options: argparse.Namespace) -> str:
    """Return the table's line for one number of windows and one true gain."""
    blurs = (blur_of(options.baseline_brier - gain), blur_of(options.baseline_brier))
    n_simulations = options.simulations if gain else options.null_simulations
    verdicts, noise = [], []
    for number in range(n_simulations):
        rng = generator(options.seed, "gate", n, str(gain), number)
        tables = simulate(rng, n, options.stride, blurs)
        for found, rule in ((verdicts, "contract"), (noise, "noise")):
            found.append(gates.judge(*tables, FACTS, [], options.seed, min_gain=options.min_gain, ece_rule=rule))
    known = [verdict for verdict in verdicts if verdict.comparisons]
    broken = np.mean([not row.holds for verdict in known for row in verdict.comparisons if row.is_ece])
    sure = np.mean([(verdict.probability_better or 0.0) >= gates.SURE for verdict in known])
    shares = " | ".join(shares_of([verdict.verdict for verdict in found]) for found in (verdicts, noise))
    return (
        f"| {n} | {gain:g} | {n_simulations} | {100 * broken:.1f} | {shares} | {100 * sure:.1f} | "
        f"{power_of(n, gain, blurs, options)} |"
    )


def shares_of(words: list[str]) -> str:
    """Return the shares of the three verdicts in percent, as three columns."""
    return " | ".join(f"{100 * words.count(word) / len(words):.1f}" for word in ("promote", "inconclusive", "hold"))


def power_of(n: int, gain: float, blurs: tuple[float, float], options: argparse.Namespace) -> str:
    """Return how many windows would show this gain by the gate's figure from `n`, and how often so many do."""
    if not gain or not options.power_simulations:
        return " | "
    needed = []
    for number in range(options.power_simulations):
        rng = generator(options.seed, "needed", n, str(gain), number)
        judged = gates.judge(*simulate(rng, n, options.stride, blurs), FACTS, [], options.seed, min_gain=gain)
        needed.append(n + (judged.n_more_min_gain or 0))
    windows = int(np.median(needed))
    shown = []
    for number in range(options.power_simulations):
        rng = generator(options.seed, "power", windows, str(gain), number)
        judged = gates.judge(*simulate(rng, windows, options.stride, blurs), FACTS, [], options.seed)
        shown.append((judged.probability_better or 0.0) >= gates.SURE)
    return f"{windows} | {100 * np.mean(shown):.1f}"


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[35, 60, 174, 500])
    parser.add_argument("--gains", type=float, nargs="+", default=[0.0, 0.01, 0.02, 0.04])
    parser.add_argument("--baseline-brier", type=float, default=0.205, help="the class share alone has 0.2275")
    parser.add_argument("--stride", type=int, default=26, help="bars between the starts of two windows")
    parser.add_argument("--simulations", type=int, default=200, help="for each gain above 0")
    parser.add_argument("--null-simulations", type=int, default=1000, help="for the gain of 0")
    parser.add_argument("--power-simulations", type=int, default=200, help="of the windows that would show a gain")
    parser.add_argument("--min-gain", type=float, default=MIN_GAIN, help="as in `moola gate`")
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    @lru_cache(maxsize=8)
    def fewer_resamples(n_windows: int, block: int, seed: int) -> np.ndarray:
        return block_weights(n_windows, block, seed, options.resamples)

    print(
        "| windows | true gain | simulations | ECE rule broken % | promote % | inconclusive % | hold % "
        "| noise: promote % | inconclusive % | hold % | Brier sure % "
        "| windows that show it in 80 % | of so many do % |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    with patch.object(gates, "block_weights", fewer_resamples):
        for n in options.windows:
            for gain in options.gains:
                print(row_of(n, gain, options), flush=True)


if __name__ == "__main__":
    main()
