"""Learning while somebody labels: heads on a frozen encoder from a few spans, and what they propose beside them.

Spans are read in windows of the encoder, each in one window at a place that is drawn once. What was looked at and is in
no span, and what was rejected, gives background windows. With spans enough on annotated stretches presence is learned
(`fit.presence`), and with enough and no stretch at all from marked pieces against bars that nobody marked; before that,
windows that slide over the bars tell where they point (`core.event_merging`).
Encoded windows are kept (`linear_heads_fit.encoded`): a fit after one more label encodes one more window.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from moola.augment.transforms import class_swaps
from moola.core.bars import Bars, allowed_gap_s
from moola.core.event_merging import MergedEvents, WindowCurves, merge_windows, suppress
from moola.core.expansions import NO_POINTER, length_weights
from moola.core.features import mirrored_features, relative_features
from moola.core.seeds import generator
from moola.core.spans import BACKGROUND, bars_covered, window_starts
from moola.core.splits import Intervals
from moola.core.windows import cut_windows, inner_zone, take_windows
from moola.evaluation.calibration import calibrated, fit_temperature
from moola.evaluation.label_quality import by_suspicion
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.fit.linear_heads_fit import encoded
from moola.fit.predicting import BarVectors, decode
from moola.fit.presence import LEAST_SPANS, MAX_OVERLAP, UNLABELLED_SPANS, fit_presence
from moola.fit.presence_stages import Marked
from moola.models.head_prior import prior_of
from moola.models.heads import LinearHeads
from moola.models.model_files import EncoderFile, ModelFile
from moola.models.network import EnhancedSimpleLSTM
from moola.models.presence_part import Chart, chart_of, read_chart
from moola.training.linear_fit import EncodedWindows, LinearFit, LinearPlan, fit_linear_heads

# Windows over which proposals are made are so far apart: three for each that a scan reads would cost three times this.
STRIDE = 15
# Spans before anything is learned, bars around what is shown in which proposals are made, and bars read at most.
FIRST_SPANS, REACH, MOST_BARS = 8, 1200, 12_000
LEAST_PROB = 0.05


@dataclass(frozen=True)
class PersonMarks:
    """One person's marks on one symbol's bars; pieces are first and last bar, inclusive.

    Attributes
    ----------
    by_model
        Whether a span is a proposal that was accepted or corrected; such spans teach, and never evaluate.
    """

    bars: Bars
    span: Int[np.ndarray, "spans 2"]
    label: list[str]
    by_model: Bool[np.ndarray, " spans"]
    stretches: Int[np.ndarray, "stretches 2"]
    rejected: Int[np.ndarray, "rejected 2"]

    @property
    def looked_at(self) -> Bool[np.ndarray, " bars"]:
        """Return which bars are known to be background where they are in no span."""
        pieces = np.concatenate([self.stretches, self.rejected, self.span[self.by_model]])
        return bars_covered(len(self.bars), pieces[:, 0], pieces[:, 1])


@dataclass(frozen=True)
class Proposals:
    """Pieces that nobody marked yet, by bar.

    Attributes
    ----------
    bar
        First and last bar, inclusive.
    prob
        How probable each is.
    threshold
        Least probability of one that should be shown.
    says
        One sentence for the person: what was learned from what, or what is missing.
    suspicion
        First bar, last bar and class of the person's spans, the likeliest wrong class first.
    far_bar
        Bars of which windows are most different from those of labels, the most different first.
    """

    bar: Int[np.ndarray, "proposals 2"]
    label: list[str]
    prob: Float[np.ndarray, " proposals"]
    threshold: float
    message: str
    suspicion: list[tuple[int, int, str]] = field(default_factory=list)
    far_bar: list[int] = field(default_factory=list)

    @classmethod
    def none(cls, message: str) -> Proposals:
        """Return no proposals, and the reason."""
        return cls(np.zeros((0, 2), dtype=np.int64), [], np.zeros(0), 1.0, message)


@dataclass(frozen=True)
class LearnedWindows:
    """Encoded windows of spans and of background, in that order, with the span of each.

    Attributes
    ----------
    span
        Number of the span in a window; -1 for background.
    """

    windows: EncodedWindows
    class_names: list[str]
    span: Int[np.ndarray, " windows"]
    first_bar: Int[np.ndarray, " windows"]


class WindowEncoder:
    """Windows of one encoder, encoded one way or, where classes are known upside down, both."""

    def __init__(self, file: EncoderFile, classes: list[str], device: torch.device) -> None:
        self.file, self.device = file, device
        swaps = class_swaps(classes, ())
        names = [*classes, BACKGROUND]
        known = all(name in swaps for name in classes)
        self.mirror = [names.index(swaps.get(name, name)) for name in names] if known else None
        self.prior = prior_of(file.encoder)

    @property
    def window_bars(self) -> int:
        """Bars of a window."""
        return self.file.window_bars

    def read(self, bars: Bars, first_bar: Int[np.ndarray, " windows"]) -> list[np.ndarray]:
        """Return the vectors of windows that begin at these bars, each way."""
        features = relative_features(take_windows(bars.ohlc, first_bar, self.window_bars))
        ways = [features] if self.mirror is None else [features, mirrored_features(features)]
        return [encoded(self.file.encoder, self.file.scaler.transform(one), self.device) for one in ways]


def learned_windows(marks: PersonMarks, reader: WindowEncoder, seed: int) -> LearnedWindows:
    """Place and encode a window for each span, and windows of background: as many as spans, where there are so many."""
    bars, window_bars = marks.bars, reader.window_bars
    zone = inner_zone(window_bars)
    is_whole = np.zeros(len(bars), dtype=bool)
    is_whole[cut_windows(bars, 1, window_bars, allowed_gap_s(bars.start_us)).first_bar] = True
    classes = sorted(set(marks.label))
    rows: list[tuple[int, int, int, int]] = []
    for number, (first, last) in enumerate(marks.span.tolist()):
        starts = window_starts(first, last, window_bars, zone, is_whole)
        if last - first < window_bars and len(starts):
            start = int(generator(seed, "place of a span", first, last).choice(starts))
            rows.append((start, classes.index(marks.label[number]), number, 1))
    rows += [(start, len(classes), -1, 0) for start in _background(marks, is_whole, zone, len(rows), seed)]
    first_bar, class_index, span, has = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    vectors = reader.read(bars, first_bar)
    pointers = np.where(has[:, None] > 0, marks.span[span] - first_bar[:, None], NO_POINTER)
    last_bar = first_bar + window_bars - 1
    names = [*classes, BACKGROUND] if (class_index == len(classes)).any() else classes
    mirror = None if reader.mirror is None else reader.mirror[: len(names)]
    windows = EncodedWindows(
        vectors[0],
        vectors[1] if len(vectors) > 1 else None,
        class_index,
        pointers,
        Intervals(bars.start_us[first_bar], bars.start_us[last_bar] + 1, np.arange(len(rows))),
        mirror,
        reader.prior,
    )
    return LearnedWindows(windows, names, span, first_bar)


def _background(marks: PersonMarks, is_whole: np.ndarray, zone: tuple[int, int], n_most: int, seed: int) -> list[int]:
    """Choose windows whose inner zone was looked at and holds no span, and those around what was rejected."""
    low, high = zone
    spans = np.concatenate([[0], np.cumsum(bars_covered(len(marks.bars), marks.span[:, 0], marks.span[:, 1]))])
    seen = np.concatenate([[0], np.cumsum(marks.looked_at)])
    starts = np.flatnonzero(is_whole[: len(marks.bars) - high + 1])
    free = starts[
        (spans[starts + high] == spans[starts + low]) & (seen[starts + high] - seen[starts + low] == high - low)
    ]
    around = []
    for first, last in marks.rejected.tolist():
        start = min(max((first + last - low - high) // 2, 0), len(is_whole) - 1)
        if is_whole[start] and spans[start + high] == spans[start + low]:
            around.append(start)
    # Windows a few bars apart say the same: at most one in each ten bars.
    spread = free[np.unique(free // 10, return_index=True)[1]]
    n_more = max(n_most - len(around), 0)
    # A number for each bar, the same whatever is marked: one more label changes few of the windows that were encoded.
    turn = generator(seed, "background").random(len(is_whole))
    drawn = spread[np.argsort(turn[spread], kind="stable")][:n_more]
    return sorted({*around, *drawn.tolist()})


# A person waits for it: fewer penalties and blocks than `train` tries, and an end where the loss is .0001 above its
# minimum. More penalties of pointers, and the exact end, gave the same average precision and Brier score (docs/log.md).
QUICK = LinearPlan(pointer_penalties=(0.15,), class_penalties=(0.1, 1.0), n_blocks=3, tolerance=1e-3)


def fit_heads(
    learned: EncodedWindows, n_classes: int, plan: LinearPlan | None = None
) -> tuple[LinearHeads, LinearFit, float]:
    """Fit linear heads and the temperature by what was held out."""
    heads, fit = fit_linear_heads(learned, n_classes, plan)
    judged = fit.judged
    temperature = fit_temperature(fit.out_of_fold_logits[judged], learned.class_index[judged]) if judged.any() else 1.0
    return heads, fit, temperature


@torch.no_grad()
def read_heads(
    heads: LinearHeads, vectors: list[np.ndarray], mirror: list[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return class logits and pointer curves of encoded windows."""
    tensors = [torch.from_numpy(one) for one in vectors]
    out = heads(tensors[0]) if mirror is None or len(tensors) == 1 else heads.both_ways(tensors[0], tensors[1], mirror)
    assert out.pointer_logits is not None
    curves = torch.softmax(out.pointer_logits.double(), dim=1)
    return out.class_logits.double().numpy(), curves.numpy()


