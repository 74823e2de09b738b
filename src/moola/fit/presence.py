"""Learning where nothing is: presence from spans on annotated stretches (specification 13).

Blocks of time are held out by turns. The first stage is fitted without a block and proposes candidates in it; each is
right where it overlaps a span of its class at IoU 0.5. Trees learn from these, so from what the first stage says of
bars that it has not seen, and on annotated stretches from the spans themselves. A fifth of the trees learns without
each block. It gives the scores of that block, which are calibrated, and among which the threshold with the best F1 is
found, once overlapping candidates are left out and each span is matched once. New bars are scored by all trees.

Bars outside annotated stretches are never background. Where no stretch is known, all bars from the first span to the
last are unlabelled (`presence_stages`). Then `event_prob` is a rank among marked pieces: the share of held-out marked
pieces that score lower, by a logistic distribution. The threshold is where the square of the recall over the number of
events is largest, which rises and falls with precision times recall (Lee & Liu 2003). How many pieces nobody marked,
and so precision, false alarms and calibration, cannot be known.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logit

from moola.core.bars import Bars, allowed_gap_s
from moola.core.event_merging import MergedEvents, overlap, suppress
from moola.core.features import relative_features
from moola.core.spans import BACKGROUND
from moola.core.windows import WINDOW_BARS, cut_windows, take_windows
from moola.errors import InvalidData
from moola.evaluation.calibration import fit_platt
from moola.fit.predicting import sums_for, trusted_zone, vectors_each_way
from moola.fit.presence_stages import (
    EVENT_IOU,
    N_BLOCKS,
    Candidates,
    Found,
    Learned,
    Marked,
    Scale,
    classes_found,
    fit_forest,
    fit_stage,
    is_enough,
    least_score,
    scales_of,
)
from moola.models.model_files import ModelFile
from moola.models.presence_part import (
    PROBABILITY,
    RANK,
    Chart,
    Detector,
    Forest,
    Person,
    Presence,
    chart_of,
    finer_spans,
    lag_of,
    lengths_read,
    mean_scores,
    score_logit,
    unique_spans,
)

log = logging.getLogger(__name__)
MAX_OVERLAP = 0.1
LEAST_SPANS = 10
# Of each class, where the page learns it without any annotated stretch.
UNLABELLED_SPANS = 2 * LEAST_SPANS
OFFSET_STEPS = 50
# Of the calibration of held-out scores; smaller ones say nothing.
LEAST_SLOPE = 0.01
# Of live presence: bars after a bar on which what is read of it depends, and thresholds that are tried.
AHEAD = 4
LIVE_QUANTILES = np.linspace(0.8, 0.998, 40)
WINDOWS_AT_A_TIME = 1024


def fit_presence(
    model: ModelFile, charts: list[Marked], device: torch.device, seed: int, read: list[Chart] | None = None
) -> Presence:
    """Learn the presence part of a model whose encoder has not learned from these spans.

    Charts are read at the scales that the lengths of the spans ask for, a detector each. `read` holds the charts as the
    encoder reads them, where that is known already: then that is the only scale.

    Raises
    ------
    InvalidData
        There are too few spans of every class.
    """
    n_classes = len(model.class_names)
    counts = np.bincount(np.concatenate([one.class_index for one in charts]), minlength=n_classes)
    whole = _with_blocks(charts, read)
    pairs = _pairs_to_learn(model, whole)
    scales = [Scale(1)] if read is not None else scales_of(whole, pairs, LEAST_SPANS)
    fitted = []
    for scale in scales:
        coarse = [scale.marked(one) for one in charts]
        if read is None:
            n_bars, n_seen = sum(len(one.bars) for one in coarse), at_scale(model, scale.n).n_seen_bars
            in_one = f" of {scale.n} in one" if scale.n > 1 else ""
            log.info("Learning presence from %s bars%s, read in windows of %d ...", f"{n_bars:,}", in_one, n_seen)
        seen = read or [read_chart_of(at_scale(model, scale.n), one.bars, device) for one in coarse]
        learned = _with_blocks(coarse, seen, whole, scale)
        whole = learned if scale.n == 1 else whole
        fitted.append(FittedScale.of_charts(learned, pairs, n_classes, seed, scale.n))
    held = fitted[0].held_out()
    if len(fitted) > 1:
        fitted = [one.comparable(whole) for one in fitted]
        held = _held_by_all(fitted, charts)
    detectors = [one for each in fitted for one in each.detectors]
    return _calibrated(detectors, whole, held, counts, model)


@dataclass(frozen=True)
class HeldOut:
    """Candidates of held-out blocks: bars, of which chart and block each is, and the score of each class."""

    bar: Int[np.ndarray, "rows 2"]
    chart: Int[np.ndarray, " rows"]
    block: Int[np.ndarray, " rows"]
    score: Float[np.ndarray, "rows classes"]

    def __len__(self) -> int:
        return len(self.bar)


@dataclass(frozen=True)
class FittedScale:
    """The detectors of one scale, with what each block was read by that did not learn from it."""

    scale: int
    detectors: list[Detector]
    found: list[Found]
    forests: list[list[Forest]]
    rows: Candidates
    score: Float[np.ndarray, "rows classes"]

    @classmethod
    def of_charts(
        cls, learned: list[Learned], pairs: list[tuple[int, int | None]], n_classes: int, seed: int, scale: int
    ) -> FittedScale:
        """Fit both stages."""
        stages = [fit_stage(learned, pair, np.arange(N_BLOCKS)) for pair in pairs]
        annotated = learned[0].marked.annotated
        found = [Found.in_block(learned, pairs, block) for block in range(N_BLOCKS)]
        stages = [replace(stage, floor=least_score(found, number)) for number, stage in enumerate(stages)]
        rows = Candidates.joined([one.kept(stages) for one in found])
        # The exact ends of spans teach what near ones only roughly have.
        learned_from = Candidates.joined([rows, *(one.marked() for one in found)]) if annotated else rows
        score = np.zeros((len(rows), n_classes))
        forests: list[list[Forest]] = [[] for _ in pairs]
        for block in range(N_BLOCKS):
            own = rows.block == block
            for pair, by_block in zip(pairs, forests, strict=True):
                by_block.append(fit_forest(learned_from, pair, block, seed, annotated))
                for one in classes_found(pair):
                    score[own, one] = rows.score(by_block[-1], pair, one)[own]
        detectors = [
            Detector(*pair, stage, Forest.joined(by_block), scale)
            for pair, stage, by_block in zip(pairs, stages, forests, strict=True)
        ]
        return cls(scale, detectors, found, forests, rows, score)

    def held_out(self) -> HeldOut:
        """Return what was scored, as bars of the charts."""
        return HeldOut(finer_spans(self.rows.bar, self.scale), self.rows.chart, self.rows.block, self.score)

    def comparable(self, learned: list[Learned]) -> FittedScale:
        """Let scores say how often they are right, so that they can be compared with those of other scales."""
        held = self.held_out()
        kept = np.concatenate(list(_without_overlap(held)))
        right = _right(learned, held, kept, None)
        slope, intercept = _rising_sigmoid(score_logit(held.score[kept].max(axis=1)), right)
        return replace(self, detectors=[replace(one, slope=slope, intercept=intercept) for one in self.detectors])

    def scores(self, bar: np.ndarray, place: int, block: int) -> Float[np.ndarray, "spans classes"]:
        """Score pieces of a chart by what did not learn from their block; NaN for lengths that are not read."""
        found = self.found[block]
        chart = found.learned[place].chart
        own = np.minimum(bar // self.scale, len(chart) - 1)
        reads = np.ones(len(bar), dtype=bool)
        if self.scale > 1:
            reads = lengths_read([one.bars for one in self.detectors], own) & chart.seen[own].all(axis=1)
        score = np.full((len(bar), self.score.shape[1]), np.nan)
        score[reads] = 0.0
        rows = found.read(place, own[reads])
        for detector, pair, by_block in zip(self.detectors, found.pairs, self.forests, strict=True):
            for one in classes_found(pair):
                score[reads, one] = detector.adjusted(rows.score(by_block[block], pair, one))
        return score


def _held_by_all(fitted: list[FittedScale], charts: list[Marked]) -> HeldOut:
    """Return what any scale proposes in held-out blocks, each piece scored by all scales that read such lengths."""
    pieces: list[tuple[np.ndarray, ...]] = []
    proposed = [one.held_out() for one in fitted]
    for place, chart in enumerate(charts):
        for block in range(N_BLOCKS):
            own = [one.bar[(one.chart == place) & (one.block == block)] for one in proposed]
            # The last bar of a chart may have fewer bars in it than others of its scale.
            bar = unique_spans([np.minimum(one, len(chart.bars) - 1) for one in own])
            score = mean_scores([one.scores(bar, place, block) for one in fitted])
            pieces.append((bar, np.full(len(bar), place), np.full(len(bar), block), score))
    return HeldOut(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _pairs_to_learn(model: ModelFile, learned: list[Learned]) -> list[tuple[int, int | None]]:
    """Return the classes of each detector, those of which there are spans enough; others are left out with a word."""
    label = np.concatenate([one.marked.class_index for one in learned])
    block = np.concatenate([one.span_block for one in learned])
    pairs = _detector_classes(model)
    in_block = {pair: block[np.isin(label, classes_found(pair))] for pair in pairs}
    few = [pair for pair in pairs if not is_enough(in_block[pair], LEAST_SPANS)]
    said = "; ".join(_said_of_few(model, pair, in_block[pair]) for pair in few)
    if len(few) == len(pairs):
        raise InvalidData(
            f"presence must have {LEAST_SPANS} spans of a class (or of two that mirror each other, --mirror-classes) "
            f"that it may learn from, but there are {said}. Mark more, or leave --spans out."
        )
    if few:
        log.warning(
            "Presence needs %d spans of a class (or of two that mirror each other, --mirror-classes), but there are "
            "%s: a scan will report no such event. Mark more of them.",
            LEAST_SPANS,
            said,
        )
    return [pair for pair in pairs if pair not in few]


def _said_of_few(model: ModelFile, pair: tuple[int, int | None], block: Int[np.ndarray, " spans"]) -> str:
    said = f"{len(block)} of {' or '.join(model.class_names[one] for one in classes_found(pair))}"
    if len(block) < LEAST_SPANS:
        return said
    return f"{said}, {np.bincount(block[block >= 0]).max(initial=0)} of them in one of {N_BLOCKS} blocks of time"


def _detector_classes(model: ModelFile) -> list[tuple[int, int | None]]:
    """Return the classes of each detector, one for a class and what it is upside down; background has none."""
    mirror: list[int | None] = [None] * len(model.class_names)
    if model.mirror is not None:
        mirror = list(model.mirror)
    pairs = [(one, other) for one, other in enumerate(mirror) if other is None or one <= other]
    return [pair for pair in pairs if model.class_names[pair[0]] != BACKGROUND]


def chart_stride(model: ModelFile, ahead: int | None = None) -> int:
    """Return how many bars lie between two windows by which a chart is read: two thirds of their inner zone.

    More windows are no better (docs/log.md). Where no bar after `ahead` may count, one window sees each bar in time.
    """
    first, last = trusted_zone(model)
    return max((last - first) * 2 // 3, 1) if ahead is None else ahead + 1


def read_chart_of(
    model: ModelFile,
    bars: Bars,
    device: torch.device,
    ahead: int | None = None,
    max_gap_s: float | None = None,
    stride: int | None = None,
) -> Chart:
    """Read all of a symbol's bars; where asked, nothing of a bar depends on more than `ahead` bars after it.

    The longest gap inside a window is found from the bars where it is not given, and the stride from the model.
    """
    n_seen = model.n_seen_bars
    stride = stride or chart_stride(model, ahead)
    cut = cut_windows(bars, stride, n_seen, allowed_gap_s(bars.start_us) if max_gap_s is None else max_gap_s)
    sums = sums_for(model, len(bars), ahead)
    for first in range(0, len(cut), WINDOWS_AT_A_TIME):
        rows = cut.first_bar[first : first + WINDOWS_AT_A_TIME]
        sums.add(rows, vectors_each_way(model, relative_features(take_windows(bars.ohlc, rows, n_seen)), device))
    return chart_of(bars.ohlc, *sums.means(), ahead)


def at_scale(model: ModelFile, scale: int) -> ModelFile:
    """Return the model that reads bars of a coarser scale: by windows of the usual length, or of its own where shorter.

    A window that was made long for long spans need not be, where several bars are one.
    """
    if scale == 1:
        return model
    return replace(model, window_bars=min(model.window_bars, WINDOW_BARS), visible_bars=None, length_weight=None)


def _with_blocks(
    charts: list[Marked],
    read: list[Chart] | None,
    whole: list[Learned] | None = None,
    scale: Scale | None = None,
) -> list[Learned]:
    """Cut annotated bars into blocks of time with as many spans each; a span is in the block of its start.

    Blocks of a coarser scale are those of the `whole` charts. Without `read` nothing can be learned from these bars: it
    is only known in which block each span is.
    """
    starts = np.sort(np.concatenate([one.start_us for one in whole or charts]))
    edges = starts[[len(starts) * number // N_BLOCKS for number in range(1, N_BLOCKS)]]
    found = []
    for place, marked in enumerate(charts):
        n_bars = len(marked.bars)
        chart = Chart((), (), np.ones(n_bars, dtype=bool)) if read is None else read[place]
        block = np.searchsorted(edges, marked.bars.start_us, side="right")
        annotated = np.zeros(n_bars, dtype=bool)
        for first, stop in marked.stretches:
            annotated[first:stop] = True
        block = np.where(annotated & chart.seen, block, -1)
        fits = np.ones(len(marked.bar), dtype=bool)
        if scale is not None and whole is not None:
            fits = scale.fits(whole[place].marked)
        found.append(Learned(marked, chart, block, block[marked.bar[:, 0]], fits))
    return found


# Calibration and threshold, by what was held out.


def _right(learned: list[Learned], held: HeldOut, kept: np.ndarray, name: str | None) -> Bool[np.ndarray, " events"]:
    """Tell which of the candidates that are kept are right, by the spans of one person or of all."""
    best, label = held.score[kept].max(axis=1), held.score[kept].argmax(axis=1)
    right = np.zeros(len(kept), dtype=bool)
    for place, one in enumerate(learned):
        own = held.chart[kept] == place
        inside = (one.span_block >= 0) & one.marked.marked_by(name)
        spans = one.marked.bar[inside], one.marked.class_index[inside]
        right[own] = matched(held.bar[kept][own], label[own], best[own], *spans)
    return right


def _calibrated(
    detectors: list[Detector], learned: list[Learned], rows: HeldOut, counts: np.ndarray, model: ModelFile
) -> Presence:
    kept = np.concatenate(list(_without_overlap(rows)))
    best = rows.score[kept].max(axis=1)
    n_spans = int(counts.sum())
    record = {
        "n_spans": {name: int(count) for name, count in zip(model.class_names, counts, strict=True)},
        "n_bars": int(sum((one.block >= 0).sum() for one in learned)),
        "n_blocks": N_BLOCKS,
        "n_candidates": len(rows),
        "scales": sorted({one.scale for one in detectors}),
        "stride_bars": chart_stride(model, learned[0].chart.ahead),
    }
    if not learned[0].marked.annotated:
        return _ranked(detectors, best, _right(learned, rows, kept, None), n_spans, record)
    names = _people(learned)
    # Nobody is asked of events where he did not look.
    asked = [_asked(learned, rows, kept, name) for name in names]
    by_person = [_right(learned, rows, kept, name)[own] for name, own in zip(names, asked, strict=True)]
    n_by_person = [int(sum(one.marked.marked_by(name).sum() for one in learned)) for name in names]
    # Of several people each event is evaluated for each: the probability is that any one of them marked it.
    z = score_logit(best)
    slope, intercept = _rising_sigmoid(np.concatenate([z[own] for own in asked]), np.concatenate(by_person))
    if slope == LEAST_SLOPE:
        log.warning(
            "In blocks that presence did not learn from, what it scores high is right no more often than the rest: "
            "expect no events that a person would mark. Mark more spans, or check the stretches: all of their bars in "
            "no span count as looked at."
        )
    prob = np.asarray(expit(slope * z + intercept))
    ahead = learned[0].chart.ahead
    if ahead is None:
        of_all = np.concatenate([prob[own] for own in asked])
        threshold, f1 = _best_threshold(of_all, np.concatenate(by_person), n_spans)
        rule = "largest F1 at IoU 0.5 with class over held-out blocks"
    else:
        at_once = np.asarray(expit(slope * score_logit(rows.score) + intercept))
        threshold, f1 = _best_live_threshold(rows, at_once, learned)
        rule = "largest F1 at IoU 0.5 with class over held-out blocks, each event reported when it is known"
        record |= {"ahead_bars": ahead, "lag_bars": lag_of(ahead)}
    aps = [average_precision(prob[own], right, n) for own, right, n in zip(asked, by_person, n_by_person, strict=True)]
    record |= {
        "event_prob": PROBABILITY,
        "threshold_rule": rule,
        "held_out_f1": f1,
        "held_out_ap": float(np.mean(aps)),
    }
    people = {}
    for name, seen, right, n in zip(names, asked, by_person, n_by_person, strict=True):
        if name is not None:
            own = intercept + _offset(slope * z[seen] + intercept, right)
            people[name] = Person(own, _best_threshold(np.asarray(expit(slope * z[seen] + own)), right, n)[0])
    return Presence(detectors, slope, intercept, threshold, record, people, ahead)


def _rising_sigmoid(z: Float[np.ndarray, " events"], right: Bool[np.ndarray, " events"]) -> tuple[float, float]:
    """Fit Platt's slope and intercept; a slope that falls would turn the order of events and classes around."""
    slope, intercept = fit_platt(z, right.astype(np.int64))
    if slope > LEAST_SLOPE or not len(z):
        return slope, intercept
    share = (right.sum() + 1) / (len(right) + 2)
    return LEAST_SLOPE, float(logit(share) - LEAST_SLOPE * z.mean())


