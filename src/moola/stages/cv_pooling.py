"""The fits of a cross-validation, their predictions out of fold pooled and calibrated, and what can be predicted
with coverage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from moola import __version__
from moola.core.seeds import generator
from moola.core.splits import Intervals, Split, near_any
from moola.core.windows import WINDOW_BARS
from moola.evaluation.calibration import Calibrator, calibrated, fit_calibrator, logits_of
from moola.evaluation.class_metrics import Values, Weights
from moola.evaluation.comparisons import block_length, block_weights, percentile_interval
from moola.evaluation.coverage import (
    Turn,
    class_answers,
    class_coverage,
    error_coverage,
    forward_class_sets,
    forward_error_bars,
    forward_turns,
    mean_set_size,
    pointer_errors,
    venn_abers,
)
from moola.evaluation.pointer_metrics import nearest_pointers
from moola.fit.fitting import predict_held_out
from moola.fit.inputs import FitInputs
from moola.fit.jobs import KeptFit, fit_job, read_fit_inputs, read_job
from moola.fit.predicting import average_pointers
from moola.fit.reference_fits import predict_reference
from moola.models.model_files import each_encoder
from moola.models.references import REFERENCES
from moola.models.sealed import digest
from moola.options.option_fields import DEFAULT_SEED, shared_options
from moola.options.study_options import CvOptions
from moola.options.training_options import TrainOptions
from moola.tables.prediction_table import Predictions
from moola.training.loop import epoch_lines


def average(members: list[Predictions]) -> Predictions:
    """Average predictions of the same windows: log-probabilities (so logits) and pointer curves.

    A single member comes out as it is.
    """
    if len(members) == 1:
        return members[0]
    logits = np.mean([logits_of(one.class_prob) for one in members], axis=0)
    return replace(average_pointers(members), class_prob=calibrated(logits, 1.0))


def pool(by_fold: list[Predictions]) -> tuple[Predictions, Int[np.ndarray, " windows"]]:
    """Lay the folds' test windows out in time order, and report which block of time each is of.

    A window that several folds evaluate (combinatorial) is averaged over them; its block is the first fold
    that evaluates it.
    """
    members: dict[int, list[tuple[int, Predictions, int]]] = {}
    for number, fold in enumerate(by_fold):
        for place, row in enumerate(fold.row.tolist()):
            members.setdefault(row, []).append((number, fold, place))
    rows = sorted(members)
    single = [average([fold.take(np.array([place])) for _, fold, place in members[row]]) for row in rows]
    pooled = _concatenate(single)
    block = np.array([members[row][0][0] for row in rows])
    order = np.argsort(pooled.row if pooled.start_us is None else pooled.start_us, kind="stable")
    return pooled.take(order), block[order]


def _concatenate(parts: list[Predictions]) -> Predictions:
    def joined(values: list[np.ndarray | None]) -> np.ndarray | None:
        known = [value for value in values if value is not None]
        return np.concatenate(known) if len(known) == len(values) else None

    return replace(
        parts[0],
        window_id=[name for part in parts for name in part.window_id],
        row=np.concatenate([part.row for part in parts]),
        part=np.concatenate([part.part for part in parts]),
        start_us=joined([part.start_us for part in parts]),
        end_us=joined([part.end_us for part in parts]),
        class_index=np.concatenate([part.class_index for part in parts]),
        class_prob=np.concatenate([part.class_prob for part in parts]),
        true_bar=np.concatenate([part.true_bar for part in parts]),
        predicted_bar=np.concatenate([part.predicted_bar for part in parts]),
        pointer_prob=np.concatenate([part.pointer_prob for part in parts]),
        curves=joined([part.curves for part in parts]),
        annotator=joined([part.annotator for part in parts]),
        shared_bars=np.concatenate([part.shared_bars for part in parts]),
        length_weight=joined([part.length_weight for part in parts]),
    )


def calibrate_out_of_fold(
    pooled: Predictions,
    block: Int[np.ndarray, " windows"],
    method: str = "temperature",
    window_bars: int = WINDOW_BARS,
    earlier_only: bool = False,
) -> tuple[Predictions, list[Calibrator]]:
    """Calibrate each block's probabilities by a calibrator fitted on the other blocks.

    No window has a part in its own calibration, nor has one that shares a bar with its block. Windows of later blocks
    have: what is wrong in the same way in all of them is set right, so ECE and Brier are those of a model that was
    calibrated on windows like the evaluated ones. `earlier_only` takes earlier blocks alone, as use does; the first
    block then stays as its model gave it. Returns the calibrators by block.
    """
    intervals = Intervals(pooled.start_us, pooled.close_us(window_bars), np.arange(len(pooled)))
    logits = logits_of(pooled.class_prob)
    probability = pooled.class_prob.copy()
    calibrators = []
    for number in range(int(block.max()) + 1):
        mine = block == number
        others = ((block < number) if earlier_only else ~mine) & (pooled.class_index >= 0)
        others[others] = ~near_any(intervals, np.flatnonzero(others), np.flatnonzero(mine), 0)
        calibrator = fit_calibrator(method, logits[others], pooled.class_index[others])
        probability[mine] = calibrator.apply(logits[mine])
        calibrators.append(calibrator)
    return replace(pooled, class_prob=probability), calibrators


def paths(by_fold: list[Predictions]) -> list[Predictions]:
    """Lay combinatorial folds out as paths: in each, every window is evaluated by one fold, in time order.

    The p-th path takes, for each window, the p-th fold that evaluates it (Lopez de Prado 2018, ch. 12.4).
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for number, fold in enumerate(by_fold):
        for place, row in enumerate(fold.row.tolist()):
            places.setdefault(row, []).append((number, place))
    n_paths = min(len(found) for found in places.values())
    laid = []
    for path in range(n_paths):
        chosen = [places[row][path] for row in sorted(places)]
        laid.append(_concatenate([by_fold[number].take(np.array([place])) for number, place in chosen]))
    return laid