# Where proposals are made, and by which of the two ways.


def propose(
    marks: PersonMarks, file: EncoderFile, around: int, seed: int, device: torch.device, model: ModelFile | None = None
) -> Proposals:
    """Learn linear heads from everything marked, and say what else may be marked near a bar.

    Parameters
    ----------
    around
        Bar in whose neighbourhood proposals are wanted.
    model
        One with presence that was learned before, for the same classes: then the proposals are its own.
    """
    if len(marks.span) < FIRST_SPANS:
        return Proposals.none(f"Proposals come after {FIRST_SPANS} spans; {len(marks.span)} are marked.")
    classes = sorted(set(marks.label))
    reader = WindowEncoder(file, classes, device)
    learned = learned_windows(marks, reader, seed)
    near = slice(max(around - REACH, 0) // STRIDE * STRIDE, min(around + REACH, len(marks.bars)))
    by_presence = model is not None and model.class_names == classes
    found = _by_presence(marks, reader, model, near) if model is not None and by_presence else None
    if len(learned.class_names) >= 2:
        heads, fit, temperature = fit_heads(learned.windows, len(learned.class_names), QUICK)
        found = _by_windows(marks, reader, learned, heads, temperature, near) if found is None else found
        found = replace(found, suspicion=_suspicion(marks, learned, fit, temperature))
    if found is None:
        return Proposals.none(
            "With one class alone nothing says where nothing is: press L where you have looked at all bars shown, or "
            f"mark {UNLABELLED_SPANS} spans."
        )
    return replace(found, far_bar=_far_bars(marks, reader, learned, near))


def may_learn_presence(marks: PersonMarks) -> bool:
    """Return whether every class has spans enough on bars that were looked at, or more and no stretch."""
    classes = sorted(set(marks.label))
    if not classes:
        return False
    if not len(marks.stretches):
        return min(map(marks.label.count, classes)) >= UNLABELLED_SPANS
    return min(_n_in_seen(marks, classes).values()) >= LEAST_SPANS


def _n_in_seen(marks: PersonMarks, classes: list[str]) -> dict[str, int]:
    """Count the spans of each class that lie whole in bars that were looked at."""
    seen = np.concatenate([[0], np.cumsum(marks.looked_at)])
    n_bars = marks.span[:, 1] - marks.span[:, 0] + 1
    whole = seen[marks.span[:, 1] + 1] - seen[marks.span[:, 0]] == n_bars
    return {name: sum(is_in and one == name for one, is_in in zip(marks.label, whole, strict=True)) for name in classes}


def _slide(marks: PersonMarks, reader: WindowEncoder, piece: slice) -> tuple[np.ndarray, list[np.ndarray]]:
    """Read the windows that slide over a piece of bars; returns the first bar of each, and vectors each way."""
    cut = cut_windows(marks.bars.take(piece), STRIDE, reader.window_bars, allowed_gap_s(marks.bars.start_us))
    first_bar = cut.first_bar + piece.start
    hidden = reader.file.encoder.output_dim
    if not len(first_bar):
        return first_bar, [np.zeros((0, reader.window_bars, hidden), dtype=np.float32)]
    return first_bar, reader.read(marks.bars, first_bar)


def _by_windows(
    marks: PersonMarks,
    reader: WindowEncoder,
    learned: LearnedWindows,
    heads: LinearHeads,
    temperature: float,
    near: slice,
) -> Proposals:
    """Propose what windows point at; background windows take their share of it away."""
    first_bar, vectors = _slide(marks, reader, near)
    n_known = len(learned.class_names) - (BACKGROUND in learned.class_names)
    message = f"Learned from {len(marks.span)} spans"
    if n_known < len(learned.class_names):
        message += f" and {int((learned.span < 0).sum())} windows of background."
    else:
        message += ". Background is not known: press L where you have looked at all bars shown, or reject a proposal."
    if not len(first_bar):
        return Proposals.none(message)
    logits, curves = read_heads(heads, vectors, learned.windows.class_mirror)
    n_bars = marks.span[:, 1] - marks.span[:, 0]
    pair, _ = decode(curves, len(curves), length_weights(n_bars[n_bars < reader.window_bars], reader.window_bars))
    windows = WindowCurves(first_bar, curves, calibrated(logits, temperature), pair, inner_zone(reader.window_bars))
    events = merge_windows(windows, np.ones(len(first_bar), dtype=bool), HIT_BARS)
    known = events.class_prob[:, :n_known]
    prob = events.event_prob * known.sum(axis=1)
    return _kept(marks, events, prob, learned.class_names[:n_known], known.argmax(axis=1), 0.3, message)


def learn_presence(marks: PersonMarks, file: EncoderFile, around: int, seed: int, device: torch.device) -> ModelFile:
    """Learn presence from what was looked at, the bars nearest to `around` first up to a limit.

    Where no stretch was looked at, all bars from the first span to the last are unlabelled (`fit.presence`).

    Raises
    ------
    InvalidData
        A class has too few spans on these bars (`may_learn_presence`).
    """
    classes, annotated = sorted(set(marks.label)), len(marks.stretches) > 0
    reader, looked = WindowEncoder(file, classes, device), marks.looked_at
    if not annotated:
        bar = np.arange(len(looked))
        between = (bar >= marks.span[:, 0].min()) & (bar <= marks.span[:, 1].max())
        looked = between & (np.abs(bar - around) <= MOST_BARS // 2)
    charts, read = [], []
    for piece in _pieces(looked, around, reader.window_bars):
        chart = replace(_marked(marks, classes, looked, piece), annotated=annotated)
        if len(chart.bar):
            charts.append(chart)
            read.append(_read(marks, reader, piece))
    mirror = None if reader.mirror is None else reader.mirror[: len(classes)]
    heads = LinearHeads(file.encoder.output_dim, len(classes), predict_pointers=True)
    network = EnhancedSimpleLSTM(file.encoder, [heads])
    model = ModelFile(network, "lstm", file.scaler, file.window_bars, classes, 1.0, None, {}, mirror)
    return replace(model, presence=fit_presence(model, charts, device, seed, read))


def _marked(marks: PersonMarks, classes: list[str], looked: np.ndarray, piece: slice) -> Marked:
    """Return a piece of bars with the spans that lie whole in what was looked at there."""
    seen = np.concatenate([[0], np.cumsum(looked[piece])])
    inside = np.flatnonzero((marks.span[:, 0] >= piece.start) & (marks.span[:, 1] < piece.stop))
    span = marks.span[inside] - piece.start
    whole = seen[span[:, 1] + 1] - seen[span[:, 0]] == span[:, 1] - span[:, 0] + 1
    inside = inside[whole][np.argsort(span[whole, 0], kind="stable")]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], looked[piece], [False]]).astype(np.int8)))
    label = np.array([classes.index(marks.label[row]) for row in inside], dtype=np.int64)
    return Marked(marks.bars.take(piece), marks.span[inside] - piece.start, label, edges.reshape(-1, 2))


