"""Presence: how probable it is that a person would have marked a piece of a chart, from vectors of its bars.

Two stages, both learned where it is known that nothing else is there (`fit.presence`). The first is linear in what a
bar is and says where pieces start, end and run; pairs that it finds likely are candidates. The second is a forest of
trees over the shape of a candidate and what the first stage says around it; Platt's sigmoid calibrates its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit, log_expit

from moola.core.bars import upside_down
from moola.core.span_shapes import bar_shapes, span_shapes
from moola.errors import WrongUsage

# Output of the first stage for a bar.
STARTS, ENDS, RUNS = range(3)
CLIP = 6.0
# Candidates are the best pair among those whose ends are both so near.
RIVAL_BARS = 2
# Bars around a candidate whose running logits its second stage sees.
SIDE_BARS = 5
# How much the mean of the running logits counts in a pair's score.
RUN_WEIGHT = 0.5
LEAST_SCORE_PROB = 1e-3
BARS_AT_A_TIME, SPANS_AT_A_TIME = 4096, 200
N_SIDE_VALUES = 13
ARRAYS_OF_FOREST = ("root", "feature", "cut", "left", "right", "share")
# What `event_prob` is.
PROBABILITY = "probability that a person would have marked it"
RANK = "rank among marked pieces"


@dataclass(frozen=True)
class BarStage:
    """The first stage: three logits a bar, linear in standardised values.

    Attributes
    ----------
    center, scale
        Of the values; standardised ones are clipped to +-6.
    weights, bias
        For start, end and inside.
    log_length
        How probable each length is, as the logarithm of its share over the largest; `[n]` is for n + 1 bars.
    shortest
        Bars of the shortest candidate; the longest has as many as there are lengths.
    floor
        Least score of a candidate.
    """

    center: Float[np.ndarray, " values"]
    scale: Float[np.ndarray, " values"]
    weights: Float[np.ndarray, "3 values"]
    bias: Float[np.ndarray, " 3"]
    log_length: Float[np.ndarray, " lengths"]
    shortest: int
    floor: float

    @property
    def longest(self) -> int:
        """Bars of the longest candidate."""
        return len(self.log_length)

    def logits(self, values: Float[np.ndarray, "bars values"]) -> Float[np.ndarray, "bars 3"]:
        """Read bars; each by itself, to the same bits among whatever others."""
        found = np.empty((len(values), 3))
        for first in range(0, len(values), BARS_AT_A_TIME):
            piece = slice(first, first + BARS_AT_A_TIME)
            standard = standardised(values[piece], self.center, self.scale)
            for number in range(3):
                found[piece, number] = (standard * self.weights[number]).sum(axis=1) + self.bias[number]
        return found


def standardised(values: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Centre, scale and clip values."""
    return np.asarray(np.clip((values - center) / scale, -CLIP, CLIP))


@dataclass(frozen=True)
class Forest:
    """Trees laid one behind the other; a leaf's children are -1.

    Attributes
    ----------
    root
        First node of each tree.
    feature, cut, left, right
        A value of the feature of at most `cut` goes left.
    share
        Mean target in each node: how right candidates there are, or the share of marked ones.
    """

    root: Int[np.ndarray, " trees"]
    feature: Int[np.ndarray, " nodes"]
    cut: Float[np.ndarray, " nodes"]
    left: Int[np.ndarray, " nodes"]
    right: Int[np.ndarray, " nodes"]
    share: Float[np.ndarray, " nodes"]

    def score(self, values: Float[np.ndarray, "spans values"]) -> Float[np.ndarray, " spans"]:
        """Return the mean share over all trees."""
        total = np.empty(len(values))
        for first in range(0, len(values), SPANS_AT_A_TIME):
            rows = slice(first, first + SPANS_AT_A_TIME)
            # Added tree by tree, so that the sum is the same whatever is scored beside it.
            total[rows] = self._shares(values[rows]).sum(axis=0)
        return total / max(len(self.root), 1)

    def _shares(self, values: Float[np.ndarray, "spans values"]) -> Float[np.ndarray, "trees spans"]:
        """Let all values down all trees at once."""
        n_trees, (n_spans, n_values) = len(self.root), values.shape
        # Small integers: this is most of what scoring takes.
        root, feature, left, right = (one.astype(np.int32) for one in (self.root, self.feature, self.left, self.right))
        flat, share = np.ravel(values), np.empty(n_trees * n_spans)
        node = np.repeat(root, n_spans)
        place = np.tile(np.arange(n_spans, dtype=np.int32) * np.int32(n_values), n_trees)
        at = np.arange(n_trees * n_spans)
        while len(at):
            is_leaf = left.take(node) < 0
            if is_leaf.any():
                share[at[is_leaf]] = self.share[node[is_leaf]]
                at, place, node = at[~is_leaf], place[~is_leaf], node[~is_leaf]
            goes_left = flat.take(place + feature.take(node)) <= self.cut.take(node)
            node = np.where(goes_left, left.take(node), right.take(node))
        return share.reshape(n_trees, n_spans)

    @classmethod
    def joined(cls, forests: list[Forest]) -> Forest:
        """Return the trees of all, one behind the other."""
        shifts = np.cumsum([0, *(len(one.feature) for one in forests[:-1])])
        moved = []
        for one, by in zip(forests, shifts, strict=True):
            left, right = (np.where(one.left < 0, -1, child + by) for child in (one.left, one.right))
            moved.append(replace(one, root=one.root + by, left=left, right=right))
        return cls(*(np.concatenate([getattr(one, name) for one in moved]) for name in ARRAYS_OF_FOREST))


