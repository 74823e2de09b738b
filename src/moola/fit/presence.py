"""Learning where nothing is: presence from spans on annotated stretches (specification 13).

Blocks of time are held out by turns. The first stage is fitted without a block and proposes candidates in it; each is
right where it overlaps a span of its class at IoU 0.5. The forest learns from these alone, so from what the first stage
says of bars that it has not seen. Held out in the same blocks, it gives the scores that are calibrated, and among which
the threshold with the best F1 is found, once overlapping candidates are left out and each span is matched once.

Bars outside annotated stretches are never background: they are not learned from at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.ensemble import ExtraTreesClassifier

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents, overlap, suppress
from moola.core.features import relative_features
from moola.core.seeds import derive_seed
from moola.core.span_shapes import PACE_BARS
from moola.core.windows import allowed_gap_s, cut_windows, take_windows
from moola.errors import InvalidData
from moola.evaluation.calibration import fit_platt
from moola.fit.chart_reading import BarVectors, heard, n_ways, vectors_heard, zone_of
from moola.fit.predicting import read_windows_both_ways
from moola.models.model_files import ModelFile
from moola.models.presence_part import (
    ENDS,
    RUNS,
    STARTS,
    BarStage,
    Chart,
    Detector,
    Forest,
    Presence,
    candidates_of,
    chart_of,
    joined_logits,
    pair_scores,
    read_bars_of,
    score_logit,
    span_values,
    standardised,
    unique_spans,
)

# Windows of a chart are so far apart; scans of any stride read the same means, more or less smoothly.
STRIDE = 5
N_BLOCKS = 5
# Candidates of a class that are kept for each bar.
CANDIDATES_A_BAR = 0.1
EVENT_IOU = 0.5
MAX_OVERLAP = 0.1
# The first stage: width of its targets in bars, penalty, and which bars far from spans it learns from.
TARGET_SIGMA, TARGET_REACH = 1.0, 4
PENALTY = 0.01
NEAR_BARS, FAR_STEP = 20, 3
MOST_STEPS = 100
# Lengths: the spread of their logarithms, the share of a uniform one, and how much longer than any seen they may be.
LENGTH_SPREAD, UNIFORM_SHARE, LONGER = 0.25, 0.02, 1.25
N_TREES, LEAF, FEATURE_SHARE = 300, 2, 0.3
LEAST_SPANS = 10
WINDOWS_AT_A_TIME = 1024


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
        Annotated stretches `[first, stop)`: whatever in them is in no span is background.
    """

    bars: Bars
    bar: Int[np.ndarray, "spans 2"]
    class_index: Int[np.ndarray, " spans"]
    stretches: Int[np.ndarray, "stretches 2"]


@dataclass(frozen=True)
class _Learned:
    """A chart with what is known of each bar: its block of time, -1 outside annotated stretches."""

    marked: Marked
    chart: Chart
    block: Int[np.ndarray, " bars"]
    span_block: Int[np.ndarray, " spans"]

    def spans_of(self, block: int) -> Int[np.ndarray, " rows"]:
        return np.flatnonzero(self.span_block == block)


