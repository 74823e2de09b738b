"""Controls that train small networks: what must not change, and what must fall to chance."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moola.core.features import relative_features
from moola.core.seeds import derive_seed, generator
from moola.core.splits import PARTS
from moola.errors import InvalidData
from moola.evaluation.figures import Figure, TrainingFacts, evaluate
from moola.files import json_bytes, sha256_file, write_atomic
from moola.fit.fitting import predict_held_out
from moola.fit.jobs import fit_job, quiet, read_job
from moola.leakcheck.subject import Finding, Subject
from moola.models.model_files import weights_digest
from moola.options.training_options import TrainOptions
from moola.tables.prediction_table import Predictions
from moola.tables.window_file import WindowTable, write_windows
from moola.training.loop import epoch_lines

# Small networks fitted as `train` fits them, on copies in a temporary folder.


HIDDEN, EPOCHS, LEARNING_RATE = 16, 8, 6e-3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A trained network: what identifies it, its predictions of the evaluated part, and its trivial floor."""

    weights_sha256: str
    calibration: tuple[float, float | None]
    predictions: Predictions
    facts: TrainingFacts


Fit = Callable[[WindowTable, int], Fitted]


@contextlib.contextmanager
def bench(subject: Subject) -> Iterator[Fit]:
    """Give a function that trains on a table with a seed; everything it writes is gone afterwards.

    The messages of these trainings are left out: they are about copies.
    """
    log.info("Training small networks for the controls (--quick leaves them out).")
    with tempfile.TemporaryDirectory(prefix="moola-leakcheck-") as folder, quiet(logging.ERROR):
        yield lambda table, seed: _fit(subject, table, seed, Path(folder))


def _fit(subject: Subject, table: WindowTable, seed: int, folder: Path) -> Fitted:
    """Train on files, so that a leak in how they are read shows too."""
    data, split = folder / "windows.parquet", folder / "split.json"
    write_windows(data, table)
    record = {f"{part}_indices": subject.split.part(part).tolist() for part in PARTS}
    record |= {"name": "control", "data_sha256": sha256_file(data), "window_bars": table.window_bars}
    write_atomic(split, json_bytes(record))
    options = TrainOptions(
        data=data,
        split=split,
        hidden_dim=HIDDEN,
        num_layers=1,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        # Overlap is reported by its own check; here the question is what training does with the rows.
        allow_overlap=True,
        window_bars=table.window_bars,
        device=subject.options.device,
        threads=subject.options.threads,
        seed=seed,
    )
    job = read_job(options)
    done = fit_job(job, epoch_lines("control"))
    predictions = predict_held_out(done, job.inputs, job.device).of_part(
        "test" if len(job.inputs.split.test) else "val"
    )
    calibration = (done.model.temperature, done.model.pointer_threshold)
    return Fitted(weights_digest(done.model.network), calibration, predictions, done.facts)


# A control is repeated while it looks like a leak: a leak shows in each repetition, chance does not.
N_REPEATS = 5
HIT = "hit_at_pm3_both"
ADVICE = "Training sees what it must not: report it with this output."


def trained_controls(subject: Subject) -> list[Finding]:
    """Poisoned test rows, shuffled train labels and shifted train pointers."""
    try:
        with bench(subject) as fit:
            plain = fit(subject.table, subject.options.seed)
            return [
                *poisoned_test(subject, fit, plain),
                *shuffled_labels(subject, fit, plain),
                *shifted_pointers(subject, fit, plain),
            ]
    except InvalidData as error:
        found = f"no network can be trained on these files: {str(error).splitlines()[0]}"
        return [Finding("trained controls", "note", found, "Fix what is marked leak first.")]


def poisoned_test(subject: Subject, fit: Fit, plain: Fitted) -> list[Finding]:
    """Swap the labels of the test rows and change their prices: the network must be the same to the bit."""
    what, rows = "poisoned test rows", subject.split.test
    if not len(rows):
        return [Finding(what, "note", "the split has no test part to poison")]
    poisoned = fit(poison(subject.table, rows, subject.options.seed), subject.options.seed)
    if (poisoned.weights_sha256, poisoned.calibration) == (plain.weights_sha256, plain.calibration):
        found = f"other labels, pointers and prices in {len(rows)} test rows: weights and calibration equal to the bit"
        return [Finding(what, "ok", found)]
    differs = "weights" if poisoned.weights_sha256 != plain.weights_sha256 else "calibration"
    found = f"other labels, pointers and prices in {len(rows)} test rows change the trained {differs}"
    return [Finding(what, "leak", found, ADVICE, int(rows[0]))]


def poison(table: WindowTable, rows: np.ndarray, seed: int) -> WindowTable:
    """Return the table with these rows' classes swapped, pointers mirrored in time and prices changed.

    One change for all rows, so that windows with equal bars stay equal; bars stay valid bars.
    """
    rng = generator(seed, "leakcheck", "poison")
    next_class = dict(zip(table.classes, [*table.classes[1:], *table.classes[:1]], strict=True))
    label = table.label.copy()
    label[rows] = [next_class.get(name) for name in table.label[rows]]
    start, end, last = table.expansion_start.copy(), table.expansion_end.copy(), table.window_bars - 1
    known = rows[table.expansion_start[rows] >= 0]
    start[known], end[known] = last - table.expansion_end[known], last - table.expansion_start[known]
    ohlc, features = table.ohlc, table.features
    if ohlc is not None:
        ohlc = ohlc.copy()
        ohlc[rows] *= np.exp(np.cumsum(rng.normal(0.0, 1e-3, table.window_bars)))[:, None]
    if features is not None:
        features = features.copy()
        features[rows] = relative_features(ohlc[rows]) if ohlc is not None else features[rows][:, ::-1]
    return replace(table, label=label, expansion_start=start, expansion_end=end, ohlc=ohlc, features=features)