@dataclass(frozen=True)
class Detector:
    """Both stages for one class, and for the class that it is upside down.

    Attributes
    ----------
    upright
        The class that this finds in bars as they are.
    turned
        The class that it finds in bars upside down; None where that is not known. The same class means that both
        readings are averaged.
    scale
        Bars of the chart that are one bar for this detector.
    slope, intercept
        Of the sigmoid over the logit of the forest's score that makes scores of several scales comparable.
    """

    upright: int
    turned: int | None
    bars: BarStage
    forest: Forest
    scale: int = 1
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def longest(self) -> int:
        """Bars of the longest event."""
        return self.bars.longest * self.scale

    def score(self, values: Float[np.ndarray, "spans values"]) -> Float[np.ndarray, " spans"]:
        """Return the score of candidates, comparable with that of other scales."""
        return self.adjusted(self.forest.score(values))

    def adjusted(self, found: Float[np.ndarray, " spans"]) -> Float[np.ndarray, " spans"]:
        """Make a forest's scores comparable."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return found
        return np.asarray(expit(self.slope * score_logit(found) + self.intercept))


@dataclass(frozen=True)
class Person:
    """What is one annotator's own: the intercept of the sigmoid, and the threshold."""

    intercept: float
    threshold: float


@dataclass(frozen=True)
class Presence:
    """The part of a model that knows where nothing is.

    Attributes
    ----------
    slope, intercept
        Of Platt's sigmoid over the logit of the forest's score.
    threshold
        Least probability of an event, chosen on stretches that were held out.
    record
        What it learned from and what was chosen how, for people.
    people
        Of several annotators, each one's own part.
    ahead
        Bars after a bar on which what is read of it depends; None for as many as there are.
    """

    detectors: list[Detector]
    slope: float
    intercept: float
    threshold: float
    record: dict[str, Any]
    people: dict[str, Person] = field(default_factory=dict)
    ahead: int | None = None

    @property
    def lag(self) -> int:
        """Bars after the end of a piece on which anything of it depends, where that is limited."""
        return lag_of(self.ahead) if self.ahead is not None else 0

    def of_person(self, name: str) -> Presence:
        """Return what says how probable it is that this annotator would have marked a piece.

        Raises
        ------
        WrongUsage
            It learned nothing of such an annotator.
        """
        if name not in self.people:
            known = f"it knows {', '.join(sorted(self.people))}" if self.people else "it knows none by name"
            raise WrongUsage(
                f"--annotator must be one of whom the model learned, but {name!r} is not: {known}. Leave it out, or "
                "train on spans of several annotators."
            )
        own = self.people[name]
        return replace(self, intercept=own.intercept, threshold=own.threshold)

    @property
    def is_rank(self) -> bool:
        """Whether `event_prob` only ranks: it was not known where nothing is."""
        return bool(self.record.get("event_prob") == RANK)

    @property
    def longest(self) -> int:
        """Bars of the longest event."""
        return max(detector.longest for detector in self.detectors)

    @property
    def stride(self) -> int:
        """Bars between windows by which charts were read; 5 in files that do not say it."""
        return int(self.record.get("stride_bars", 5))

    @property
    def scales(self) -> list[int]:
        """Bars of the chart that are one bar for some detector, ascending."""
        return sorted({detector.scale for detector in self.detectors})

    def calibrated(self, score: np.ndarray) -> np.ndarray:
        """Turn scores of forests into probabilities."""
        return np.asarray(expit(self.slope * score_logit(score) + self.intercept))