# What can be predicted for single windows: conformal sets, Venn-Abers intervals, pointer ranges, with coverage.


Share = Callable[[np.ndarray, Weights], Values]


def uncertainty(
    raw: Predictions, block: np.ndarray, alpha: float, window_bars: int = WINDOW_BARS, seed: int = DEFAULT_SEED
) -> dict[str, Any]:
    """Return answers, set coverage and size, interval widths, and pointer ranges with their coverage.

    Coverage is of the windows whose earlier folds were enough to leave something out, with a 95 % interval over blocks
    of time and fold by fold; None where there is no such window.

    Parameters
    ----------
    raw
        Pooled out-of-fold predictions before they are calibrated over all folds, in time order.
    block
        Fold of each window, growing with time.
    """
    labelled = np.flatnonzero(raw.class_index >= 0)
    known, fold = raw.take(labelled), block[labelled]
    turns = _turns(known, fold, window_bars)
    sets, usable = forward_class_sets(known.class_prob, known.class_index, turns, alpha)
    covered = _coverage(
        known,
        fold,
        turns,
        usable,
        lambda rows, weights: class_coverage(sets[rows], known.class_index[rows], weights),
        seed,
    )
    n_usable = int(usable.sum())
    content: dict[str, Any] = {
        "alpha": alpha,
        "answers": dict(sorted(Counter(class_answers(sets, known.class_names)).items())),
        **{f"class_{name}": value for name, value in covered.items()},
        "mean_set_size": float(mean_set_size(sets[usable], np.ones((1, n_usable)))[0]) if n_usable else None,
        "pointers": {which: _pointer_range(raw, block, which, alpha, window_bars, seed) for which in ("start", "end")},
    }
    if len(known.class_names) == 2:
        low, high = _venn_abers(known, turns)
        judged = np.concatenate([rows for rows, _ in turns]) if turns else np.empty(0, dtype=np.int64)
        content["venn_abers_width"] = float(np.mean((high - low)[judged])) if len(judged) else None
    return content


def _turns(pooled: Predictions, fold: np.ndarray, window_bars: int) -> list[Turn]:
    """Return the turns of the folds, less calibration windows that share a bar with the evaluated fold."""
    close_us = pooled.close_us(window_bars)
    if pooled.start_us is None or close_us is None:
        return forward_turns(fold)
    intervals = Intervals(pooled.start_us, close_us, np.arange(len(pooled)))
    return forward_turns(fold, lambda rows, judged: ~near_any(intervals, rows, judged, 0))


