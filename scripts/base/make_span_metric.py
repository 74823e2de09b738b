"""Make the span metric of `base`: `make_span_metric.py --bars xauusd_1h_2006_2019.parquet --output metric.pt`.

Three linear maps of the encoder's vectors are learned, so that spans of one definition are found from one of them.
Definitions are drawn at random (decision 0009: never a rule that labels); bars are among those that `base` learned
from, over by 2014-06-01. A batch is the spans of one definition that point one way. Each span's start asks for the
start of another in its window (softmax over bars, a soft target of one bar), its end for the end; and the sum of the
cosines of starts, ends and insides tells which of them share one side of a state (InfoNCE), drawn anew each time.

The shipped file was learned on vectors of windows 5 bars apart; this script reads windows 15 apart, and the same bytes
are not promised.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from series import UNTIL, hourly_of
from torch import Tensor
from torch.nn import functional

from moola.core.move_finders import log_prices, states
from moola.core.seeds import derive_seed, generator
from moola.core.wide_definitions import WIDE_FINDERS, draw_wide
from moola.core.windows import WINDOW_BARS, take_windows
from moola.models.model_files import read_encoder, weights_digest
from moola.models.span_metric import LEAST_SCALE, SpanMetric, write_metric
from moola.scan.similar_spans import vectors_between
from moola.tables.bar_table import read_bars

N_DEFINITIONS, N_WINDOWS, N_VALUES = 90, 6000, 32
STEPS, BATCH, RATE, DECAY = 1200, 48, 3e-3, 1e-3
# First factors of the softmax over bars and, of InfoNCE, of starts, ends and insides.
POINTING, ALIKE, CLASS_WEIGHT = 10.0, 5.4, 2.0


@dataclass(frozen=True)
class Examples:
    """Windows of standardised vectors with the spans of every definition, their states and the way they point."""

    vectors: Tensor
    first: np.ndarray
    pointers: np.ndarray
    state: np.ndarray
    side: np.ndarray


def examples_of(ohlc: np.ndarray, vectors: np.ndarray, seed: int) -> Examples:
    """Draw windows and definitions, and find the spans."""
    last = len(vectors) - WINDOW_BARS
    first = np.sort(generator(seed, "windows of the metric").choice(last, min(N_WINDOWS, last), replace=False))
    prices = log_prices(take_windows(ohlc, first, WINDOW_BARS))
    pointers, state = [], []
    for definition in draw_wide(N_DEFINITIONS, WINDOW_BARS, seed):
        pointers.append(WIDE_FINDERS[definition.family](prices, definition))
        state.append(states(prices, pointers[-1], definition.look_bars))
    found = np.stack(pointers, axis=1)
    rows = np.arange(len(first))[:, None]
    before = np.maximum(found[..., 0] - 1, 0)
    side = np.sign(prices.close[rows, np.maximum(found[..., 1], 0)] - prices.close[rows, before])
    return Examples(torch.from_numpy(vectors), first, found, np.stack(state, axis=1), side)


class Maps(torch.nn.Module):
    """The maps for starts, ends and bars inside, and the factors of their cosines."""

    def __init__(self, n_hidden: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "span metric"))
            self.weights = torch.nn.Parameter(torch.randn(3, n_hidden, N_VALUES) / n_hidden**0.5)
        self.pointing = torch.nn.Parameter(torch.full((2,), POINTING).log())
        self.alike = torch.nn.Parameter(torch.full((3,), ALIKE).log())

    def loss(self, vectors: Tensor, pointers: Tensor, other: Tensor, is_high: Tensor) -> Tensor:
        """Return the loss of a batch: `other` is the span that each asks for, `is_high` its side of the state."""
        row, (start, end) = torch.arange(len(vectors)), pointers.T
        found = [functional.normalize(vectors @ one, dim=-1) for one in self.weights]
        inside = torch.cat([torch.zeros_like(found[2][:, :1]), found[2].cumsum(dim=1)], dim=1)
        whole = [
            found[0][row, start],
            found[1][row, end],
            functional.normalize(inside[row, end + 1] - inside[row, start]),
        ]
        total = torch.zeros(())
        for i, spot in enumerate((start, end)):
            logits = torch.einsum("wv,wbv->wb", whole[i], found[i][other]) * self.pointing[i].exp()
            off = torch.arange(vectors.shape[1]) - spot[other][:, None]
            target = torch.softmax(-0.5 * off.float().square(), dim=1)
            total = total - (target * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
        own = torch.eye(len(vectors), dtype=torch.bool)
        near = sum(factor * one @ one.T for factor, one in zip(self.alike.exp(), whole, strict=True))
        log_prob = torch.log_softmax(near.masked_fill(own, -1e9), dim=1)
        same = (is_high[:, None] == is_high[None]) & ~own
        # Where ties leave a span alone on its side, it has nothing to be told with.
        known = same.any(dim=1)
        told = torch.logsumexp(log_prob.masked_fill(~same, -1e9), dim=1)[known]
        return total - CLASS_WEIGHT * told.sum() / known.sum().clamp(min=1)


def learn(examples: Examples, steps: int, seed: int) -> np.ndarray:
    """Return the maps that were learned."""
    rng = generator(seed, "batches of the metric")
    maps = Maps(examples.vectors.shape[1], seed)
    optimizer = torch.optim.AdamW(maps.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    kept: list[float] = []
    for step in range(steps):
        definition, side = rng.integers(examples.pointers.shape[1]), rng.choice([-1, 1])
        pointers = examples.pointers[:, definition]
        fit = (pointers[:, 0] >= 0) & (pointers[:, 1] < WINDOW_BARS - 1) & (examples.side[:, definition] == side)
        rows = np.flatnonzero(fit)
        if len(rows) < 2 * BATCH:
            continue
        rows = rng.choice(rows, BATCH, replace=False)
        value = examples.state[rows, definition, rng.integers(1, examples.state.shape[2])]
        vectors = examples.vectors[torch.from_numpy(examples.first[rows][:, None] + np.arange(WINDOW_BARS))]
        other = torch.from_numpy((np.arange(BATCH) + rng.integers(1, BATCH)) % BATCH)
        loss = maps.loss(vectors, torch.from_numpy(pointers[rows]), other, torch.from_numpy(value > np.median(value)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        kept.append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            print(json.dumps({"step": step + 1, "loss": float(np.mean(kept[-100:]))}), flush=True)
    return np.asarray(maps.weights.detach().numpy())


def main() -> None:
    """Learn the metric and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, required=True, help="hourly bars of one symbol")
    parser.add_argument("--output", type=Path, required=True, help="metric file to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    bars, encoder = hourly_of(options.bars, read_bars(options.bars)), read_encoder(Path("base"))
    encoder.encoder.eval()
    read = vectors_between(encoder, bars.ohlc, 0, len(bars), torch.device("cpu"))
    center, scale = read.mean(axis=0), read.std(axis=0) + LEAST_SCALE
    weights = learn(examples_of(bars.ohlc, (read - center) / scale, options.seed), options.steps, options.seed)
    record = {
        "bars": options.bars.name,
        "n_bars": len(bars),
        "until": UNTIL,
        "steps": options.steps,
        "seed": options.seed,
    }
    write_metric(options.output, SpanMetric(weights_digest(encoder.encoder), center, scale, weights), record)
    print(json.dumps({**record, "seconds": round(time.monotonic() - begun), "bytes": options.output.stat().st_size}))


if __name__ == "__main__":
    main()