def lag_of(ahead: int) -> int:
    """Bars after its end at which a piece is known: its ends are compared with those of rivals."""
    return ahead + RIVAL_BARS


def score_logit(score: np.ndarray) -> np.ndarray:
    """Return the logit of a score, kept from the infinite."""
    kept = np.clip(score, LEAST_SCORE_PROB, 1 - LEAST_SCORE_PROB)
    return np.asarray(np.log(kept / (1 - kept)))


def pair_scores(stage: BarStage, logits: Float[np.ndarray, "bars 3"]) -> Float[np.ndarray, "bars lengths"]:
    """Return the score of every pair: `[s, n]` starts at bar s and has n + 1 bars; minus infinity where there is none.

    The logarithms of both ends' probabilities and of the length's share, and half of the mean running logit.
    """
    n_bars = len(logits)
    found = np.full((n_bars, stage.longest), -np.inf)
    start, end = log_expit(logits[:, STARTS]), log_expit(logits[:, ENDS])
    running = np.zeros(n_bars)
    for n in range(min(stage.longest, n_bars)):
        # Added in the order of the bars, so that the sum is the same wherever the table begins.
        running = running[: n_bars - n] + logits[n:, RUNS]
        if n + 1 < stage.shortest:
            continue
        found[: n_bars - n, n] = start[: n_bars - n] + end[n:] + stage.log_length[n] + RUN_WEIGHT * running / (n + 1)
    return found


def candidates_of(stage: BarStage, logits: Float[np.ndarray, "bars 3"]) -> Int[np.ndarray, "spans 2"]:
    """Return the pairs that score best among those with both ends near theirs, and not below the floor."""
    scores = pair_scores(stage, logits)
    best = scores >= stage.floor
    for by_start in range(-RIVAL_BARS, RIVAL_BARS + 1):
        for by_end in range(-RIVAL_BARS, RIVAL_BARS + 1):
            if (by_start, by_end) == (0, 0):
                continue
            rival = _shifted(scores, by_start, by_end - by_start)
            # Of equals the first one stays.
            best &= (scores > rival) if (by_start, by_end) < (0, 0) else (scores >= rival)
    start, n = np.nonzero(best)
    return np.stack([start, start + n], axis=1)


def _shifted(scores: np.ndarray, by_start: int, by_length: int) -> np.ndarray:
    """Return at each place the score that is so many starts and lengths further on."""
    found = np.full_like(scores, -np.inf)
    n_bars, n_lengths = scores.shape
    rows = slice(max(-by_start, 0), min(n_bars - by_start, n_bars))
    columns = slice(max(-by_length, 0), min(n_lengths - by_length, n_lengths))
    if rows.start < rows.stop and columns.start < columns.stop:
        there = scores[
            rows.start + by_start : rows.stop + by_start, columns.start + by_length : columns.stop + by_length
        ]
        found[rows, columns] = there
    return found


def side_values(
    stage: BarStage,
    own: Float[np.ndarray, "bars 3"],
    other: Float[np.ndarray, "bars 3"],
    bar: Int[np.ndarray, "spans 2"],
    side: int = SIDE_BARS,
) -> Float[np.ndarray, "spans values"]:
    """Return what the first stage says around each candidate, of the bars as they are read and of their mirror.

    `side` bars after it count.
    """
    start, end = bar[:, 0], bar[:, 1]
    last = len(own) - 1

    def at(logits: np.ndarray, spot: np.ndarray, what: int) -> np.ndarray:
        return np.asarray(logits[np.clip(spot, 0, last), what])

    def mean(spot: np.ndarray, first: int, stop: int, what: int) -> np.ndarray:
        return np.asarray(at(own, spot[:, None] + np.arange(first, stop), what).mean(axis=1))

    place = np.arange(int((end - start).max(initial=0)) + 1)
    inside = place <= (end - start)[:, None]
    n_bars = (end - start + 1).astype(np.float64)
    runs = np.where(inside, at(own, start[:, None] + place, RUNS), 0.0)
    ends = np.where(inside, at(own, start[:, None] + place, ENDS), -np.inf)
    values = [
        at(own, start, STARTS),
        at(own, end, ENDS),
        mean(start, -1, 2, STARTS),
        mean(end, -1, 2, ENDS),
        runs.sum(axis=1) / n_bars,
        mean(start, -SIDE_BARS, 0, RUNS),
        mean(end, 1, side + 1, RUNS),
        mean(end, 1, side + 1, ENDS),
        mean(start, -SIDE_BARS, 0, STARTS),
        ends.max(axis=1) - at(own, end, ENDS),
        at(other, start, STARTS),
        at(other, end, ENDS),
        stage.log_length[np.clip(end - start, 0, stage.longest - 1)],
    ]
    return np.stack(values, axis=1).astype(np.float32)


