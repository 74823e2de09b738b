"""The grid of fits of a cross-validation: one fit a fold, seed and share of the labels.

A fit runs in a process of one thread and writes its table last, so a grid that was killed continues with what
is missing, and the order in which processes end changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.seeds import generator
from moola.core.splits import Split
from moola.files import json_bytes, read_json, write_atomic
from moola.fit.fitting import fit_material, predict_held_out
from moola.fit.inputs import Material, gather, resolve_options
from moola.fit.processes import OnFit, run_jobs
from moola.fit.reference_fits import predict_reference
from moola.models.model_files import each_encoder
from moola.models.references import REFERENCES
from moola.options.study_options import CvOptions
from moola.options.training_options import TrainOptions
from moola.tables.prediction_table import Predictions, read_predictions, write_predictions
from moola.training.device import prepare_device
from moola.training.loop import epoch_lines

ADVICE = "Run the cv again."
LENGTHS = "length_weight"


@dataclass(frozen=True)
class FitTask:
    """What one fit is of, and where its files are."""

    folder: Path
    fold: int
    seed: int
    label_fraction: float
    model: str

    @property
    def name(self) -> str:
        """The name of its files: model, fold, seed and share of labels."""
        return f"{self.model}-f{self.fold}-s{self.seed}-l{self.label_fraction:g}"

    @property
    def predictions(self) -> Path:
        """Predictions of the fold's val and test rows, written last."""
        return self.folder / "fits" / f"{self.name}.parquet"

    @property
    def facts(self) -> Path:
        """What the fit learned of its train rows."""
        return self.folder / "fits" / f"{self.name}.json"

    @property
    def split(self) -> Path:
        """The fold's split file."""
        return self.folder / "folds" / f"fold-{self.fold}.json"

    @property
    def encoder(self) -> Path:
        """The fold's own encoder, where one is pretrained."""
        return self.folder / "encoders" / f"fold-{self.fold}.pt"

    @property
    def done(self) -> bool:
        """Return whether the fit is over; one of before its record said how its curves are decoded is fitted again."""
        both = self.predictions.is_file() and self.facts.is_file()
        return both and LENGTHS in read_json(self.facts, "the record of a fit", ADVICE)


def train_options(options: CvOptions, task: FitTask) -> TrainOptions:
    """Return the options of `train` that this fit is."""
    assert options.data is not None
    named = each_encoder(options.pretrained_encoder) + ((task.encoder,) if options.pretrain_bars else ())
    return TrainOptions(
        data=options.data,
        split=task.split,
        pretrained_encoder=named if len(named) > 1 else next(iter(named), None),
        freeze_encoder=options.freeze_encoder,
        head=options.head,
        hidden_dim=options.hidden_dim,
        num_layers=options.num_layers,
        epochs=options.epochs,
        augment_data=options.augment_data,
        cpsa_ratio=options.cpsa_ratio,
        mirror_classes=options.mirror_classes,
        predict_pointers=options.predict_pointers,
        visible_bars=options.visible_bars,
        window_bars=options.window_bars,
        save_run=False,
        cache=options.cache,
        device=options.device,
        threads=1,
        seed=task.seed,
    )


def run_task(options: CvOptions, task: FitTask) -> str:
    """Do one fit and write its files; returns its name."""
    training = train_options(options, task)
    device = prepare_device(options.device, 1)
    material = gather(training)
    material = replace(material, split=fewer_labels(material, task))
    if task.model in REFERENCES:
        reference = predict_reference(task.model, material.table, material.split, material.classes, task.seed)
        predictions, facts = reference[0], reference[1].as_dict()
        lengths = None
        leaks: list[str] = [leak for leak in material.leaks if "encoder" not in leak]
    else:
        training = resolve_options(training, material.table, material.split, material.encoder)
        fitted = fit_material(training, material, device, None, {}, epoch_lines(f"fold {task.fold}, seed {task.seed}"))
        predictions, facts, leaks = predict_held_out(fitted, material, device), fitted.facts.as_dict(), material.leaks
        lengths = fitted.model.length_weight
    record = {
        "facts": facts,
        "leaks": leaks,
        "n_train_windows": len(material.split.train),
        LENGTHS: None if lengths is None else lengths.tolist(),
    }
    write_atomic(task.facts, json_bytes(record))
    write_predictions(task.predictions, predictions)
    return task.name


def fewer_labels(material: Material, task: FitTask) -> Split:
    """Keep a share of each class's train and val rows, at least one of each; the seed chooses which.

    Shares are nested: the rows of a smaller one are among those of a larger one.
    """
    split = material.split
    if task.label_fraction == 1.0:
        return split
    parts = {}
    for part in ("train", "val"):
        rows = generator(task.seed, "label fraction", task.fold, part).permutation(split.part(part))
        labels = material.table.label[rows]
        kept = []
        for name in sorted(set(labels.tolist())):
            mine = rows[labels == name]
            kept.append(mine[: max(round(task.label_fraction * len(mine)), 1)])
        parts[part] = np.sort(np.concatenate(kept))
    return Split(parts["train"], parts["val"], split.test, split.dropped)


def read_fit(task: FitTask) -> tuple[Predictions, dict[str, Any]]:
    """Return a finished fit's test predictions and its record."""
    record = read_json(task.facts, "the record of a fit", ADVICE)
    predictions = read_predictions(task.predictions).decoded_with(record.get(LENGTHS))
    return predictions.of_part("test"), record


# The grid of fits: which there are, and running them in processes of one thread each.


def tasks_of(options: CvOptions, folder: Path, n_folds: int) -> list[FitTask]:
    """Return every fit: folds x seeds x label fractions of the model, and the cheap references once a fold.

    Fits that no seed changes are one a fold; where labels are left out, the seed chooses which.
    """
    fractions = sorted({*options.label_fractions, 1.0}, reverse=True)
    tasks = [
        FitTask(folder, fold, seed, fraction, options.model)
        for fraction in fractions
        for seed in _seeds(options, fraction)
        for fold in range(1, n_folds + 1)
    ]
    others = [name for name in REFERENCES if name != options.model]
    return tasks + [FitTask(folder, fold, options.seed, 1.0, name) for name in others for fold in range(1, n_folds + 1)]


def seedless(options: CvOptions) -> bool:
    """Tell whether no seed changes a fit on all labels: linear heads on a frozen encoder (`resolve_options`)."""
    has_encoder = options.pretrain_bars is not None or options.pretrained_encoder is not None
    learns = options.freeze_encoder is False or options.head == "mlp"
    return options.model not in REFERENCES and has_encoder and not learns


def _seeds(options: CvOptions, fraction: float) -> list[int]:
    once = options.model in REFERENCES or (seedless(options) and fraction == 1.0)
    return [options.seed + place for place in range(1 if once else options.seeds)]


def run_grid(options: CvOptions, tasks: list[FitTask], on_fit: OnFit) -> None:
    """Run the fits that are not done, as many at a time as there are cores (or `processes`)."""
    open_tasks = [(options, task) for task in tasks if not task.done]
    run_jobs(run_task, open_tasks, options.processes, on_fit, len(tasks) - len(open_tasks), options.engine)
