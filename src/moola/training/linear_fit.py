"""Fitting heads without a hidden layer: two convex problems, each with one optimum (specification 11).

Pointers. With x_nt the standardised vector of bar t of window n and q_n the target curve (a Gaussian of `sigma_bars`
around the pointer), u is the minimum of

    mean_n [ -sum_t q_nt ln softmax_t(u.x_nt) ] + penalty / 2 |u|^2.

Class. With v_n the vectors pooled under the start curve, under the end curve and over all bars, standardised (the last
to a deviation of .3), W and b are the minimum of the multinomial logistic regression

    mean_n [ -ln softmax_k(W v_n + b)[class of n] ] + penalty / 2 |W|^2.

Where it is known what weights are usually like on an encoder (`models.head_prior`), |u|^2 and |W|^2 are measured by the
covariance C of such weights, as u' C^-1 u. Values that hardly vary are not blown up: no deviation counts as less than
half of the median.

The curves that pool v_n are half the true pointers' and half predicted, by pointers fitted without the window's block
of time: true ones alone are surer than any that the class will be read under, predicted ones alone often miss where
labels are few. Windows are read by `mixed_logits`. Penalties are those with the least out-of-fold log-loss over blocks
of time, under predicted curves; windows that share a bar with a block are left out of its fit (purged). A window and
its price mirror are one observation: both encodings are averaged before they are scored, as by `LinearHeads.both_ways`.

Nothing is drawn at random, and rows are put in order of time first: the same windows in any order give the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from moola.core.expansions import NO_POINTER, soft_curve
from moola.core.splits import Intervals, near_any
from moola.core.windows import rows_of
from moola.errors import InvalidData
from moola.models.head_prior import HeadPrior
from moola.models.heads import SIGMA_BARS, LinearHeads, mixed_logits

log = logging.getLogger(__name__)
Vectors = Float[np.ndarray, "windows bars hidden"]
Curves = Float[np.ndarray, "windows bars pointers"]
# What hardly varies among few windows may vary elsewhere: no value's deviation is below this share of the median.
LEAST_SCALE, LEAST_SHARE = 1e-6, 0.5
# The mean over a window adds little to what lies under the curves: it counts this much, so that the penalty holds it.
MEAN_SHARE = 0.3
# Windows that are scored at once, so that their vectors stay in the processor's cache.
PIECE = 16


@dataclass(frozen=True)
class LinearPlan:
    """What the optimum depends on besides the windows.

    Attributes
    ----------
    sigma_bars
        Width of the pointers' target curves, in bars.
    pointer_penalties, class_penalties
        The penalties that are tried, ascending.
    n_blocks
        Blocks of time that are held out by turns, at least 2.
    tolerance
        Largest value of the gradient at the optimum, in units of the root of the curvature.
    """

    sigma_bars: float = 1.0
    pointer_penalties: tuple[float, ...] = (0.01, 0.04, 0.15, 0.6)
    class_penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    n_blocks: int = 5
    tolerance: float = 1e-8


@dataclass(frozen=True)
class EncodedWindows:
    """Labelled windows, encoded.

    Attributes
    ----------
    encoded
        The frozen encoder's vectors of each bar.
    mirrored
        Those of the windows upside down; `None` where a class is not known upside down.
    class_index
        Class of each window, from 0.
    pointers
        Start and end bar, `NO_POINTER` for a window without an expansion: it counts for the class alone.
    intervals
        When the windows are. Without times their order stands for it.
    class_mirror
        The class that each class becomes upside down; needed with `mirrored`.
    prior
        What weights of heads on these vectors are usually like; `None` where nothing is known.
    """

    encoded: Vectors
    mirrored: Vectors | None
    class_index: Int[np.ndarray, " windows"]
    pointers: Int[np.ndarray, "windows 2"]
    intervals: Intervals
    class_mirror: list[int] | None = None
    prior: HeadPrior | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, rows: np.ndarray) -> EncodedWindows:
        """Return some windows, in this order."""
        times = self.intervals
        return replace(
            self,
            encoded=self.encoded[rows],
            mirrored=rows_of(self.mirrored, rows),
            class_index=self.class_index[rows],
            pointers=self.pointers[rows],
            intervals=Intervals(rows_of(times.start_us, rows), rows_of(times.end_us, rows), times.group[rows]),
        )


@dataclass(frozen=True)
class LinearFit:
    """What the fit found, for the record and for calibration; rows are those that were given, in their order.

    Attributes
    ----------
    pointer_penalty, class_penalty
        The penalties chosen, of start and end; `None` without pointers.
    pointer_loss, class_loss
        Out-of-fold log-loss of every penalty tried; empty where no folds could be made.
    out_of_fold_logits
        Class logits of each row by the fit without its block of time, raw; NaN where there is none. A calibration that
        is fitted to them has seen no window twice.
    out_of_fold_curves
        The same for pointer curves; `None` without pointers.
    """

    pointer_penalty: tuple[float, ...] | None
    class_penalty: float
    pointer_loss: list[list[float]] = field(repr=False)
    class_loss: list[float] = field(repr=False)
    out_of_fold_logits: Float[np.ndarray, "windows classes"] = field(repr=False)
    out_of_fold_curves: Curves | None = field(repr=False)

    @property
    def judged(self) -> Bool[np.ndarray, " windows"]:
        """Return which rows have out-of-fold logits."""
        return np.isfinite(self.out_of_fold_logits).all(axis=1)


def time_blocks(intervals: Intervals, n_blocks: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut windows into blocks of time; returns for each the rows of all others that share no bar with it, and its own.

    Without times, rows are taken in their order and only groups of equal bars are kept apart. A block without a row, or
    one that leaves none, is left out.
    """
    rows = np.arange(len(intervals.group))
    order = rows if intervals.start_us is None else np.argsort(intervals.start_us, kind="stable")
    folds = []
    for block in np.array_split(order, n_blocks):
        rest = np.setdiff1d(rows, block)
        if not len(block) or not len(rest):
            continue
        if intervals.timed:
            apart = ~near_any(intervals, rest, block, 0)
        else:
            apart = ~np.isin(intervals.group[rest], intervals.group[block])
        if apart.any():
            folds.append((rest[apart], np.sort(block)))
    return folds