# A chart as both stages see it.


@dataclass(frozen=True)
class Chart:
    """Consecutive bars of one symbol, with the encoder's vector of each.

    Attributes
    ----------
    ohlc
        Prices as they are and, where classes are known upside down, their mirror.
    values
        What the first stage reads of each bar, each way.
    seen
        Whether a window has the bar.
    ahead
        As of `Presence`.
    coarser
        The same chart with so many bars in one, and the bar of this chart at which that one begins.
    """

    ohlc: tuple[Float[np.ndarray, "bars 4"], ...]
    values: tuple[Float[np.ndarray, "bars values"], ...]
    seen: np.ndarray
    ahead: int | None = None
    coarser: Mapping[int, tuple[Chart, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seen)

    def at_scale(self, scale: int) -> tuple[Chart, int]:
        """Return the chart with `scale` bars in one, and the bar of this chart at which it begins."""
        return (self, 0) if scale == 1 else self.coarser[scale]


def chart_of(
    ohlc: Float[np.ndarray, "bars 4"],
    vectors: tuple[Float[np.ndarray, "bars hidden"], ...],
    seen: np.ndarray,
    ahead: int | None = None,
) -> Chart:
    """Put shapes of bars beside their vectors: the own ones first, then, where there are two ways, the other's."""
    prices = (ohlc, upside_down(ohlc))[: len(vectors)]
    values = [
        np.concatenate([*(vectors[way:] + vectors[:way]), bar_shapes(prices[way], ahead)], axis=1)
        for way in range(len(vectors))
    ]
    return Chart(prices, tuple(values), seen, ahead)


def ways_of(detector: Detector, class_index: int) -> tuple[int, ...]:
    """Return how bars are read for a class: 0 as they are, 1 upside down, both for a class that is its own mirror."""
    return tuple(way for way, found in enumerate((detector.upright, detector.turned)) if found == class_index)


def classes_of(detector: Detector) -> list[int]:
    """Return the classes that a detector finds."""
    return sorted({one for one in (detector.upright, detector.turned) if one is not None})


def read_bars_of(stage: BarStage, chart: Chart) -> tuple[Float[np.ndarray, "bars 3"], ...]:
    """Return the first stage's logits, each way."""
    return tuple(stage.logits(values) for values in chart.values)


def joined_logits(logits: tuple[np.ndarray, ...], ways: tuple[int, ...]) -> np.ndarray:
    """Return the logits of a class: of its way, or the mean of both."""
    return np.asarray(np.mean([logits[way] for way in ways], axis=0)) if len(ways) > 1 else logits[ways[0]]


def span_values(
    stage: BarStage, chart: Chart, logits: tuple[np.ndarray, ...], way: int, bar: Int[np.ndarray, "spans 2"]
) -> Float[np.ndarray, "spans values"]:
    """Return what the second stage reads of candidates, one way."""
    other = logits[1 - way] if len(logits) > 1 else logits[way]
    if chart.ahead is None:
        around, shapes = side_values(stage, logits[way], other, bar), span_shapes(chart.ohlc[way], bar)
    else:
        around = side_values(stage, logits[way], other, bar, RIVAL_BARS)
        shapes = span_shapes(chart.ohlc[way], bar, lag_of(chart.ahead))
    return np.concatenate([shapes, around], axis=1)


def class_scores(
    detector: Detector, chart: Chart, logits: tuple[np.ndarray, ...], bar: Int[np.ndarray, "spans 2"]
) -> dict[int, Float[np.ndarray, " spans"]]:
    """Return the forest's score of candidates for each class of a detector."""
    by_way = [detector.score(span_values(detector.bars, chart, logits, way, bar)) for way in range(len(logits))]
    return {one: joined_logits(tuple(by_way), ways_of(detector, one)) for one in classes_of(detector)}


def unique_spans(found: list[np.ndarray]) -> Int[np.ndarray, "spans 2"]:
    """Return each span once, by start, then end."""
    return np.unique(np.concatenate(found), axis=0).reshape(-1, 2)


def finer_spans(
    bar: Int[np.ndarray, "spans 2"], scale: int, first: int = 0, n_bars: int | None = None
) -> Int[np.ndarray, "spans 2"]:
    """Return the bars of a chart of which spans of its coarser form consist; that form begins at the bar `first`."""
    found = bar * scale + np.array([first, first + scale - 1])
    return found if n_bars is None else np.minimum(found, n_bars - 1)


def read_chart(
    presence: Presence, chart: Chart, n_classes: int, first: int, stop: int
) -> tuple[Int[np.ndarray, "spans 2"], Float[np.ndarray, "spans classes"]]:
    """Return candidates that begin at the bars `[first, stop)` of a chart, and the probability of each class.

    The probabilities are those that a person would have marked the piece, overlapping at IoU 0.5, as that class. What
    one scale proposes is read at every scale that looks for such lengths.
    """
    readings = [ScaleReading.of_chart(presence, chart, scale) for scale in presence.scales]
    bar = unique_spans([one.proposed() for one in readings])
    bar = bar[(bar[:, 0] >= first) & (bar[:, 0] < stop)]
    score = mean_scores([one.scores(bar, n_classes) for one in readings])
    prob = np.zeros((len(bar), n_classes))
    for one in {one for detector in presence.detectors for one in classes_of(detector)}:
        prob[:, one] = presence.calibrated(score[:, one])
    return bar, prob


@dataclass(frozen=True)
class ScaleReading:
    """A chart as the detectors of one scale read it; `chart` has `scale` bars in one and begins at a bar `begins`."""

    detectors: list[Detector]
    chart: Chart
    scale: int
    begins: int
    n_bars: int
    logits: list[tuple[np.ndarray, ...]]

    @classmethod
    def of_chart(cls, presence: Presence, whole: Chart, scale: int) -> ScaleReading:
        """Read all bars of a chart at a scale."""
        chart, begins = whole.at_scale(scale)
        detectors = [detector for detector in presence.detectors if detector.scale == scale]
        logits = [read_bars_of(detector.bars, chart) for detector in detectors]
        return cls(detectors, chart, scale, begins, len(whole), logits)

    def proposed(self) -> Int[np.ndarray, "spans 2"]:
        """Return candidates as bars of the whole chart."""
        bar = unique_spans(
            [
                candidates_of(detector.bars, joined_logits(logits, ways_of(detector, one)))
                for detector, logits in zip(self.detectors, self.logits, strict=True)
                for one in classes_of(detector)
            ]
        )
        if self.scale > 1:
            # Where no window has a bar, as after a gap, there is no event; at a scale of 1 windows say so later.
            bar = bar[self.chart.seen[bar].all(axis=1)]
        return finer_spans(bar, self.scale, self.begins, self.n_bars)

    def scores(self, bar: Int[np.ndarray, "spans 2"], n_classes: int) -> Float[np.ndarray, "spans classes"]:
        """Return scores of pieces of the whole chart, NaN where they are too long or too short for this scale."""
        score = np.zeros((len(bar), n_classes))
        own = np.clip((bar - self.begins) // self.scale, 0, max(len(self.chart) - 1, 0))
        reads = np.ones(len(bar), dtype=bool)
        if self.scale > 1:
            reads = lengths_read([detector.bars for detector in self.detectors], own)
            reads &= (bar[:, 0] >= self.begins) & self.chart.seen[own].all(axis=1)
            score[~reads] = np.nan
        for detector, logits in zip(self.detectors, self.logits, strict=True):
            for one, found in class_scores(detector, self.chart, logits, own[reads]).items():
                score[reads, one] = found
        return score


def lengths_read(stages: list[BarStage], bar: Int[np.ndarray, "spans 2"]) -> Bool[np.ndarray, " spans"]:
    """Tell which pieces are of lengths that every first stage of a scale looks for."""
    n_bars = bar[:, 1] - bar[:, 0] + 1
    return np.asarray((n_bars >= max(one.shortest for one in stages)) & (n_bars <= min(one.longest for one in stages)))


def mean_scores(by_scale: list[Float[np.ndarray, "spans classes"]]) -> Float[np.ndarray, "spans classes"]:
    """Average what several scales score, as logits; a scale that does not read a piece has NaN for it."""
    if len(by_scale) == 1:
        return by_scale[0]
    reads = [~np.isnan(one) for one in by_scale]
    total = sum(np.where(own, score_logit(one), 0.0) for own, one in zip(reads, by_scale, strict=True))
    return np.asarray(expit(total / sum(own.astype(np.int64) for own in reads)))