def shuffled_labels(subject: Subject, fit: Fit, plain: Fitted) -> list[Finding]:
    """Train on shuffled labels: PR-AUC must not be above the class share.

    Below it is no leak: a network that learned noise may have the sign of a strong pattern either way, and
    far from the share. That is why one shuffle above the share is not enough either.
    """
    what, seed = "shuffled labels", subject.options.seed
    real = _figure(plain, plain.facts, "pr_auc", seed)
    if real.value is None:
        return [Finding(what, "note", f"PR-AUC cannot be determined: {real.reason}")]
    for attempt in range(N_REPEATS):
        table = shuffle_labels(subject, attempt)
        fitted = fit(table, derive_seed(seed, "leakcheck", attempt))
        figure = _figure(fitted, fitted.facts, "pr_auc", seed)
        if not _above(figure, figure.trivial):
            found = (
                f"PR-AUC is {_shown(figure)}, no better than the class share {figure.trivial:.3f} "
                f"(with the true labels {real.value:.3f})"
            )
            return [Finding(what, "ok", found)]
    found = (
        f"a network that learned shuffled labels has PR-AUC {_shown(figure)}, above the class share "
        f"{figure.trivial:.3f}, in each of {N_REPEATS} shuffles"
    )
    return [Finding(what, "leak", found, ADVICE)]


def shuffle_labels(subject: Subject, attempt: int) -> WindowTable:
    """Return the table with the train labels shuffled; equal bars and pointers keep equal labels."""
    table, rows = subject.table, subject.split.train
    label = table.label.copy()
    label[rows] = generator(subject.options.seed, "leakcheck", "shuffle", attempt).permutation(table.label[rows])
    key = np.stack([subject.intervals.group, table.expansion_start, table.expansion_end], axis=1)
    _, first, same = np.unique(key, axis=0, return_index=True, return_inverse=True)
    label[rows] = label[first[same.ravel()]][rows]
    return replace(table, label=label)


def shifted_pointers(subject: Subject, fit: Fit, plain: Fitted) -> list[Finding]:
    """Train on pointers moved at random: hit@3 of both must not be above the trivial level."""
    what, seed = "shifted pointers", subject.options.seed
    real = _figure(plain, plain.facts, HIT, seed)
    if real.value is None:
        return [Finding(what, "note", f"hit@3 cannot be determined: {real.reason}")]
    for attempt in range(N_REPEATS):
        fitted = fit(shift_pointers(subject, attempt), derive_seed(seed, "leakcheck", attempt))
        figure = _figure(fitted, fitted.facts, HIT, seed)
        # The most common pointers of the true rows are what a network without any knowledge may reach.
        floor = max(real.trivial or 0.0, figure.trivial or 0.0)
        if not _above(figure, floor):
            found = f"hit@3 of both is {_shown(figure)}, trivial {floor:.3f} (with the true pointers {real.value:.3f})"
            return [Finding(what, "ok", found)]
    found = (
        f"a network that learned pointers moved at random hits both ends in {_shown(figure)} of the windows, above the "
        f"trivial {floor:.3f}, in each of {N_REPEATS} shifts"
    )
    return [Finding(what, "leak", found, ADVICE)]


def shift_pointers(subject: Subject, attempt: int) -> WindowTable:
    """Return the table with each train expansion put somewhere else in its window, its length kept."""
    table, rows = subject.table, subject.split.train
    rng = generator(subject.options.seed, "leakcheck", "shift", attempt)
    start, end = table.expansion_start.copy(), table.expansion_end.copy()
    known = rows[start[rows] >= 0]
    length = end[known] - start[known]
    start[known] = rng.integers(0, table.window_bars - length)
    end[known] = start[known] + length
    return _consistent(subject, replace(table, expansion_start=start, expansion_end=end))


def _consistent(subject: Subject, table: WindowTable) -> WindowTable:
    """Rows of equal bars whose moved pointers meet must have one label: put those back."""
    start, end = table.expansion_start.copy(), table.expansion_end.copy()
    seen: dict[tuple[int, int, int], object] = {}
    for row in range(len(table)):
        key = int(subject.intervals.group[row]), int(start[row]), int(end[row])
        if seen.setdefault(key, table.label[row]) != table.label[row]:
            start[row], end[row] = subject.table.expansion_start[row], subject.table.expansion_end[row]
    return replace(table, expansion_start=start, expansion_end=end)


def _figure(fitted: Fitted, facts: TrainingFacts, name: str, seed: int) -> Figure:
    metrics = ("pr_auc",) if name == "pr_auc" else ()
    return evaluate(fitted.predictions, facts, metrics, () if metrics else ("hit_at_pm3",), seed).figure(name)


def _above(figure: Figure, floor: float | None) -> bool:
    return figure.low is not None and floor is not None and figure.low > floor


def _shown(figure: Figure) -> str:
    interval = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{interval}"