def fit_linear_heads(
    windows: EncodedWindows, n_classes: int, plan: LinearPlan | None = None
) -> tuple[LinearHeads, LinearFit]:
    """Fit heads to their one optimum; penalties are chosen by blocks of time over all windows given.

    Returns
    -------
    tuple
        The heads, with raw class logits (`LinearFit.out_of_fold_logits` are for calibrating them), and what the fit
        found.

    Raises
    ------
    InvalidData
        The windows are all of one class, or a class has none.
    """
    plan = LinearPlan() if plan is None else plan
    _require_classes(windows.class_index, n_classes)
    order = _time_order(windows)
    ordered = windows.take(order)
    folds = time_blocks(ordered.intervals, plan.n_blocks)
    pointing = _fit_pointers(ordered, folds, plan)
    naming = _fit_class(ordered, n_classes, folds, pointing.curves, plan)
    heads = LinearHeads(windows.encoded.shape[2], n_classes, pointing.weights is not None)
    with torch.no_grad():
        heads.class_head.weight.copy_(torch.from_numpy(naming.weights))
        heads.class_head.bias.copy_(torch.from_numpy(naming.bias))
        if heads.pointer_head is not None:
            heads.pointer_head.weight.copy_(torch.from_numpy(pointing.weights))
    back = np.argsort(order)
    fit = LinearFit(
        pointing.penalty,
        naming.penalty,
        pointing.loss,
        naming.loss,
        naming.out_of_fold[back],
        None if pointing.curves is None else pointing.curves[back],
    )
    return heads.eval(), fit


