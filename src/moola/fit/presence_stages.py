"""Both stages of presence, fitted: what starts, ends and runs at a bar, and which held-out candidates are right.

Where a person looked at everything, bars in no span are background, and a candidate without a span is wrong. Elsewhere
they are unlabelled: a sample of all bars, marked ones among them, so that every marked bar or candidate stands on both
sides, once as marked and once as one of all. What is learned is the ratio of both densities. Where marked pieces are a
random part of all pieces alike, it ranks as the probability does that a person would have marked the piece, whatever
that part is (Elkan & Noto 2008). Each tree sees all marked candidates and few of the unlabelled ones, drawn for it, so
that few trees hold a given piece that nobody marked against it (bagging; Mordelet & Vert 2014).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.tree import ExtraTreeRegressor

from moola.core.bars import Bars, join_bars
from moola.core.event_merging import overlap
from moola.core.seeds import generator
from moola.core.span_shapes import PACE_BARS
from moola.core.windows import WINDOW_BARS
from moola.errors import InvalidData
from moola.models.presence_part import (
    ENDS,
    RUNS,
    STARTS,
    BarStage,
    Chart,
    Forest,
    candidates_of,
    joined_logits,
    pair_scores,
    read_bars_of,
    span_values,
    standardised,
    unique_spans,
)

N_BLOCKS = 5
# Candidates of a class that are kept for each bar.
CANDIDATES_A_BAR = 0.1
EVENT_IOU = 0.5
# Bars in one at each scale, how many such bars a span has there at most, how far beyond its limits a scale learns from
# spans, and how many windows one behind the other a chart must hold.
SCALES, MOST_SPAN_BARS, WIDER, LEAST_WINDOWS = (1, 4, 16), 32, 1.5, 3
# The first stage: width of its targets in bars, penalty, and which bars far from spans it learns from.
TARGET_SIGMA, TARGET_REACH = 1.0, 4
PENALTY = 0.01
NEAR_BARS, FAR_STEP = 20, 3
MOST_STEPS = 100
# Lengths: the spread of their logarithms, the share of a uniform one, and how much longer than any seen they may be.
LENGTH_SPREAD, UNIFORM_SHARE, LONGER = 0.25, 0.02, 1.25
# The second stage: trees in all, a fifth of them without each block, and the share of wrong candidates that each sees.
N_TREES, LEAF, FEATURE_SHARE, WRONG_SHARE = 300, 2, 0.3, 0.3
# Half of the target is whether a candidate is right, half rises between these overlaps: nearly exact ends teach most.
NOT_AT_ALL, QUITE = 0.4, 0.8


@dataclass(frozen=True)
class Marked:
    """One symbol's bars on which a person marked spans.

    Attributes
    ----------
    bar
        First and last bar of each span.
    class_index
        Its class.
    stretches
        Stretches `[first, stop)` to learn from.
    annotated
        Whether a person looked at all of their bars, so that what is in no span is background; else it is unlabelled.
    annotator
        Who marked each span; None where nobody is named.
    looked
        Which bars each person looked at, where stretches name people; all stretches are everybody's where it is empty.
    """

    bars: Bars
    bar: Int[np.ndarray, "spans 2"]
    class_index: Int[np.ndarray, " spans"]
    stretches: Int[np.ndarray, "stretches 2"]
    annotated: bool = True
    annotator: np.ndarray | None = None
    looked: Mapping[str, Bool[np.ndarray, " bars"]] = field(default_factory=dict)

    @property
    def start_us(self) -> Int[np.ndarray, " spans"]:
        """When each span begins."""
        return np.asarray(self.bars.start_us[self.bar[:, 0]])

    @property
    def n_bars(self) -> Int[np.ndarray, " spans"]:
        """Bars of each span."""
        return np.asarray(self.bar[:, 1] - self.bar[:, 0] + 1)

    def seen_by(self, name: str | None, bar: Int[np.ndarray, "pieces 2"]) -> Bool[np.ndarray, " pieces"]:
        """Tell which pieces begin and end where a person looked; None for anybody."""
        if name is None or name not in self.looked:
            return np.ones(len(bar), dtype=bool)
        return np.asarray(self.looked[name][bar].all(axis=1))

    def marked_by(self, name: str | None) -> Bool[np.ndarray, " spans"]:
        """Return which spans are one person's; None for all."""
        if name is None or self.annotator is None:
            return np.ones(len(self.bar), dtype=bool)
        return np.asarray(self.annotator == name)