def _coverage(
    pooled: Predictions, fold: np.ndarray, turns: list[Turn], usable: np.ndarray, share: Share, seed: int
) -> dict[str, Any]:
    """Return the share covered among calibrated windows, its interval, and the same fold by fold with their numbers."""
    rows = np.flatnonzero(usable)
    found: dict[str, Any] = {"coverage": None, "coverage_low": None, "coverage_high": None, "n_judged": len(rows)}
    by_fold = []
    for judged, calibration in turns:
        mine = judged[usable[judged]]
        value = _share(share, mine)
        by_fold.append(
            {
                "fold": int(fold[judged[0]]) + 1,
                "n_calibration": len(calibration),
                "n_judged": len(mine),
                "coverage": value,
            }
        )
    if len(rows):
        judged_only = pooled.take(rows)
        weights = block_weights(len(rows), block_length(judged_only.start_us, judged_only.end_us), seed)
        low, high = percentile_interval(share(rows, weights)) or (None, None)
        found |= {"coverage": _share(share, rows), "coverage_low": low, "coverage_high": high}
    return found | {"coverage_by_fold": by_fold}


def _share(share: Share, rows: np.ndarray) -> float | None:
    value = float(share(rows, np.ones((1, len(rows))))[0]) if len(rows) else np.nan
    return None if np.isnan(value) else value


def _venn_abers(known: Predictions, turns: list[Turn]) -> tuple[np.ndarray, np.ndarray]:
    """Ends of each window's Venn-Abers interval of the second class's probability; [0, 1] without earlier windows."""
    low, high = np.zeros(len(known)), np.ones(len(known))
    for mine, earlier in turns:
        found = venn_abers(known.class_prob[earlier, 1], known.class_index[earlier], known.class_prob[mine, 1])
        low[mine], high[mine] = found.low_prob, found.high_prob
    return low, high


def single_windows(
    raw: Predictions, block: np.ndarray, alpha: float, window_bars: int = WINDOW_BARS
) -> dict[str, list[Any]]:
    """Return columns, a row a pooled window: answer, Venn-Abers interval, bars around each pointer.

    A window without a label has an answer too; None where the earlier folds are too few to say.
    """
    turns = _turns(raw, block, window_bars)
    sets, _ = forward_class_sets(raw.class_prob, raw.class_index, turns, alpha)
    table: dict[str, list[Any]] = {
        "window_id": list(raw.window_id),
        "row": raw.row.tolist(),
        "answer": class_answers(sets, raw.class_names),
    }
    if len(raw.class_names) == 2:
        low, high = _venn_abers(raw, turns)
        name = raw.class_names[1]
        table |= {f"prob_{name}_low": low.tolist(), f"prob_{name}_high": high.tolist()}
    for which in ("start", "end"):
        if raw.predicts_pointers:
            error = pointer_errors(nearest_pointers(raw), raw.predicted_bar, which)
            within = forward_error_bars(error, turns, alpha)
            table[f"{which}_within_bars"] = [int(bars) if np.isfinite(bars) else None for bars in within]
    return table


def _pointer_range(
    raw: Predictions, block: np.ndarray, which: str, alpha: float, window_bars: int, seed: int
) -> dict[str, Any] | None:
    """Median range in bars over folds and the share of pointers inside; None without pointers."""
    if not raw.predicts_pointers or not (raw.true_bar >= 0).any():
        return None
    turns = _turns(raw, block, window_bars)
    error = pointer_errors(nearest_pointers(raw), raw.predicted_bar, which)
    within = forward_error_bars(error, turns, alpha)
    usable = np.isfinite(within) & ~np.isnan(error)
    covered = _coverage(
        raw, block, turns, usable, lambda rows, weights: error_coverage(error[rows], within[rows], weights), seed
    )
    return {"within_bars": float(np.median(within[usable])) if usable.any() else None} | covered


@dataclass(frozen=True)
class FitTask(KeptFit):
    """What one fit is of, and where its files are."""

    fold: int
    seed: int
    label_fraction: float
    model: str

    @property
    def name(self) -> str:
        """The name of its files: model, fold, seed and share of labels."""
        return f"{self.model}-f{self.fold}-s{self.seed}-l{self.label_fraction:g}"

    @property
    def split(self) -> Path:
        """The fold's split file."""
        return self.folder / "folds" / f"fold-{self.fold}.json"

    @property
    def encoder(self) -> Path:
        """The fold's own encoder, where one is pretrained."""
        return self.folder / "encoders" / f"fold-{self.fold}.pt"