def _require_classes(class_index: np.ndarray, n_classes: int) -> None:
    counts = np.bincount(class_index, minlength=n_classes)
    if (counts > 0).sum() < 2 or (counts == 0).any():
        raise InvalidData(
            f"linear heads must have windows of at least two classes and of each, but of {len(class_index)} windows "
            f"{int((counts > 0).sum())} of {n_classes} classes have any. Label windows of another class."
        )


def _time_order(windows: EncodedWindows) -> np.ndarray:
    """Rows in order of time, equal times by what is known of them, so that the order given does not matter."""
    times = windows.intervals
    if times.start_us is None or times.end_us is None:
        return np.arange(len(windows))
    start, end = windows.pointers.T
    # Several expansions of one window have the same bars; other equal times are of other symbols.
    by_content = [*windows.encoded[:, -1, :2].T]
    return np.lexsort([*by_content, windows.class_index, end, start, times.end_us, times.start_us])


@dataclass(frozen=True)
class _Pointing:
    """Weights of both pointers on raw vectors, and every window's curves by a fit that did not see its block."""

    weights: np.ndarray | None = None
    curves: Curves | None = None
    penalty: tuple[float, ...] | None = None
    loss: list[list[float]] = field(default_factory=list)


def _fit_pointers(windows: EncodedWindows, folds: list[tuple[np.ndarray, np.ndarray]], plan: LinearPlan) -> _Pointing:
    if (windows.pointers == NO_POINTER).all():
        return _Pointing()
    encoded = windows.encoded if windows.mirrored is None else (windows.encoded + windows.mirrored) / 2
    flat = encoded.reshape(-1, encoded.shape[2])
    center = flat.mean(axis=0, dtype=np.float64)
    scale = _scale_of(flat)
    vectors = ((encoded - center.astype(np.float32)) / scale.astype(np.float32)).astype(np.float32)
    found = []
    for number, bars in enumerate(windows.pointers.T):
        root = None if windows.prior is None else windows.prior.pointer_root(number, scale)
        turned = vectors if root is None else vectors @ root.astype(np.float32)
        weights, *rest = _fit_pointer(turned, bars, folds, plan)
        found.append((weights if root is None else root @ weights, *rest))
    weights, curves, penalty, loss = zip(*found, strict=True)
    return _Pointing(np.stack(weights) / scale, np.stack(curves, axis=-1), penalty, list(loss))


def _scale_of(vectors: Float[np.ndarray, "rows values"]) -> Float[np.ndarray, " values"]:
    """Return what each value is divided by."""
    spread = vectors.std(axis=0, dtype=np.float64)
    return np.maximum(spread, max(LEAST_SCALE, LEAST_SHARE * float(np.median(spread))))


def _fit_pointer(
    vectors: np.ndarray, bars: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], plan: LinearPlan
) -> tuple[np.ndarray, np.ndarray, float, list[float]]:
    """Choose a pointer's penalty by folds and fit it to all windows; returns its curves out of fold where it can."""
    penalties, known = plan.pointer_penalties, bars != NO_POINTER
    target = soft_curve(bars, vectors.shape[1], plan.sigma_bars).astype(np.float32)
    usual = len(penalties) // 2
    everything = _CurveLoss(vectors[known], target[known])
    everywhere = np.zeros(vectors.shape[2])
    for tolerance in (ROUGH_TOLERANCE, FOLD_TOLERANCE):
        basis = everything.basis(everywhere)
        everywhere = everything.minimum(penalties[usual], tolerance, everywhere, basis)
    basis = everything.basis(everywhere)
    curves = np.repeat(_curves(vectors, everywhere)[None], len(penalties), axis=0)
    judged = np.zeros(len(bars), dtype=bool)
    for rest, block in folds:
        if (seen := rest[known[rest]]).size:
            part, weights = _CurveLoss(vectors[seen], target[seen]), everywhere
            for number in reversed(range(len(penalties))):
                weights = part.minimum(penalties[number], FOLD_TOLERANCE, weights, basis)
                curves[number, block] = _curves(vectors[block], weights)
            judged[block] = True
    best, loss, scored = usual, [], judged & known
    if scored.any():
        log_prob = np.log(np.maximum(curves[:, scored], LEAST_PROB_JUDGED))
        loss = (-(target[scored] * log_prob).sum(axis=2).mean(axis=1)).tolist()
        best = int(np.argmin(loss))
    exact = _CurveLoss(everything.vectors.astype(np.float64), everything.target.astype(np.float64))
    return exact.minimum(penalties[best], plan.tolerance, everywhere, basis), curves[best], penalties[best], loss