def fit_presence(
    model: ModelFile, charts: list[Marked], device: torch.device, seed: int, read: list[Chart] | None = None
) -> Presence:
    """Learn the presence part of a model whose encoder has not learned from these spans.

    `read` holds the charts as the encoder reads them, where that is known already.

    Raises
    ------
    InvalidData
        There are too few spans of a class inside annotated stretches.
    """
    n_classes = len(model.class_names)
    counts = np.bincount(np.concatenate([one.class_index for one in charts]), minlength=n_classes)
    if counts.min() < LEAST_SPANS:
        least = int(counts.argmin())
        raise InvalidData(
            f"presence must have {LEAST_SPANS} spans of each class inside annotated stretches, but there are "
            f"{counts[least]} of {model.class_names[least]}. Mark more, or leave --stretches out."
        )
    read = [read_chart_of(model, one.bars, device) for one in charts] if read is None else read
    learned = _with_blocks(charts, read)
    pairs = _detector_classes(model)
    everywhere = np.arange(-1, N_BLOCKS)
    stages = [_fit_stage(learned, pair, np.setdiff1d(everywhere, [-1])) for pair in pairs]
    found = [_Found.in_block(learned, pairs, block) for block in range(N_BLOCKS)]
    stages = [replace(stage, floor=_floor(found, number)) for number, stage in enumerate(stages)]
    rows = _Candidates.joined([one.kept(stages) for one in found])
    forests = [_fit_forest(rows, pair, np.ones(len(rows), dtype=bool), seed, "all") for pair in pairs]
    score = np.full((len(rows), n_classes), np.nan)
    for block in range(N_BLOCKS):
        own = rows.block == block
        for pair in pairs:
            forest = _fit_forest(rows, pair, ~own, seed, block)
            for one in _classes(pair):
                score[own, one] = rows.score(forest, pair, one)[own]
    detectors = [Detector(*pair, stage, forest) for pair, stage, forest in zip(pairs, stages, forests, strict=True)]
    return _calibrated(detectors, learned, rows, score, counts, model)


def _detector_classes(model: ModelFile) -> list[tuple[int, int | None]]:
    """Return the classes of each detector: a class and the one that it is upside down share one."""
    if model.mirror is None:
        return [(one, None) for one in range(len(model.class_names))]
    return [(one, other) for one, other in enumerate(model.mirror) if one <= other]


def _classes(pair: tuple[int, int | None]) -> list[int]:
    return sorted({one for one in pair if one is not None})


def _ways(pair: tuple[int, int | None], class_index: int) -> tuple[int, ...]:
    return tuple(way for way, one in enumerate(pair) if one == class_index)


def read_chart_of(model: ModelFile, bars: Bars, device: torch.device) -> Chart:
    """Read all of a symbol's bars."""
    n_seen, ways = model.n_seen_bars, n_ways(model)
    cut = cut_windows(bars, STRIDE, n_seen, allowed_gap_s(bars.start_us))
    sums = BarVectors(len(bars), model.network.encoder.output_dim, ways, zone_of(model))
    for first in range(0, len(cut), WINDOWS_AT_A_TIME):
        rows = cut.first_bar[first : first + WINDOWS_AT_A_TIME]
        with heard(model.network.encoder) as said:
            read_windows_both_ways(model, relative_features(take_windows(bars.ohlc, rows, n_seen)), device)
        sums.add(rows, vectors_heard(said, len(rows), model))
    return chart_of(bars.ohlc, *sums.means())


