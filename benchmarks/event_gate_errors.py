"""How often the gate of events promotes a model that is no better, and how often one that is.

A chart is simulated with spans in bursts of time; each model proposes the same candidates, right and false ones, and
gives each a probability that tells them apart with errors of its own. A gain of 0 is a model as good as the baseline:
its promotes are the gate's false alarms, at most 5 % by design. `better` is the share in which average precision alone
was better with probability 0.95, `gain seen` its mean difference. Prints a markdown table.
"""

from __future__ import annotations

import argparse

import numpy as np

from moola.core.seeds import generator
from moola.evaluation.event_gate import judge_events
from moola.evaluation.gates import SURE
from moola.evaluation.span_metrics import JudgedEvents, Pieces, judged_events, make_chart

HOUR_US = 3_600_000_000
BARS_A_SPAN = 160
# False candidates for each span, and the share of spans among the candidates of a model.
N_FALSE, SHARE_PROPOSED = 5, 0.9
# Bursts of this many bars, in which spans are several times as frequent as between them.
BURST_BARS, BURST_FACTOR = 480, 3.0


def simulate(rng: np.random.Generator, n_bars: int, separations: tuple[float, float]) -> list[JudgedEvents]:
    """Return a table of events for each model on one simulated chart.

    The logit of a candidate's probability is normal, with mean +d/2 where it is right and -d/2 where not, where d is
    the model's separation, shifted so that the probabilities are calibrated; half of its variance is common to both
    models, as what both find hard is.
    """
    n_spans = n_bars // BARS_A_SPAN
    start = _places(rng, n_bars, n_spans)
    length = rng.integers(5, 16, n_spans)
    spans = Pieces(np.stack([start, start + length - 1], axis=1), rng.integers(0, 2, n_spans), np.ones(n_spans))
    zeros = np.zeros(n_bars, dtype=np.int64)
    chart = make_chart(np.arange(n_bars) * HOUR_US, zeros, zeros == 0, spans)
    is_proposed = rng.random(n_spans) < SHARE_PROPOSED
    false = _places(rng, n_bars, N_FALSE * n_spans)
    false_bar = np.stack([false, false + rng.integers(5, 16, len(false)) - 1], axis=1)
    bar = np.concatenate([spans.bar[is_proposed], false_bar])
    label = np.concatenate([spans.label[is_proposed], rng.integers(0, 2, len(false))])
    right = np.arange(len(bar)) < is_proposed.sum()
    common = rng.normal(size=len(bar))
    made = []
    for separation in separations:
        noise = (common + rng.normal(size=len(bar))) / np.sqrt(2)
        # Two normals of variance d that lie d apart have d times the place between them as log odds, plus the prior's.
        score = np.sqrt(separation) * noise + np.where(right, separation / 2, -separation / 2)
        prob = 1 / (1 + np.exp(-(score + np.log(SHARE_PROPOSED / N_FALSE))))
        made.append(judged_events(Pieces(bar, label, prob), spans, chart))
    return made


def _places(rng: np.random.Generator, n_bars: int, n: int) -> np.ndarray:
    """Draw first bars, more of them in some bursts of time than in others, at most one for each 16 bars."""
    slots = np.arange(n_bars // 16)
    is_burst = rng.random(n_bars // BURST_BARS + 1) < 0.3
    weight = np.where(is_burst[slots * 16 // BURST_BARS], BURST_FACTOR, 1.0)
    return np.sort(rng.choice(slots, size=min(n, len(slots)), replace=False, p=weight / weight.sum())) * 16


def row_of(n_bars: int, separation: float, options: argparse.Namespace) -> str:
    """Return the table's line for one number of bars and one separation of the challenger."""
    words, sure, gains = [], [], []
    for number in range(options.simulations):
        rng = generator(options.seed, "event gate", n_bars, str(separation), number)
        challenger, baseline = simulate(rng, n_bars, (separation, options.baseline))
        verdict = judge_events(
            challenger, baseline, (options.min_prob, options.min_prob), options.seed, n_resamples=options.resamples
        )
        words.append(verdict.verdict)
        sure.append((verdict.probability_better or 0.0) >= SURE)
        gains.append(verdict.comparisons[0].difference)
    shares = " | ".join(f"{100 * words.count(word) / len(words):.1f}" for word in ("promote", "inconclusive", "hold"))
    return (
        f"| {n_bars:,} | {n_bars // BARS_A_SPAN} | {separation:g} | {np.mean(gains):+.3f} | {len(words)} | {shares} | "
        f"{100 * np.mean(sure):.1f} |"
    )


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, nargs="+", default=[5_000, 10_000, 25_000])
    parser.add_argument("--separations", type=float, nargs="+", default=[4.0, 5.0, 6.0, 8.0])
    parser.add_argument("--baseline", type=float, default=4.0, help="separation of the baseline")
    parser.add_argument("--min-prob", type=float, default=0.3, help="as in `moola gate`")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| bars | spans | separation | gain seen | simulations | promote % | inconclusive % | hold % | better % |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for n_bars in options.bars:
        for separation in options.separations:
            print(row_of(n_bars, separation, options), flush=True)


if __name__ == "__main__":
    main()