# The tolerance of fits that judge penalties: their loss is less than .0001 above its minimum.
FOLD_TOLERANCE = 1e-3
# That of the first weights, of which only the curvature is wanted.
ROUGH_TOLERANCE = 1e-1
# Bars with less probability add next to nothing to the curvature, which only sets the steps and not where they end.
LEAST_PROB = 1e-4
# A bar's probability that counts when penalties are judged: no single window decides.
LEAST_PROB_JUDGED = 1e-6


def _curves(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return softmax((vectors @ weights.astype(vectors.dtype)).astype(np.float64), axis=1)


def _lowest(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, tolerance: float) -> np.ndarray:
    """Minimise by L-BFGS (Liu and Nocedal 1989) until no value of the gradient is above the tolerance."""
    settings = {"maxiter": 2000, "maxfun": 4000, "ftol": 0.0, "gtol": tolerance, "maxcor": 20}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options=settings).x)


class _CurveLoss:
    """The loss of one pointer's curve on some windows."""

    def __init__(self, vectors: np.ndarray, target: np.ndarray) -> None:
        self.vectors, self.target = vectors, target

    def __call__(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss without its penalty, and its gradient."""
        narrow = weights.astype(self.vectors.dtype)
        value, gradient = 0.0, np.zeros(len(weights))
        for first in range(0, len(self.vectors), PIECE):
            vectors, target = self.vectors[first : first + PIECE], self.target[first : first + PIECE]
            flat = vectors.reshape(-1, vectors.shape[2])
            scores = (flat @ narrow).reshape(target.shape)
            scores -= scores.max(axis=1, keepdims=True)
            prob = np.exp(scores)
            total = prob.sum(axis=1, keepdims=True)
            value += float((np.log(total[:, 0]) - (target * scores).sum(axis=1)).sum(dtype=np.float64))
            gradient += (prob / total - target).reshape(-1) @ flat
        return value / len(self.vectors), gradient / len(self.vectors)

    def basis(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return eigenvalues and eigenvectors of the loss's curvature, without the penalty."""
        prob = _curves(self.vectors, weights).astype(np.float32)
        heavy = prob.reshape(-1) > LEAST_PROB
        flat = self.vectors.reshape(-1, self.vectors.shape[2])[heavy]
        flat *= np.sqrt(prob.reshape(-1)[heavy])[:, None]
        mean = np.matmul(prob[:, None], self.vectors)[:, 0]
        values, vectors = np.linalg.eigh((flat.T @ flat - mean.T @ mean).astype(np.float64) / len(self.vectors))
        return np.maximum(values, 0.0), vectors

    def minimum(
        self, penalty: float, tolerance: float, start: np.ndarray, basis: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Return the weights of the penalised optimum; `basis` is the curvature at some other weights."""
        values, vectors = basis
        pace = 1 / np.sqrt(values + penalty)

        def loss(turned: np.ndarray) -> tuple[float, np.ndarray]:
            weights = vectors @ (turned * pace)
            value, gradient = self(weights)
            return value + penalty / 2 * float(weights @ weights), (vectors.T @ (gradient + penalty * weights)) * pace

        return vectors @ (_lowest(loss, (vectors.T @ start) / pace, tolerance) * pace)


@dataclass(frozen=True)
class _Naming:
    """Class weights on raw pooled vectors, and every window's logits by a fit that did not see its block."""

    weights: np.ndarray
    bias: np.ndarray
    penalty: float
    loss: list[float]
    out_of_fold: np.ndarray


def _fit_class(
    windows: EncodedWindows,
    n_classes: int,
    folds: list[tuple[np.ndarray, np.ndarray]],
    curves: Curves | None,
    plan: LinearPlan,
) -> _Naming:
    """Choose the class's penalty by folds and fit it to all windows."""
    ways = [windows.encoded] if windows.mirrored is None else [windows.encoded, windows.mirrored]
    learned = [_pooled(way, _learned_curves(windows.pointers, curves)) for way in ways]
    stacked = np.concatenate(learned)
    center, scale = stacked.mean(axis=0), _scale_of(stacked)
    if curves is not None:
        scale[-windows.encoded.shape[2] :] /= MEAN_SHARE
    to_raw = np.diag(1 / scale)
    if curves is not None and windows.prior is not None:
        to_raw = windows.prior.class_root(scale) / scale
    judged_by = [(_pooled(way, curves) - center) @ to_raw.T for way in ways]
    learned = [(one - center) @ to_raw.T for one in learned]
    problem = _ClassLoss(learned, judged_by, windows.class_mirror, windows.class_index, n_classes)
    everyone = np.arange(len(windows))
    out_of_fold, loss = np.full((len(windows), n_classes), np.nan), []
    best = plan.class_penalties[len(plan.class_penalties) // 2]
    usable = [(rest, block) for rest, block in folds if len(set(windows.class_index[rest].tolist())) == n_classes]
    if usable:
        judged = np.concatenate([block for _, block in usable])
        logits = np.full((len(plan.class_penalties), *out_of_fold.shape), np.nan)
        for rest, block in usable:
            start = None
            for number in reversed(range(len(plan.class_penalties))):
                start = problem.minimum(rest, plan.class_penalties[number], FOLD_TOLERANCE, start)
                logits[number, block] = problem.logits(start, block)
        true = windows.class_index[judged]
        loss = [-log_softmax(one[judged], axis=1)[np.arange(len(true)), true].mean() for one in logits]
        best = plan.class_penalties[int(np.argmin(loss))]
        for rest, block in usable:
            found, bias = problem.coefficients(problem.minimum(rest, best, FOLD_TOLERANCE, None))
            found = found @ to_raw
            held_out = None if curves is None else curves[block]
            out_of_fold[block] = _read(windows.take(block), held_out, found, bias - found @ center)
    else:
        log.warning("No block of time leaves windows of every class: the class penalty is the usual one, %g.", best)
    weights, bias = problem.coefficients(problem.minimum(everyone, best, plan.tolerance, None))
    weights = weights @ to_raw
    return _Naming(weights, bias - weights @ center, best, [float(one) for one in loss], out_of_fold)


def _read(windows: EncodedWindows, curves: Curves | None, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Class logits of windows as `LinearHeads.both_ways` gives them under these curves."""
    heads = LinearHeads(windows.encoded.shape[2], len(bias), curves is not None)
    with torch.no_grad():
        heads.class_head.weight.copy_(torch.from_numpy(weights))
        heads.class_head.bias.copy_(torch.from_numpy(bias))
        scores = heads.scores(torch.from_numpy(windows.encoded))
        if windows.mirrored is not None:
            turned = heads.scores(torch.from_numpy(windows.mirrored))
            scores = [(a + b[..., windows.class_mirror]) / 2 for a, b in zip(scores, turned, strict=True)]
        if curves is None:
            return scores[0].double().numpy()
        by_start, by_end, rest = scores
        return mixed_logits(by_start, by_end, rest, torch.from_numpy(curves).float()).double().numpy()


def _learned_curves(pointers: np.ndarray, curves: Curves | None) -> Curves | None:
    """Curves that the class learns under: half the true pointers' and half the predicted ones, where both are."""
    if curves is None:
        return None
    true = [soft_curve(bars, curves.shape[1], SIGMA_BARS) for bars in pointers.T]
    known = (pointers != NO_POINTER).all(axis=1)[:, None, None]
    return np.where(known, (np.stack(true, axis=-1) + curves) / 2, curves)


def _pooled(encoded: Vectors, curves: Curves | None) -> np.ndarray:
    """Lay side by side the mean of a window's vectors under each curve, then their plain mean over its bars."""
    mean = encoded.mean(axis=1, dtype=np.float64)
    if curves is None:
        return mean
    under = np.matmul(curves.astype(np.float32).transpose(0, 2, 1), encoded)
    return np.concatenate([under.reshape(len(encoded), -1).astype(np.float64), mean], axis=1)


class _ClassLoss:
    """Multinomial logistic regression on vectors of windows, or of windows and their mirrors averaged.

    The vectors are turned into coordinates of their own span, at most as many as there are rows: the penalised optimum
    lies in it, so nothing is lost.
    """

    def __init__(
        self,
        learned: list[np.ndarray],
        judged: list[np.ndarray],
        class_mirror: list[int] | None,
        true: np.ndarray,
        n_classes: int,
    ) -> None:
        self.mirror = np.arange(n_classes) if class_mirror is None else np.array(class_mirror)
        if len(learned) == 2 and (self.mirror == np.arange(n_classes)).all():
            # Classes that are their own mirror: the mean of both logits is the logit of the mean.
            learned, judged = [(learned[0] + learned[1]) / 2], [(judged[0] + judged[1]) / 2]
        left, size, span = np.linalg.svd(np.concatenate(learned), full_matrices=False)
        kept = size > size[0] * 1e-10
        self.span = span[kept]
        self.learned, self.judged = (
            np.split(left[:, kept] * size[kept], len(learned)),
            [one @ self.span.T for one in judged],
        )
        self.spread = size[kept] ** 2 / len(left)
        self.true, self.n_classes = np.eye(n_classes)[true], n_classes

    def logits(self, found: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return class logits of some windows as they are judged, averaged over both ways where there are two."""
        return self._logits([one[rows] @ found[:, :-1].T + found[:, -1] for one in self.judged])

    def _logits(self, each: list[np.ndarray]) -> np.ndarray:
        return each[0] if len(each) == 1 else (each[0] + each[1][:, self.mirror]) / 2

    def minimum(self, rows: np.ndarray, penalty: float, tolerance: float, start: np.ndarray | None) -> np.ndarray:
        """Return weights and, last, biases (`(classes, span + 1)`) of the fit to some windows."""
        n_span = len(self.spread)
        true, back = self.true[rows], np.argsort(self.mirror)
        vectors = [np.hstack([one[rows], np.ones((len(rows), 1))]) for one in self.learned]
        # Steps of the same size in every direction: the curvature of a class's weights is at most half of this.
        pace = np.append(1 / np.sqrt(self.spread / 2 + penalty), 2.0)

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            found = flat.reshape(self.n_classes, n_span + 1) * pace
            log_prob = log_softmax(self._logits([one @ found.T for one in vectors]), axis=1)
            off = (np.exp(log_prob) - true) / len(rows)
            gradient = (
                off.T @ vectors[0] if len(vectors) == 1 else (off.T @ vectors[0] + off[:, back].T @ vectors[1]) / 2
            )
            gradient[:, :-1] += penalty * found[:, :-1]
            value = -(true * log_prob).sum() / len(rows) + penalty / 2 * (found[:, :-1] ** 2).sum()
            return float(value), (gradient * pace).ravel()

        first = np.zeros((self.n_classes, n_span + 1)) if start is None else start
        return _lowest(loss, (first / pace).ravel(), tolerance).reshape(self.n_classes, n_span + 1) * pace

    def coefficients(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights on the pooled vectors themselves, and biases."""
        return found[:, :-1] @ self.span, found[:, -1]