def _with_blocks(charts: list[Marked], read: list[Chart]) -> list[_Learned]:
    """Cut annotated bars into blocks of time with as many spans each; a span is in the block of its start."""
    starts = np.sort(np.concatenate([one.bars.start_us[one.bar[:, 0]] for one in charts]))
    edges = starts[[len(starts) * number // N_BLOCKS for number in range(1, N_BLOCKS)]]
    found = []
    for marked, chart in zip(charts, read, strict=True):
        block = np.searchsorted(edges, marked.bars.start_us, side="right")
        annotated = np.zeros(len(marked.bars), dtype=bool)
        for first, stop in marked.stretches:
            annotated[first:stop] = True
        block = np.where(annotated & chart.seen, block, -1)
        found.append(_Learned(marked, chart, block, block[marked.bar[:, 0]]))
    return found


# The first stage.


def _targets(learned: _Learned, class_index: int) -> Float[np.ndarray, "bars 3"]:
    found = np.zeros((len(learned.chart), 3))
    near = np.arange(-TARGET_REACH, TARGET_REACH + 1)
    bump = np.exp(-0.5 * (near / TARGET_SIGMA) ** 2)
    for start, end in learned.marked.bar[learned.marked.class_index == class_index]:
        for what, spot in ((STARTS, start), (ENDS, end)):
            inside = (spot + near >= 0) & (spot + near < len(found))
            rows = (spot + near)[inside]
            found[rows, what] = np.maximum(found[rows, what], bump[inside])
        found[start : end + 1, RUNS] = 1.0
    return found


def _rows_of(learned: _Learned, blocks: np.ndarray, purge: int) -> tuple[np.ndarray, np.ndarray]:
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


def _fit_stage(learned: list[_Learned], pair: tuple[int, int | None], blocks: np.ndarray) -> BarStage:
    """Fit three penalised logistic regressions to bars of some blocks, each way a class is known."""
    values, targets, weights, lengths = [], [], [], []
    for one in learned:
        rows, weight = _rows_of(one, blocks, PACE_BARS)
        for way, class_index in enumerate(pair):
            if class_index is None:
                continue
            values.append(one.chart.values[way][rows])
            targets.append(_targets(one, class_index)[rows])
            weights.append(weight)
            chosen = (one.marked.class_index == class_index) & np.isin(one.span_block, blocks)
            lengths.append((one.marked.bar[chosen, 1] - one.marked.bar[chosen, 0]) + 1)
    inputs, weight = np.concatenate(values), np.concatenate(weights)
    center, scale = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64) + 1e-6
    inputs = standardised(inputs, center.astype(np.float32), scale.astype(np.float32)).astype(np.float32)
    target = np.concatenate(targets)
    fitted = [_logistic(inputs, target[:, what], weight) for what in range(3)]
    log_length, shortest = _log_lengths(np.concatenate(lengths))
    coefficients = np.stack([one[:-1] for one in fitted])
    return BarStage(center, scale, coefficients, np.array([one[-1] for one in fitted]), log_length, shortest, -1e9)


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
class _Found:
    """What first stages without a block propose in it, chart by chart: each class with the scores of its pairs."""

    learned: list[_Learned]
    pairs: list[tuple[int, int | None]]
    block: int
    stages: list[BarStage]
    logits: list[list[tuple[np.ndarray, ...]]]
    proposed: list[list[tuple[np.ndarray, np.ndarray]]]

    @classmethod
    def in_block(cls, learned: list[_Learned], pairs: list[tuple[int, int | None]], block: int) -> _Found:
        rest = np.setdiff1d(np.arange(N_BLOCKS), [block])
        stages = [_fit_stage(learned, pair, rest) for pair in pairs]
        logits = [[read_bars_of(stage, one.chart) for one in learned] for stage in stages]
        proposed = []
        for pair, stage, by_chart in zip(pairs, stages, logits, strict=True):
            for number, one in enumerate(learned):
                own = one.block == block
                proposed.append([_proposed(stage, by_chart[number], _ways(pair, each), own) for each in _classes(pair)])
        return cls(learned, pairs, block, stages, logits, proposed)

    def scores(self, number: int) -> np.ndarray:
        """Scores of all that a detector proposes."""
        n = len(self.learned)
        return np.concatenate([score for each in self.proposed[number * n : (number + 1) * n] for _, score in each])

    @property
    def n_bars(self) -> int:
        """Annotated bars of the block."""
        return sum(int((one.block == self.block).sum()) for one in self.learned)

    def kept(self, floors: list[BarStage]) -> _Candidates:
        """Return the candidates that score as high as the final first stage will ask for."""
        pieces = []
        n = len(self.learned)
        for place, one in enumerate(self.learned):
            spans = [np.zeros((0, 2), dtype=np.int64)]
            for number, floor in enumerate(floors):
                spans += [bar[score >= floor.floor] for bar, score in self.proposed[number * n + place]]
            bar = unique_spans(spans)
            values = [
                [span_values(stage, one.chart, by_chart[place], way, bar) for way in range(len(one.chart.values))]
                for stage, by_chart in zip(self.stages, self.logits, strict=True)
            ]
            n_classes = max(each for pair in self.pairs for each in _classes(pair)) + 1
            pieces.append(
                _Candidates(
                    self.pairs,
                    bar,
                    np.full(len(bar), place),
                    np.full(len(bar), self.block),
                    best_overlap(bar, one.marked, n_classes),
                    values,
                )
            )
        return _Candidates.joined(pieces)


def _proposed(
    stage: BarStage, logits: tuple[np.ndarray, ...], ways: tuple[int, ...], own: Bool[np.ndarray, " bars"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return candidates that lie in a block whole, with their scores."""
    joined = joined_logits(logits, ways)
    bar = candidates_of(stage, joined)
    n_own = np.concatenate([[0], np.cumsum(own)])
    bar = bar[n_own[bar[:, 1] + 1] - n_own[bar[:, 0]] == bar[:, 1] - bar[:, 0] + 1]
    return bar, pair_scores(stage, joined)[bar[:, 0], bar[:, 1] - bar[:, 0]]


def _floor(found: list[_Found], number: int) -> float:
    """Return the score above which a detector keeps so many candidates a bar."""
    scores = np.sort(np.concatenate([one.scores(number) for one in found]))[::-1]
    n_kept = int(CANDIDATES_A_BAR * sum(one.n_bars for one in found) * len(_classes(found[0].pairs[number])))
    return float(scores[min(n_kept, len(scores) - 1)])


@dataclass(frozen=True)
class _Candidates:
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
    def joined(cls, pieces: list[_Candidates]) -> _Candidates:
        bar, chart, block, best = (
            np.concatenate([getattr(one, name) for one in pieces]) for name in ("bar", "chart", "block", "best")
        )
        values = [
            [np.concatenate(ways) for ways in zip(*by_piece, strict=True)]
            for by_piece in zip(*(one.values for one in pieces), strict=True)
        ]
        return cls(pieces[0].pairs, bar, chart, block, best, values)

    def score(self, forest: Forest, pair: tuple[int, int | None], class_index: int) -> np.ndarray:
        """Return what a forest says of a class."""
        by_way = self.values[self.pairs.index(pair)]
        return np.asarray(np.mean([forest.score(by_way[way]) for way in _ways(pair, class_index)], axis=0))


def best_overlap(bar: Int[np.ndarray, "spans 2"], marked: Marked, n_classes: int) -> Float[np.ndarray, "spans classes"]:
    """Return the largest overlap (IoU) of each candidate with a span of each class."""
    best = np.zeros((len(bar), n_classes))
    for span, class_index in zip(marked.bar, marked.class_index, strict=True):
        near = slice(*np.searchsorted(bar[:, 0], [span[0] - 2 * (span[1] - span[0]) - 2, span[1] + 1]))
        best[near, class_index] = np.maximum(best[near, class_index], overlap(span, bar[near]))
    return best


def _fit_forest(
    rows: _Candidates, pair: tuple[int, int | None], chosen: Bool[np.ndarray, " rows"], seed: int, purpose: int | str
) -> Forest:
    """Let trees tell right candidates from wrong ones, each way a class is known."""
    by_way = rows.values[rows.pairs.index(pair)]
    known = [(way, one) for way, one in enumerate(pair) if one is not None]
    values = np.concatenate([by_way[way][chosen] for way, _ in known])
    right = np.concatenate([rows.best[chosen, one] >= EVENT_IOU for _, one in known])
    if right.all() or not right.any():
        raise InvalidData(
            f"presence must learn from right and wrong candidates, but {int(right.sum())} of {len(right)} are right. "
            "Give stretches with spans and with bars between them."
        )
    drawn = derive_seed(seed, "presence", pair[0], purpose) % 2**32
    trees = ExtraTreesClassifier(
        N_TREES, min_samples_leaf=LEAF, max_features=FEATURE_SHARE, random_state=drawn, n_jobs=1
    )
    return forest_of(trees.fit(values, right))


def forest_of(trees: ExtraTreesClassifier) -> Forest:
    """Lay fitted trees of two classes one behind the other."""
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "cut", "left", "right", "share")}
    roots, n_nodes = [], 0
    for tree in (one.tree_ for one in trees.estimators_):
        roots.append(n_nodes)
        is_leaf = tree.children_left < 0
        share = tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1)
        columns = {
            "feature": np.where(is_leaf, 0, tree.feature).astype(np.int64),
            "cut": np.where(is_leaf, 0.0, tree.threshold),
            "left": np.where(is_leaf, -1, tree.children_left + n_nodes).astype(np.int64),
            "right": np.where(is_leaf, -1, tree.children_right + n_nodes).astype(np.int64),
            "share": np.clip(share, 0.0, 1.0),
        }
        for name, column in columns.items():
            pieces[name].append(column)
        n_nodes += tree.node_count
    return Forest(np.array(roots, dtype=np.int64), **{name: np.concatenate(each) for name, each in pieces.items()})


# Calibration and threshold, by what was held out.


def _calibrated(
    detectors: list[Detector],
    learned: list[_Learned],
    rows: _Candidates,
    score: Float[np.ndarray, "rows classes"],
    counts: np.ndarray,
    model: ModelFile,
) -> Presence:
    kept = np.concatenate(list(_without_overlap(rows, score)))
    best, label = score[kept].max(axis=1), score[kept].argmax(axis=1)
    right = np.zeros(len(kept), dtype=bool)
    for place, one in enumerate(learned):
        own = rows.chart[kept] == place
        inside = one.span_block >= 0
        right[own] = matched(
            rows.bar[kept][own], label[own], best[own], one.marked.bar[inside], one.marked.class_index[inside]
        )
    slope, intercept = fit_platt(score_logit(best), right.astype(np.int64))
    prob = np.asarray(expit(slope * score_logit(best) + intercept))
    threshold, f1 = _best_threshold(prob, right, int(counts.sum()))
    record = {
        "n_spans": {name: int(count) for name, count in zip(model.class_names, counts, strict=True)},
        "n_annotated_bars": int(sum((one.block >= 0).sum() for one in learned)),
        "n_blocks": N_BLOCKS,
        "n_candidates": len(rows),
        "threshold_rule": "largest F1 at IoU 0.5 with class over held-out blocks",
        "held_out_f1": f1,
        "held_out_ap": average_precision(prob, right, int(counts.sum())),
    }
    return Presence(detectors, slope, intercept, threshold, record)


def _without_overlap(rows: _Candidates, score: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, chart by chart, the candidates that stay when those that overlap are settled."""
    for place in np.unique(rows.chart):
        own = np.flatnonzero(rows.chart == place)
        events = replace(_as_events(rows.bar[own], score[own]))
        stays, _ = suppress(
            events, np.zeros((0, 2), dtype=np.int64), MAX_OVERLAP, int(rows.bar[own].max(initial=0)) + 1
        )
        yield own[stays]


def _as_events(bar: np.ndarray, prob: np.ndarray) -> MergedEvents:
    none = np.zeros(len(bar), dtype=np.int64)
    return MergedEvents(bar, np.zeros((len(bar), 2)), prob.max(axis=1), prob, bar, bar, none, none, none > 0, none)


def matched(
    bar: Int[np.ndarray, "events 2"],
    label: Int[np.ndarray, " events"],
    prob: Float[np.ndarray, " events"],
    spans: Int[np.ndarray, "spans 2"],
    classes: Int[np.ndarray, " spans"],
) -> Bool[np.ndarray, " events"]:
    """Tell which events are right: most probable first, each takes the span of its class that it overlaps most."""
    free, right = np.ones(len(spans), dtype=bool), np.zeros(len(bar), dtype=bool)
    for row in np.lexsort((bar[:, 1], bar[:, 0], -prob)):
        near = np.where(free & (classes == label[row]), overlap(bar[row], spans), 0.0)
        if len(near) and near.max() >= EVENT_IOU:
            free[near.argmax()], right[row] = False, True
    return right


def _best_threshold(prob: np.ndarray, right: np.ndarray, n_spans: int) -> tuple[float, float]:
    """Return the probability of the last event that is told where F1 is largest, and that F1."""
    order = np.argsort(-prob, kind="stable")
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + n_spans)
    return float(prob[order][f1.argmax()]), float(f1.max())


def average_precision(prob: np.ndarray, right: np.ndarray, n_spans: int) -> float:
    """Return the mean precision at each right event, over all spans."""
    hits = right[np.argsort(-prob, kind="stable")]
    return float((hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)).sum() / max(n_spans, 1))