def _asked(learned: list[Learned], rows: HeldOut, kept: np.ndarray, name: str | None) -> np.ndarray:
    """Tell which events lie where a person looked."""
    asked = np.zeros(len(kept), dtype=bool)
    for place, one in enumerate(learned):
        own = rows.chart[kept] == place
        asked[own] = one.marked.seen_by(name, rows.bar[kept][own])
    return asked


def _best_live_threshold(
    rows: HeldOut, prob: Float[np.ndarray, "rows classes"], learned: list[Learned]
) -> tuple[float, float]:
    """Return the threshold with the largest F1 where each event is reported once it is known, and that F1.

    An event that is reported keeps out what overlaps it and is known later, however probable that is.
    """
    best = prob.max(axis=1)
    found = (0.5, 0.0)
    for threshold in np.unique(np.quantile(best, LIVE_QUANTILES)):
        n_told = n_right = n_spans = 0
        for place, one in enumerate(learned):
            own = np.flatnonzero((rows.chart == place) & (best >= threshold))
            own = own[np.lexsort((rows.bar[own, 0], -best[own], rows.bar[own, 1]))]
            told = own[_first_come(rows.bar[own])]
            inside = one.span_block >= 0
            spans = one.marked.bar[inside], one.marked.class_index[inside]
            right = matched(rows.bar[told], prob[told].argmax(axis=1), best[told], *spans)
            n_told, n_right, n_spans = n_told + len(told), n_right + int(right.sum()), n_spans + int(inside.sum())
        if (f1 := 2 * n_right / max(n_told + n_spans, 1)) > found[1]:
            found = (float(threshold), f1)
    return found