@dataclass(frozen=True)
class Learned:
    """A chart with what is known of each bar: its block of time, -1 outside the stretches.

    `fits` are the spans of lengths that this scale looks for; longer and shorter ones are right where one is proposed.
    """

    marked: Marked
    chart: Chart
    block: Int[np.ndarray, " bars"]
    span_block: Int[np.ndarray, " spans"]
    fits: Bool[np.ndarray, " spans"]

    @property
    def start_us(self) -> Int[np.ndarray, " spans"]:
        """When each span begins."""
        return self.marked.start_us


def classes_found(pair: tuple[int, int | None]) -> list[int]:
    """Return the classes of a detector."""
    return sorted({one for one in pair if one is not None})


def ways_read(pair: tuple[int, int | None], class_index: int) -> tuple[int, ...]:
    """Return how a detector reads bars for a class."""
    return tuple(way for way, one in enumerate(pair) if one == class_index)


# Scales: how many bars of a chart are one.


@dataclass(frozen=True)
class Scale:
    """`n` bars of a chart in one, for spans of `shortest` bars of the chart or more, and of `longest` or fewer."""

    n: int
    shortest: float = 0.0
    longest: float = np.inf

    def fits(self, marked: Marked) -> Bool[np.ndarray, " spans"]:
        """Tell which spans of a chart have such lengths."""
        return np.asarray((marked.n_bars >= self.shortest) & (marked.n_bars <= self.longest))

    def marked(self, chart: Marked) -> Marked:
        """Return a chart at this scale; of its stretches those bars that were annotated whole."""
        if self.n == 1:
            return chart
        first, stop = -(-chart.stretches[:, 0] // self.n), chart.stretches[:, 1] // self.n
        bars, stretches = join_bars(chart.bars, self.n), np.stack([first, np.maximum(stop, first)], axis=1)
        return replace(chart, bars=bars, bar=chart.bar // self.n, stretches=stretches, looked={})


def is_enough(block: Int[np.ndarray, " spans"], least_spans: int) -> bool:
    """Tell whether there are so many spans, half of them whatever block is left out."""
    in_block = np.bincount(block[block >= 0])
    n_spans, n_most = int(in_block.sum()), int(in_block.max(initial=0))
    return n_spans >= least_spans and n_spans - n_most >= least_spans / 2


def scales_of(learned: list[Learned], pairs: list[tuple[int, int | None]], least_spans: int) -> list[Scale]:
    """Return the scales that the lengths of spans ask for, the finest first.

    A scale of 1 reads all of them. At its own scale a longer span has more than a quarter of `MOST_SPAN_BARS` bars, and
    no more than these unless there is no coarser one. Such a scale needs so many spans of each detector's classes, half
    of them whatever block is left out, and charts that hold `LEAST_WINDOWS` windows of it.
    """
    n_bars = np.concatenate([one.marked.n_bars for one in learned])
    label = np.concatenate([one.marked.class_index for one in learned])
    block = np.concatenate([one.span_block for one in learned])
    longest_chart = max(len(one.block) for one in learned)
    room = [n for n in SCALES if n == 1 or longest_chart >= LEAST_WINDOWS * WINDOW_BARS * n]
    own = np.searchsorted([MOST_SPAN_BARS * n for n in room[:-1]], n_bars)

    def has_enough(place: int) -> bool:
        of_pairs = (block[(own == place) & np.isin(label, classes_found(pair))] for pair in pairs)
        return all(is_enough(in_block, least_spans) for in_block in of_pairs)

    coarse = [n for place, n in enumerate(room) if place and has_enough(place)]
    return [Scale(1)] + [
        Scale(n, MOST_SPAN_BARS * n / 4 / WIDER, np.inf if n == coarse[-1] else MOST_SPAN_BARS * n * WIDER)
        for n in coarse
    ]


# The first stage.


def _targets(learned: Learned, class_index: int) -> Float[np.ndarray, "bars 3"]:
    found = np.zeros((len(learned.chart), 3))
    near = np.arange(-TARGET_REACH, TARGET_REACH + 1)
    bump = np.exp(-0.5 * (near / TARGET_SIGMA) ** 2)
    for start, end in learned.marked.bar[(learned.marked.class_index == class_index) & learned.fits]:
        for what, spot in ((STARTS, start), (ENDS, end)):
            inside = (spot + near >= 0) & (spot + near < len(found))
            rows = (spot + near)[inside]
            found[rows, what] = np.maximum(found[rows, what], bump[inside])
        found[start : end + 1, RUNS] = 1.0
    return found


def _rows_of(learned: Learned, blocks: np.ndarray, purge: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bars of some blocks to learn from, with their weights: all near spans, of others each third."""
    own = np.isin(learned.block, blocks)
    others = (learned.block >= 0) & ~own
    own &= ~_widened(others, purge)
    near = np.zeros(len(own), dtype=bool)
    for start, end in learned.marked.bar:
        near[max(start - NEAR_BARS, 0) : end + NEAR_BARS + 1] = True
    far = np.arange(len(own)) % FAR_STEP == 0
    rows = np.flatnonzero(own & (near | far))
    return rows, np.where(near[rows], 1.0, float(FAR_STEP))


def _widened(mask: Bool[np.ndarray, " bars"], reach: int) -> Bool[np.ndarray, " bars"]:
    count = np.concatenate([[0], np.cumsum(mask)])
    bar = np.arange(len(mask))
    return np.asarray(count[np.minimum(bar + reach + 1, len(mask))] > count[np.maximum(bar - reach, 0)])


def fit_stage(learned: list[Learned], pair: tuple[int, int | None], blocks: np.ndarray) -> BarStage:
    """Fit three penalised logistic regressions to bars of some blocks, each way a class is known.

    Of unlabelled bars each counts once as one of all, and, as far as it is marked, once more as marked.

    Raises
    ------
    InvalidData
        No bars are left to learn from, or no spans in them.
    """
    values, targets, weights, lengths = [], [], [], []
    for one in learned:
        rows, weight = _rows_of(one, blocks, PACE_BARS)
        for way, class_index in enumerate(pair):
            if class_index is None:
                continue
            values.append(one.chart.values[way][rows])
            targets.append(_targets(one, class_index)[rows])
            weights.append(weight)
            chosen = (one.marked.class_index == class_index) & np.isin(one.span_block, blocks) & one.fits
            lengths.append(one.marked.n_bars[chosen])
    inputs, weight = np.concatenate(values), np.concatenate(weights)
    n_bars = np.concatenate(lengths)
    if not len(inputs) or not len(n_bars):
        raise InvalidData(
            f"presence must learn from bars with spans that lie {PACE_BARS} bars or more from each block that is held "
            f"out, but of the {sum(int((one.block >= 0).sum()) for one in learned)} bars that were looked at none "
            "do. Look at a longer stretch, or leave --spans out."
        )
    center, scale = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64) + 1e-6
    inputs = standardised(inputs, center.astype(np.float32), scale.astype(np.float32)).astype(np.float32)
    target = np.concatenate(targets)
    again = 0.0 if learned[0].marked.annotated else target
    fitted = [_logistic(*each) for each in _by_what(inputs, target / (1 + again), weight[:, None] * (1 + again))]
    log_length, shortest = _log_lengths(n_bars)
    coefficients = np.stack([one[:-1] for one in fitted])
    return BarStage(center, scale, coefficients, np.array([one[-1] for one in fitted]), log_length, shortest, -1e9)


def _by_what(
    inputs: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    weight = np.broadcast_to(weight, target.shape)
    for what in range(target.shape[1]):
        yield inputs, target[:, what], weight[:, what]


def _logistic(inputs: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return weights and, last, the bias of the least weighted log-loss with an L2 penalty."""
    share = (weight / weight.sum()).astype(np.float32)
    mean = float(np.clip((weight * target).sum() / weight.sum(), 1e-6, 1 - 1e-6))
    target = target.astype(np.float32)

    def loss(found: np.ndarray) -> tuple[float, np.ndarray]:
        z = inputs @ found[:-1].astype(np.float32) + np.float32(found[-1])
        off = share * (expit(z) - target)
        value = float((share * (np.logaddexp(0, z) - target * z)).sum(dtype=np.float64))
        gradient = np.append(inputs.T @ off, off.sum(dtype=np.float64)).astype(np.float64)
        gradient[:-1] += PENALTY * found[:-1]
        return value + PENALTY / 2 * float((found[:-1] ** 2).sum()), gradient

    first = np.append(np.zeros(inputs.shape[1]), np.log(mean / (1 - mean)))
    options = {"maxiter": MOST_STEPS, "maxcor": 20}
    return np.asarray(minimize(loss, first, jac=True, method="L-BFGS-B", options=options).x)


def _log_lengths(n_bars: Int[np.ndarray, " spans"]) -> tuple[Float[np.ndarray, " lengths"], int]:
    """Return the logarithm of each length's share, up to the longest allowed, and the shortest allowed."""
    longest = int(np.ceil(n_bars.max() * LONGER))
    lengths = np.arange(1, longest + 1)
    apart = np.log(lengths)[:, None] - np.log(n_bars)[None, :]
    shape = np.exp(-0.5 * (apart / LENGTH_SPREAD) ** 2).sum(axis=1)
    share = (1 - UNIFORM_SHARE) * shape / shape.sum() + UNIFORM_SHARE / longest
    return np.log(share / share.max()), max(int(n_bars.min() / LONGER), 1)


# Candidates of held-out blocks, and the forest that learns from them.


@dataclass(frozen=True)
class Found:
    """What first stages without a block propose in it, chart by chart: each class with the scores of its pairs."""

    learned: list[Learned]
    pairs: list[tuple[int, int | None]]
    block: int
    stages: list[BarStage]
    logits: list[list[tuple[np.ndarray, ...]]]
    proposed: list[list[tuple[np.ndarray, np.ndarray]]]

    @classmethod
    def in_block(cls, learned: list[Learned], pairs: list[tuple[int, int | None]], block: int) -> Found:
        """Fit without a block, and propose in it."""
        rest = np.setdiff1d(np.arange(N_BLOCKS), [block])
        stages = [fit_stage(learned, pair, rest) for pair in pairs]
        logits = [[read_bars_of(stage, one.chart) for one in learned] for stage in stages]
        proposed = []
        for pair, stage, by_chart in zip(pairs, stages, logits, strict=True):
            for number, one in enumerate(learned):
                own = one.block == block
                proposed.append(
                    [_proposed(stage, by_chart[number], ways_read(pair, each), own) for each in classes_found(pair)]
                )
        return cls(learned, pairs, block, stages, logits, proposed)

    def scores(self, number: int) -> np.ndarray:
        """Scores of all that a detector proposes."""
        n = len(self.learned)
        return np.concatenate([score for each in self.proposed[number * n : (number + 1) * n] for _, score in each])

    @property
    def n_bars(self) -> int:
        """Annotated bars of the block."""
        return sum(int((one.block == self.block).sum()) for one in self.learned)

    def kept(self, floors: list[BarStage]) -> Candidates:
        """Return the candidates that score as high as the final first stage will ask for."""
        pieces = []
        n = len(self.learned)
        for place in range(n):
            spans = [np.zeros((0, 2), dtype=np.int64)]
            for number, floor in enumerate(floors):
                spans += [bar[score >= floor.floor] for bar, score in self.proposed[number * n + place]]
            pieces.append(self.read(place, unique_spans(spans)))
        return Candidates.joined(pieces)

    def marked(self) -> Candidates:
        """Return the block's spans themselves, which are right altogether whether they were proposed or not."""
        own = [one.marked.bar[(one.span_block == self.block) & one.fits] for one in self.learned]
        return Candidates.joined([self.read(place, unique_spans([spans])) for place, spans in enumerate(own)])

    def read(self, place: int, bar: Int[np.ndarray, "spans 2"]) -> Candidates:
        """Return pieces of a chart with what the forests read of them."""
        one = self.learned[place]
        values = [
            [span_values(stage, one.chart, by_chart[place], way, bar) for way in range(len(one.chart.values))]
            for stage, by_chart in zip(self.stages, self.logits, strict=True)
        ]
        n_classes = max(each for pair in self.pairs for each in classes_found(pair)) + 1
        best = best_overlap(bar, one.marked, n_classes)
        return Candidates(self.pairs, bar, np.full(len(bar), place), np.full(len(bar), self.block), best, values)


def _proposed(
    stage: BarStage, logits: tuple[np.ndarray, ...], ways: tuple[int, ...], own: Bool[np.ndarray, " bars"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return candidates that lie in a block whole, with their scores."""
    joined = joined_logits(logits, ways)
    bar = candidates_of(stage, joined)
    n_own = np.concatenate([[0], np.cumsum(own)])
    bar = bar[n_own[bar[:, 1] + 1] - n_own[bar[:, 0]] == bar[:, 1] - bar[:, 0] + 1]
    return bar, pair_scores(stage, joined)[bar[:, 0], bar[:, 1] - bar[:, 0]]


def least_score(found: list[Found], number: int) -> float:
    """Return the score above which a detector keeps so many candidates a bar."""
    scores = np.sort(np.concatenate([one.scores(number) for one in found]))[::-1]
    n_kept = int(CANDIDATES_A_BAR * sum(one.n_bars for one in found) * len(classes_found(found[0].pairs[number])))
    return float(scores[min(n_kept, len(scores) - 1)])


@dataclass(frozen=True)
class Candidates:
    """Candidates of held-out blocks.

    Attributes
    ----------
    chart
        Of which chart each is.
    best
        Largest overlap with a span of each class.
    values
        What each detector's forest reads, each way.
    """

    pairs: list[tuple[int, int | None]]
    bar: np.ndarray
    chart: np.ndarray
    block: np.ndarray
    best: np.ndarray
    values: list[list[np.ndarray]]

    def __len__(self) -> int:
        return len(self.bar)

    @classmethod
    def joined(cls, pieces: list[Candidates]) -> Candidates:
        """Return all, one behind the other."""
        bar, chart, block, best = (
            np.concatenate([getattr(one, name) for one in pieces]) for name in ("bar", "chart", "block", "best")
        )
        values = [
            [np.concatenate(ways) for ways in zip(*by_piece, strict=True)]
            for by_piece in zip(*(one.values for one in pieces), strict=True)
        ]
        return cls(pieces[0].pairs, bar, chart, block, best, values)

    def score(self, forest: Forest, pair: tuple[int, int | None], class_index: int) -> np.ndarray:
        """Return a forest's scores of a class."""
        by_way = self.values[self.pairs.index(pair)]
        return np.asarray(np.mean([forest.score(by_way[way]) for way in ways_read(pair, class_index)], axis=0))


def best_overlap(bar: Int[np.ndarray, "spans 2"], marked: Marked, n_classes: int) -> Float[np.ndarray, "spans classes"]:
    """Return the largest overlap (IoU) of each candidate with a span of each of the first classes."""
    best = np.zeros((len(bar), n_classes))
    own = marked.class_index < n_classes
    for span, class_index in zip(marked.bar[own], marked.class_index[own], strict=True):
        near = slice(*np.searchsorted(bar[:, 0], [span[0] - 2 * (span[1] - span[0]) - 2, span[1] + 1]))
        best[near, class_index] = np.maximum(best[near, class_index], overlap(span, bar[near]))
    return best


def fit_forest(rows: Candidates, pair: tuple[int, int | None], block: int, seed: int, annotated: bool) -> Forest:
    """Fit trees that separate right candidates from wrong ones, or marked ones from all, outside one block."""
    by_way = rows.values[rows.pairs.index(pair)]
    known = [(way, one) for way, one in enumerate(pair) if one is not None]
    chosen = rows.block != block
    values = np.concatenate([by_way[way][chosen] for way, _ in known])
    best = np.concatenate([rows.best[chosen, one] for _, one in known])
    right = best >= EVENT_IOU
    if right.all() or not right.any():
        raise InvalidData(
            f"presence must learn from right and wrong candidates, but {int(right.sum())} of {len(right)} are right. "
            "Give stretches with spans and with bars between them."
        )
    rng = generator(seed, "presence", pair[0], block)
    drawn = _right_against_wrong(best, rng) if annotated else _marked_against_all(right, rng)
    trees = []
    for own, target in itertools.islice(drawn, N_TREES // N_BLOCKS):
        tree = ExtraTreeRegressor(
            min_samples_leaf=LEAF, max_features=FEATURE_SHARE, random_state=int(rng.integers(2**31))
        )
        trees.append(tree.fit(values[own], target))
    return forest_of(trees)


def _right_against_wrong(
    best: Float[np.ndarray, " rows"], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for one tree after the other, rows and how right each is: all near a span, and a part of the others."""
    target = (np.clip((best - NOT_AT_ALL) / (QUITE - NOT_AT_ALL), 0.0, 1.0) + (best >= EVENT_IOU)) / 2
    near, wrong = np.flatnonzero(target > 0), np.flatnonzero(target == 0)
    n_drawn = int(np.ceil(WRONG_SHARE * len(wrong)))
    while True:
        own = np.concatenate([near, rng.choice(wrong, n_drawn, replace=False)])
        yield own, target[own]


def _marked_against_all(
    right: Bool[np.ndarray, " rows"], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for one tree after the other, all marked rows as 1 and as many drawn from all as 0."""
    marked = np.flatnonzero(right)
    while True:
        yield np.concatenate([marked, rng.integers(0, len(right), len(marked))]), np.repeat([1.0, 0.0], len(marked))


def forest_of(fitted: list[Any]) -> Forest:
    """Lay fitted trees, whose target is between 0 and 1, one behind the other."""
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "cut", "left", "right", "share")}
    roots, n_nodes = [], 0
    for tree in (one.tree_ for one in fitted):
        roots.append(n_nodes)
        is_leaf = tree.children_left < 0
        columns = {
            "feature": np.where(is_leaf, 0, tree.feature).astype(np.int64),
            "cut": np.where(is_leaf, 0.0, tree.threshold),
            "left": np.where(is_leaf, -1, tree.children_left + n_nodes).astype(np.int64),
            "right": np.where(is_leaf, -1, tree.children_right + n_nodes).astype(np.int64),
            "share": np.clip(tree.value[:, 0, 0], 0.0, 1.0),
        }
        for name, column in columns.items():
            pieces[name].append(column)
        n_nodes += tree.node_count
    return Forest(np.array(roots, dtype=np.int64), **{name: np.concatenate(each) for name, each in pieces.items()})