def train_options(options: CvOptions, task: FitTask) -> TrainOptions:
    """Return the options of `train` that this fit is: the cv's own, with the fold's split and encoder."""
    named = each_encoder(options.pretrained_encoder) + ((task.encoder,) if options.pretrain_bars else ())
    if task.model in REFERENCES:
        named = ()
    own = {
        "model": TrainOptions.model,
        "split": task.split,
        "pretrained_encoder": named if len(named) > 1 else next(iter(named), None),
        "save_run": False,
        "resume": None,
        "threads": 1,
        "seed": task.seed,
    }
    return TrainOptions(**shared_options(options, TrainOptions) | own)


def run_task(options: CvOptions, task: FitTask) -> str:
    """Do one fit and write its files; returns its name."""
    training, model = train_options(options, task), None

    def among(whole: FitInputs) -> Split:
        return fewer_labels(whole, task)

    if task.model in REFERENCES:
        inputs = read_fit_inputs(training, among)
        predictions, facts = predict_reference(task.model, inputs.table, inputs.split, inputs.classes, task.seed)
    else:
        job = read_job(training, among)
        inputs = job.inputs
        fitted = fit_job(job, epoch_lines(f"fold {task.fold}, seed {task.seed}"))
        predictions, facts, model = predict_held_out(fitted, job.inputs, job.device), fitted.facts, fitted.model
    content = {"facts": asdict(facts), "leaks": inputs.leaks, "n_train_windows": len(inputs.split.train)}
    task.keep(predictions, model, content)
    return task.name


def fewer_labels(inputs: FitInputs, task: FitTask) -> Split:
    """Keep a share of each class's train and val rows, at least one of each; the seed chooses which.

    Shares are nested: the rows of a smaller one are among those of a larger one.
    """
    split = inputs.split
    if task.label_fraction == 1.0:
        return split
    parts = {}
    for part in ("train", "val"):
        rows = generator(task.seed, "label fraction", task.fold, part).permutation(split.part(part))
        labels = inputs.table.label[rows]
        kept = []
        for name in sorted(set(labels.tolist())):
            mine = rows[labels == name]
            kept.append(mine[: max(round(task.label_fraction * len(mine)), 1)])
        parts[part] = np.sort(np.concatenate(kept))
    return Split(parts["train"], parts["val"], split.test, split.dropped)


def read_fit(task: FitTask) -> tuple[Predictions, dict[str, Any]]:
    """Return a finished fit's test predictions and its record."""
    predictions, record = task.read()
    return predictions.of_part("test"), record


# The grid of fits: which there are.


def tasks_of(options: CvOptions, folder: Path, n_folds: int, key: str) -> list[FitTask]:
    """Return every fit: folds x seeds x label fractions of the model, and the cheap references once a fold.

    Fits that no seed changes are one a fold; where labels are left out, the seed chooses which. `key` is the digest of
    the cv's options and data, which with the version decide each of its fits.
    """
    decided = digest({"cv": key, "version": __version__})
    fractions = sorted({*options.label_fractions, 1.0}, reverse=True)
    tasks = [
        FitTask(folder, fold, seed, fraction, options.model, digest=decided)
        for fraction in fractions
        for seed in _seeds(options, fraction)
        for fold in range(1, n_folds + 1)
    ]
    others = [name for name in REFERENCES if name != options.model]
    return tasks + [
        FitTask(folder, fold, options.seed, 1.0, name, digest=decided)
        for name in others
        for fold in range(1, n_folds + 1)
    ]


def seedless(options: CvOptions) -> bool:
    """Return whether no seed changes a fit on all labels: linear heads on a frozen encoder (`resolve_options`)."""
    has_encoder = options.pretrain_bars is not None or options.pretrained_encoder is not None
    learns = options.freeze_encoder is False or options.head == "mlp"
    return options.model not in REFERENCES and has_encoder and not learns


def _seeds(options: CvOptions, fraction: float) -> list[int]:
    once = options.model in REFERENCES or (seedless(options) and fraction == 1.0)
    return [options.seed + place for place in range(1 if once else options.seeds)]
