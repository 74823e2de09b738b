"""Small networks trained by the very stage `train`, on copies in a temporary folder."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moola.config.options import RUNS_ROOT
from moola.config.train_options import TrainOptions
from moola.core.splits import PARTS
from moola.data.contracts.prediction_table import Predictions
from moola.data.contracts.window_file import write_windows
from moola.data.contracts.window_table import WindowTable
from moola.errors import Interrupted
from moola.evaluation.figures import TrainingFacts
from moola.files import json_bytes, sha256_file, write_atomic
from moola.models.files import read_model, weights_digest
from moola.pipeline.judging import judged_predictions, training_facts
from moola.pipeline.leakcheck.subject import Subject
from moola.pipeline.training import train
from moola.runs import store, tracking
from moola.training.epoch_lines import epoch_lines

HIDDEN, EPOCHS, LEARNING_RATE = 16, 8, 6e-3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A trained network: what identifies it, its predictions of the judged part, and its trivial floor."""

    weights_sha256: str
    calibration: tuple[float, float | None]
    predictions: Predictions
    facts: TrainingFacts


Fit = Callable[[WindowTable, int], Fitted]


@contextlib.contextmanager
def bench(subject: Subject) -> Iterator[Fit]:
    """Give a function that trains on a table with a seed; everything it writes is gone afterwards.

    It works inside a temporary folder, so that runs land there and the user's artifacts stay untouched.
    The messages of these trainings are left out: they are about copies.
    """
    log.info("Training small networks for the controls (--quick leaves them out).")
    family = logging.getLogger("moola")
    level = family.level
    place = tempfile.TemporaryDirectory(prefix="moola-leakcheck-")
    # Networks of made-up labels are no results of the user's: nothing of them is tracked.
    with place as folder, contextlib.chdir(folder), tracking.paused():
        family.setLevel(logging.ERROR)
        try:
            yield lambda table, seed: _fit(subject, table, seed)
        finally:
            family.setLevel(level)


def _fit(subject: Subject, table: WindowTable, seed: int) -> Fitted:
    data, split = Path("windows.parquet"), Path("split.json")
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
    try:
        found = train(options, epoch_lines("control"))
    except Interrupted as stop:
        # The control's own run lies in a folder that is gone by then: whoever runs controls says what goes on.
        raise stop.__cause__ or KeyboardInterrupt from None
    run = store.find_run(RUNS_ROOT, str(found["run_id"]))
    model = read_model(run.path(store.MODEL))
    calibration = (model.temperature, model.pointer_threshold)
    return Fitted(weights_digest(model.network), calibration, judged_predictions(run), training_facts(run))