def _first_come(bar: Int[np.ndarray, "events 2"]) -> list[int]:
    """Return the events, in their order, that none of those kept before overlaps."""
    kept: list[int] = []
    for row in range(len(bar)):
        # Events come by their ends: only the last few kept ones can reach so far.
        if not kept or not (overlap(bar[row], bar[kept[-8:]]) > MAX_OVERLAP).any():
            kept.append(row)
    return kept


def _people(learned: list[Learned]) -> list[str | None]:
    """Return the names of several annotators, or None for any of them."""
    names = {name for one in learned if one.marked.annotator is not None for name in one.marked.annotator.tolist()}
    return sorted(names) if len(names) > 1 else [None]


def _offset(logit: Float[np.ndarray, " events"], right: Bool[np.ndarray, " events"]) -> float:
    """Return how much more (or less) often a person marks than all do, as a logit; few labels keep it near 0."""
    offset = 0.0
    for _ in range(OFFSET_STEPS):
        prob = expit(logit + offset)
        step = (float((right - prob).sum()) - offset) / (float((prob * (1 - prob)).sum()) + 1.0)
        offset += float(np.clip(step, -1.0, 1.0))
    return offset


def _ranked(
    detectors: list[Detector],
    best: Float[np.ndarray, " events"],
    right: Bool[np.ndarray, " events"],
    n_spans: int,
    record: dict[str, Any],
) -> Presence:
    """Return what ranks events among marked pieces, for what nobody marked says nothing."""
    marked = score_logit(best[right])
    if len(marked) < LEAST_SPANS:
        raise InvalidData(
            f"presence must find {LEAST_SPANS} marked pieces in bars that it did not learn from, but it finds "
            f"{len(marked)} of {n_spans}. Mark more, or leave --spans out."
        )
    # The logistic distribution with the mean and the spread of what marked pieces score.
    slope = float(np.pi / np.sqrt(3) / max(marked.std(), 1e-3))
    intercept = float(-slope * marked.mean())
    rank = np.asarray(expit(slope * score_logit(best) + intercept))
    order = np.argsort(-rank, kind="stable")
    recall = np.cumsum(right[order]) / n_spans
    at = int((recall**2 / np.arange(1, len(order) + 1)).argmax())
    record |= {
        "event_prob": RANK,
        "threshold_rule": "largest squared recall at IoU 0.5 with class over the number of events, over held-out "
        "blocks (Lee and Liu 2003)",
        "held_out_recall": float(recall[at]),
        "held_out_events_per_span": float((at + 1) / n_spans),
    }
    return Presence(detectors, slope, intercept, float(rank[order][at]), record)


