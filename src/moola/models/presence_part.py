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
import torch
from jaxtyping import Float, Int
from scipy.special import expit, log_expit
from torch import Tensor

from moola.core.bars import upside_down
from moola.core.span_shapes import N_BAR_VALUES, N_SPAN_VALUES, bar_shapes, span_shapes
from moola.core.spans import BACKGROUND
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
BARS_AT_A_TIME = 4096
MOST_NODES = 5_000_000
MOST_AHEAD, MOST_SCALE = 1000, 1000
N_SIDE_VALUES = 13
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
        total = np.zeros(len(values))
        rows = np.arange(len(values))
        for root in self.root:
            node = np.full(len(values), root)
            while (inner := self.left[node] >= 0).any():
                goes_left = values[rows, np.maximum(self.feature[node], 0)] <= self.cut[node]
                node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
            total += self.share[node]
        return total / max(len(self.root), 1)

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
        found = self.forest.score(values)
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

    The probabilities are those that a person would have marked the piece, overlapping at IoU 0.5, as that class.
    """
    pieces = [_read_scale(presence, chart, scale, n_classes, first, stop) for scale in presence.scales]
    if len(pieces) == 1:
        return pieces[0]
    bar, prob = (np.concatenate(column) for column in zip(*pieces, strict=True))
    # A piece that two scales propose is as probable as the surer one says.
    order = np.lexsort((-prob.max(axis=1, initial=0.0), bar[:, 1], bar[:, 0]))
    bar, prob = bar[order], prob[order]
    is_first = np.ones(len(bar), dtype=bool)
    is_first[1:] = (np.diff(bar, axis=0) != 0).any(axis=1)
    return bar[is_first], prob[is_first]


def _read_scale(
    presence: Presence, whole: Chart, scale: int, n_classes: int, first: int, stop: int
) -> tuple[Int[np.ndarray, "spans 2"], Float[np.ndarray, "spans classes"]]:
    chart, begins = whole.at_scale(scale)
    detectors = [detector for detector in presence.detectors if detector.scale == scale]
    read = [read_bars_of(detector.bars, chart) for detector in detectors]
    found = [
        candidates_of(detector.bars, joined_logits(logits, ways_of(detector, one)))
        for detector, logits in zip(detectors, read, strict=True)
        for one in classes_of(detector)
    ]
    bar = unique_spans(found)
    spans = finer_spans(bar, scale, begins, len(whole))
    own = (spans[:, 0] >= first) & (spans[:, 0] < stop)
    if scale > 1:
        # Where no window has a bar, as after a gap, there is no event; at a scale of 1 windows say so later.
        own &= chart.seen[bar].all(axis=1)
    bar, spans = bar[own], spans[own]
    prob = np.zeros((len(bar), n_classes))
    for detector, logits in zip(detectors, read, strict=True):
        for one, score in class_scores(detector, chart, logits, bar).items():
            prob[:, one] = presence.calibrated(score)
    return spans, prob


# The form in which it is kept in a model file.


ARRAYS_OF_BARS = ("center", "scale", "weights", "bias", "log_length")
ARRAYS_OF_FOREST = ("root", "feature", "cut", "left", "right", "share")


def stored(presence: Presence | None) -> dict[str, Any] | None:
    """Return tensors and plain values for a model file."""
    if presence is None:
        return None
    return {
        "detectors": [_stored_detector(detector) for detector in presence.detectors],
        "slope": float(presence.slope),
        "intercept": float(presence.intercept),
        "threshold": float(presence.threshold),
        "record": presence.record,
        "ahead": presence.ahead,
        "people": {
            name: {"intercept": float(one.intercept), "threshold": float(one.threshold)}
            for name, one in presence.people.items()
        },
    }


def _stored_detector(detector: Detector) -> dict[str, Any]:
    stage, forest = detector.bars, detector.forest
    return {
        "upright": detector.upright,
        "turned": detector.turned,
        "bars": {name: torch.from_numpy(np.array(getattr(stage, name))) for name in ARRAYS_OF_BARS}
        | {"shortest": stage.shortest, "floor": float(stage.floor)},
        "forest": {name: torch.from_numpy(np.array(getattr(forest, name))) for name in ARRAYS_OF_FOREST},
        "scale": detector.scale,
        "slope": float(detector.slope),
        "intercept": float(detector.intercept),
    }


def restored(content: dict[str, Any] | None, class_names: list[str], both_ways: bool, n_hidden: int) -> Presence | None:
    """Read back what `stored` gave.

    Raises
    ------
    ValueError
        It cannot be used: other shapes, numbers that are not finite, trees that run in circles.
    """
    if content is None:
        return None
    slope, intercept, threshold = (float(content[name]) for name in ("slope", "intercept", "threshold"))
    if not np.isfinite([slope, intercept, threshold]).all() or not 0 <= threshold <= 1:
        raise ValueError(f"presence with slope {slope}, intercept {intercept} and threshold {threshold}")
    detectors = [_restored_detector(one, n_hidden) for one in content["detectors"]]
    for scale in {detector.scale for detector in detectors} or {1}:
        found = [one for detector in detectors if detector.scale == scale for one in classes_of(detector)]
        if sorted(found) != [one for one, name in enumerate(class_names) if name != BACKGROUND]:
            raise ValueError(f"presence of the classes {found} of {class_names}")
    if any((one.turned is not None) != both_ways for one in detectors):
        raise ValueError("presence that reads bars in other ways than the model")
    people = {}
    for name, own in dict(content["people"]).items():
        person = Person(float(own["intercept"]), float(own["threshold"]))
        if type(name) is not str or not np.isfinite(person.intercept) or not 0 <= person.threshold <= 1:
            raise ValueError(f"presence of an annotator {name!r} with {person}")
        people[name] = person
    ahead = content["ahead"]
    if not (ahead is None or (type(ahead) is int and 0 <= ahead <= MOST_AHEAD)):
        raise ValueError(f"presence that looks {ahead!r} bars ahead")
    return Presence(detectors, slope, intercept, threshold, dict(content["record"]), people, ahead)


def _restored_detector(content: dict[str, Any], n_hidden: int) -> Detector:
    upright, turned = content["upright"], content["turned"]
    if type(upright) is not int or not (turned is None or type(turned) is int):
        raise ValueError(f"a detector of the classes {upright!r} and {turned!r}")
    # Files of before read a chart at one scale.
    scale = content.get("scale", 1)
    slope, intercept = float(content.get("slope", 1.0)), float(content.get("intercept", 0.0))
    if type(scale) is not int or not 1 <= scale <= MOST_SCALE or not np.isfinite([slope, intercept]).all():
        raise ValueError(f"a detector of {scale!r} bars in one, slope {slope} and intercept {intercept}")
    width = n_hidden * (1 + (turned is not None)) + N_BAR_VALUES
    bars, forest = _restored_bars(content["bars"], width), _restored_forest(content["forest"])
    return Detector(upright, turned, bars, forest, scale, slope, intercept)


def _array(tensor: Tensor, dtype: type, *shape: int | None) -> np.ndarray:
    array = tensor.numpy()
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"an array of presence of shape {array.shape}, not {shape}, or with what is no number")
    return np.array(array)


def _restored_bars(content: dict[str, Any], n_values: int) -> BarStage:
    center, scale = (_array(content[name], np.float64, n_values) for name in ("center", "scale"))
    log_length = _array(content["log_length"], np.float64, None)
    shortest, floor = content["shortest"], float(content["floor"])
    if not ((scale > 0).all() and type(shortest) is int and 1 <= shortest <= len(log_length) and np.isfinite(floor)):
        raise ValueError("a first stage of presence that cannot be used")
    weights, bias = _array(content["weights"], np.float64, 3, n_values), _array(content["bias"], np.float64, 3)
    return BarStage(center, scale, weights, bias, log_length, shortest, floor)


def _restored_forest(content: dict[str, Any]) -> Forest:
    root = _array(content["root"], np.int64, None)
    n_nodes = len(content["feature"])
    feature, left, right = (_array(content[name], np.int64, n_nodes) for name in ("feature", "left", "right"))
    cut, share = (_array(content[name], np.float64, n_nodes) for name in ("cut", "share"))
    inner = left >= 0
    node = np.arange(n_nodes)
    # Children stand behind their parent: no walk is without end.
    sound = (
        (left[inner] > node[inner]) & (right[inner] > node[inner]) & (right[inner] < n_nodes) & (left[inner] < n_nodes)
    )
    sound &= (feature[inner] >= 0) & (feature[inner] < N_SPAN_VALUES + N_SIDE_VALUES)
    in_range = len(root) and n_nodes <= MOST_NODES and root.min() >= 0 and root.max() < n_nodes
    if not (in_range and sound.all() and (share >= 0).all() and (share <= 1).all()):
        raise ValueError("trees of presence that cannot be used")
    return Forest(root, feature, cut, left, right, share)