def _by_presence(marks: PersonMarks, reader: WindowEncoder, model: ModelFile, near: slice) -> Proposals:
    presence, classes = model.presence, model.class_names
    assert presence is not None
    bar, prob = read_chart(presence, _read(marks, reader, near), len(classes), 0, near.stop - near.start)
    n = sum(presence.record["n_spans"].values())
    message = (
        f"Ranked by {n} spans against bars that nobody marked: figures say how high a piece ranks among marked ones, "
        "and are no probabilities. How many are wrong, and how many were missed, cannot be known: press L where you "
        "have looked at all bars shown."
        if presence.is_rank
        else f"Learned from {n} spans on bars that were looked at (held out: F1 {presence.record['held_out_f1']:.2f})."
    )
    none, best = np.zeros(len(bar), dtype=np.int64), prob.max(axis=1, initial=0.0)
    bar = bar + near.start
    events = MergedEvents(bar, np.zeros((len(bar), 2)), best, prob, bar, bar, none, none, none > 0, none)
    return _kept(marks, events, best, classes, prob.argmax(axis=1), presence.threshold, message)


def _pieces(looked: np.ndarray, around: int, margin: int) -> list[slice]:
    """Cut the bars that were looked at into pieces with bars beside them, the nearest ones first up to a limit."""
    wide = np.flatnonzero(np.diff(np.concatenate([[False], looked, [False]]).astype(np.int8))).reshape(-1, 2)
    joined: list[list[int]] = []
    for first, stop in wide.tolist():
        if joined and first - joined[-1][1] <= 2 * margin:
            joined[-1][1] = stop
        else:
            joined.append([first, stop])
    joined.sort(key=lambda one: abs((one[0] + one[1]) // 2 - around))
    found: list[slice] = []
    n_bars = 0
    for first, stop in joined:
        piece = slice(max(first - margin, 0) // STRIDE * STRIDE, min(stop + margin, len(looked)))
        n_bars += piece.stop - piece.start
        if found and n_bars > MOST_BARS:
            break
        found.append(piece)
    return sorted(found, key=lambda one: one.start)


def _read(marks: PersonMarks, reader: WindowEncoder, piece: slice) -> Chart:
    first_bar, vectors = _slide(marks, reader, piece)
    n_ways = 1 if reader.mirror is None else 2
    zone = inner_zone(reader.window_bars)
    sums = BarVectors(piece.stop - piece.start, reader.file.encoder.output_dim, n_ways, zone)
    if len(first_bar):
        sums.add(first_bar - piece.start, vectors)
    return chart_of(marks.bars.ohlc[piece], *sums.means())


def _kept(
    marks: PersonMarks,
    events: MergedEvents,
    prob: np.ndarray,
    classes: list[str],
    label: np.ndarray,
    threshold: float,
    message: str,
) -> Proposals:
    """Leave out what overlaps a more probable one, a span, or what was rejected."""
    taken = np.concatenate([marks.span, marks.rejected])
    covered = np.concatenate([[0], np.cumsum(bars_covered(len(marks.bars), taken[:, 0], taken[:, 1]))])
    free = (prob >= LEAST_PROB) & (covered[events.bar[:, 1] + 1] == covered[events.bar[:, 0]])
    rows = np.flatnonzero(free)
    ranked = replace(events.take(rows), event_prob=prob[rows])
    stays, _ = suppress(ranked, np.zeros((0, 2), dtype=np.int64), MAX_OVERLAP, len(marks.bars) + 1)
    rows = rows[np.flatnonzero(stays)]
    rows = rows[np.argsort(events.bar[rows, 0], kind="stable")]
    return Proposals(events.bar[rows], [classes[one] for one in label[rows]], prob[rows], threshold, message)


# What to look at next, besides proposals.


def _suspicion(
    marks: PersonMarks, learned: LearnedWindows, fit: LinearFit, temperature: float
) -> list[tuple[int, int, str]]:
    """Order spans by how likely their class is wrong, by fits that did not see their block of time."""
    rows = np.flatnonzero((learned.span >= 0) & fit.judged)
    if not len(rows):
        return []
    prob = calibrated(fit.out_of_fold_logits[rows], temperature)
    order = learned.span[rows[by_suspicion(learned.windows.class_index[rows], prob)]].tolist()
    return [(*marks.span[row].tolist(), marks.label[row]) for row in order]


MOST_FAR = 20


def _far_bars(marks: PersonMarks, reader: WindowEncoder, learned: LearnedWindows, near: slice) -> list[int]:
    """Return the middle bars of windows that are farthest from those of labels, and from each other."""
    first_bar, vectors = _slide(marks, reader, near)
    low, high = inner_zone(reader.window_bars)
    taken = marks.looked_at | bars_covered(len(marks.bars), marks.span[:, 0], marks.span[:, 1])
    count = np.concatenate([[0], np.cumsum(taken)])
    free = count[first_bar + high] == count[first_bar + low]
    if not free.any():
        return []
    means, known = vectors[0][free, low:high].mean(axis=1), learned.windows.encoded[:, low:high].mean(axis=1)
    spread = known.std(axis=0) + 1e-6
    means, known = means / spread, known / spread
    apart = np.min([((means - one) ** 2).sum(axis=1) for one in known], axis=0)
    chosen: list[int] = []
    for _ in range(min(MOST_FAR, len(means))):
        row = int(apart.argmax())
        chosen.append(int(first_bar[free][row]) + (low + high) // 2)
        apart = np.minimum(apart, ((means - means[row]) ** 2).sum(axis=1))
    return chosen