def _without_overlap(rows: HeldOut) -> Iterator[np.ndarray]:
    """Yield, chart by chart, the candidates that stay when those that overlap are settled."""
    for place in np.unique(rows.chart):
        own = np.flatnonzero(rows.chart == place)
        events = _as_events(rows.bar[own], rows.score[own])
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
    """Return which events are right: most probable first, each takes the span of its class that it overlaps most."""
    free, right = np.ones(len(spans), dtype=bool), np.zeros(len(bar), dtype=bool)
    for row in np.lexsort((bar[:, 1], bar[:, 0], -prob)):
        near = np.where(free & (classes == label[row]), overlap(bar[row], spans), 0.0)
        if len(near) and near.max() >= EVENT_IOU:
            free[near.argmax()], right[row] = False, True
    return right


def _best_threshold(prob: np.ndarray, right: np.ndarray, n_spans: int) -> tuple[float, float]:
    """Return the probability of the last event reported where F1 is largest, and that F1."""
    if not len(prob):
        return 0.5, 0.0
    order = np.argsort(-prob, kind="stable")
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + n_spans)
    return float(prob[order][f1.argmax()]), float(f1.max())


def average_precision(prob: np.ndarray, right: np.ndarray, n_spans: int) -> float:
    """Return the mean precision at each right event, over all spans."""
    hits = right[np.argsort(-prob, kind="stable")]
    return float((hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)).sum() / max(n_spans, 1))
