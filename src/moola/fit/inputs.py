"""What a fit reads: data, split and encoder checked against each other, targets, and options that follow."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from moola.augment import can_synthesise, class_swaps
from moola.core.expansions import NO_POINTER, soft_curve
from moola.core.features import RobustScaler, require_input_dim
from moola.core.splits import PARTS, Split
from moola.core.windows import inner_zone
from moola.errors import InvalidData, WrongUsage
from moola.evaluation.figures import TrainingFacts
from moola.files import sha256_file
from moola.fit.synthetic import check_cpsa
from moola.models.model_files import BASE_NAME, EncoderFile, each_encoder, encoder_sha256, named_encoders, read_encoder
from moola.options.option_fields import HeadKind, refuse_out_of_range
from moola.options.training_options import TrainOptions
from moola.provenance.learned_times import find_leaks
from moola.tables.split_file import read_split, verify_split
from moola.tables.window_file import WindowTable, read_windows
from moola.training.finetune import Examples

# From a window table to training targets.


log = logging.getLogger(__name__)
FEW_WINDOWS = 10


def to_examples(
    table: WindowTable, scaler: RobustScaler, classes: list[str], sigma_bars: float, visible_bars: int | None = None
) -> Examples:
    """Scale features, number classes and turn pointers into curves.

    With `visible_bars` the first ones alone are there, as if no others were known: features look back only, so
    theirs are the same, and a pointer behind them is none.
    """
    n_seen = table.window_bars if visible_bars is None else visible_bars
    pointers = (np.where(bars < n_seen, bars, NO_POINTER) for bars in (table.expansion_start, table.expansion_end))
    curves = [soft_curve(bars, n_seen, sigma_bars) for bars in pointers]
    index = np.array([classes.index(name) for name in table.label], dtype=np.int64)
    return Examples(scaler.transform(table.all_features[:, :n_seen]), index, np.stack(curves, axis=-1))


def require_trainable(table: WindowTable, split: Split, path: Path) -> list[str]:
    """Return the classes of the train rows, or explain why these rows cannot be trained on.

    Raises
    ------
    InvalidData
        A row of the split has no label, train has one class, or a later part has a class that train
        has not.
    """
    for part in PARTS:
        rows = split.part(part)
        bare = [int(row) for row in rows if table.label[row] is None]
        if bare:
            raise InvalidData(
                f"every {part} row must have a label, but {len(bare)} of {len(rows)} have none ({path}, label, first "
                f"row {bare[0]}). Label them or leave them out of the split."
            )
    counts = Counter(table.label[split.train].tolist())
    if len(counts) < 2:
        raise InvalidData(
            f"train must have at least two classes, but its {len(split.train)} rows are all {next(iter(counts))!r} "
            f"({path}). Label windows of another class; around spans of one class alone, cut windows of background "
            "beside them (moola windows --background 0.5)."
        )
    classes = sorted(counts)
    for part in ("val", "test"):
        strange = sorted(set(table.label[split.part(part)].tolist()) - set(classes))
        if strange:
            raise InvalidData(
                f"{part} must have classes that train has, but {', '.join(strange)} is not among {', '.join(classes)} "
                f"({path}). Change the split or the labels."
            )
    for name, count in counts.items():
        if count < FEW_WINDOWS:
            log.warning("Class %s has only %d training windows: expect little of it.", name, count)
    return classes


def facts_of(train: WindowTable, pointer_threshold: float | None) -> TrainingFacts:
    """Return what the uninformed baselines know of train rows."""
    return TrainingFacts(
        dict(sorted(Counter(train.label.tolist()).items())),
        most_common(train.expansion_start),
        most_common(train.expansion_end),
        pointer_threshold,
    )


def most_common(bars: np.ndarray) -> int | None:
    """Return the most common pointer, the smallest of equals; None without pointers."""
    known = bars[bars >= 0]
    return int(np.bincount(known).argmax()) if len(known) else None


@dataclass(frozen=True)
class FitInputs:
    """Everything that training reads, checked."""

    table: WindowTable
    split: Split
    split_name: str
    classes: list[str]
    encoder: EncoderFile | None
    hashes: dict[str, str | None]
    leaks: list[str]
    leak_proof: bool | None


@dataclass(frozen=True)
class Job:
    """One fit: options with nothing left open (the seed is one of them), rows and encoder, and the device."""

    options: TrainOptions
    inputs: FitInputs
    device: torch.device


def gather(options: TrainOptions, judged_elsewhere: bool = False) -> FitInputs:
    """Read data, split and encoder, and refuse what does not fit together."""
    require_input_dim(options.input_dim)
    table = read_windows(options.data, options.window_bars).with_features()
    data_sha256 = sha256_file(options.data)
    split_file = read_split(options.split)
    leak_proof = verify_split(split_file, options.split, table, data_sha256, options.allow_overlap)
    if leak_proof is False:
        log.warning("The split's parts overlap (--allow-overlap): every result is marked as not leak-proof.")
    encoder = read_encoder(options.pretrained_encoder) if options.pretrained_encoder else None
    if encoder is not None:
        log.info(
            "Encoder: %d of %d tensors taken from %s.",
            encoder.n_tensors,
            encoder.n_tensors,
            named_encoders(options.pretrained_encoder),
        )
    hashes = {
        "data_sha256": data_sha256,
        "split_sha256": sha256_file(options.split),
        "encoder_sha256": encoder_sha256(options.pretrained_encoder),
    }
    if options.bars is not None:
        hashes["bars_sha256"] = sha256_file(options.bars)
    for name in ("spans", "stretches"):
        if (path := getattr(options, name)) is not None:
            hashes[f"{name}_sha256"] = sha256_file(path)
    if options.unlabelled is not None:
        hashes["unlabelled_sha256"] = sha256_file(options.unlabelled)
    return fit_inputs_of(
        table, split_file.split, split_file.name, encoder, hashes, leak_proof, options.data, judged_elsewhere
    )


def fit_inputs_of(
    table: WindowTable,
    split: Split,
    split_name: str,
    encoder: EncoderFile | None,
    hashes: dict[str, str | None],
    leak_proof: bool | None,
    data: Path,
    judged_elsewhere: bool = False,
) -> FitInputs:
    """Put together what was read or is in memory; refuses what cannot be trained on, and warns of leaks.

    Where windows outside the split evaluate the model, its own val and test windows have no leak.
    """
    classes = require_trainable(table, split, data)
    leaks: list[str] = []
    if not judged_elsewhere:
        leaks = find_leaks(leak_proof, encoder, table, split, hashes["data_sha256"], hashes["split_sha256"])
    for leak in leaks:
        log.warning("Not leak-proof: %s.", leak)
    return FitInputs(table, split, split_name, classes, encoder, hashes, leaks, leak_proof)


# Options of `train` that follow from the data and the encoder.


SCRATCH_HIDDEN, SCRATCH_LAYERS = 64, 1
HIDDEN_LAYER_OPTIONS = (
    "epochs",
    "patience",
    "n_heads",
    "batch_size",
    "learning_rate",
    "dropout",
    "weight_decay",
    "pointer_weight",
    "pointer_sigma",
    "label_smoothing",
    "input_noise",
    "cpsa_ratio",
    "calibration_folds",
)


def resolve_options(
    options: TrainOptions, table: WindowTable, split: Split, encoder: EncoderFile | None
) -> TrainOptions:
    """Fill in what was left open, so that `config.json` has all, and refuse contradictions."""
    _check_numbers(options, table.window_bars)
    filled = replace(
        options,
        predict_pointers=_predict_pointers(options, table, split),
        mirror_average=_mirror_average(options, table, split),
    )
    if options.augment_data is None:
        possible = can_synthesise(table.take(split.train), options.augmentations, options.mirror_classes)
        filled = replace(filled, augment_data=possible)
    if encoder is None:
        return _from_scratch(filled)
    _refuse_misfit(options, table, encoder)
    return _on_encoder(filled, options, split, encoder)


def _predict_pointers(options: TrainOptions, table: WindowTable, split: Split) -> bool:
    train_has_pointers = bool((table.expansion_start[split.train] >= 0).any())
    if options.predict_pointers and not train_has_pointers:
        raise InvalidData(
            f"--predict-pointers must have pointers to learn from, but {options.data} has 0 in its train rows. "
            "Pass --no-predict-pointers."
        )
    return train_has_pointers if options.predict_pointers is None else options.predict_pointers


def _from_scratch(options: TrainOptions) -> TrainOptions:
    if options.freeze_encoder:
        raise WrongUsage(
            "--freeze-encoder must have an encoder to freeze, but --pretrained-encoder is missing. "
            "Name an encoder file, or pass --no-freeze-encoder."
        )
    return replace(
        options,
        freeze_encoder=False,
        refit=bool(options.refit),
        hidden_dim=options.hidden_dim or SCRATCH_HIDDEN,
        num_layers=options.num_layers or SCRATCH_LAYERS,
        head=_head_kind(options, frozen=False),
    )


def _refuse_misfit(options: TrainOptions, table: WindowTable, encoder: EncoderFile) -> None:
    """Refuse an encoder of another size or for windows of another length than asked."""
    architecture = encoder.encoder.architecture
    for name in ("hidden_dim", "num_layers"):
        # Two encoders side by side have no size in common.
        asked, stored = getattr(options, name), getattr(architecture, name, None)
        if asked not in (None, stored):
            raise WrongUsage(
                f"--{name.replace('_', '-')} must agree with the encoder file, but it is {asked} and the file has "
                f"{'several' if stored is None else stored}. Leave it out."
            )
    if encoder.window_bars != table.window_bars and options.pretrained_encoder == BASE_NAME:
        # A bidirectional LSTM reads any length; what it knows of a bar reaches as far as its windows did.
        lengths = encoder.window_bars, table.window_bars
        log.info("The encoder base learned on windows of %d bars; these have %d.", *lengths)
    elif encoder.window_bars != table.window_bars:
        raise InvalidData(
            f"the encoder must be for windows of {table.window_bars} bars, but {options.pretrained_encoder} is for "
            f"{encoder.window_bars}. Pretrain with --window-bars {table.window_bars}."
        )


def _on_encoder(options: TrainOptions, given: TrainOptions, split: Split, encoder: EncoderFile) -> TrainOptions:
    """Fill in what follows from a pretrained encoder; `given` are the options as they came."""
    architecture = encoder.encoder.architecture
    frozen = True if options.freeze_encoder is None else options.freeze_encoder
    _refuse_learning_pair(options, frozen)
    head = _head_kind(options, frozen)
    if head == "linear":
        _warn_of_idle(given)
        # The mirror is part of the fit; there is one head, and its calibration is out of fold already.
        options = replace(options, augment_data=False, n_heads=1, calibration_folds=0)
    return replace(
        options,
        head=head,
        freeze_encoder=frozen,
        refit=frozen and len(split.test) > 0 if options.refit is None else options.refit,
        hidden_dim=getattr(architecture, "hidden_dim", None),
        num_layers=getattr(architecture, "num_layers", None),
    )


def _refuse_learning_pair(options: TrainOptions, frozen: bool) -> None:
    """Refuse two encoders where they would learn: each was pretrained alone, and nothing would hold them apart."""
    n_named = len(each_encoder(options.pretrained_encoder))
    if n_named > 1 and (not frozen or options.unlabelled is not None):
        asked = "--unlabelled" if frozen else "--no-freeze-encoder"
        raise WrongUsage(
            f"--pretrained-encoder must name one encoder that is to learn, but it names {n_named} and there is {asked}."
            f" Leave {asked} out (the vectors of both are then read as they are), or name one."
        )


def _warn_of_idle(options: TrainOptions) -> None:
    """Name the options that were given and do nothing to linear heads."""
    idle = [name for name in HIDDEN_LAYER_OPTIONS if getattr(options, name) != getattr(TrainOptions, name)]
    idle += ["augment_data"] if options.augment_data else []
    if idle:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        log.info("Linear heads make no use of %s: that is for --head mlp.", names)


def _head_kind(options: TrainOptions, frozen: bool) -> HeadKind:
    """Heads as asked; where nothing is asked, linear on a frozen encoder unless an option needs the other kind.

    Raises
    ------
    WrongUsage
        Linear heads are asked for with an encoder that learns, with self-training or with synthetic windows.
    """
    needs_mlp = [
        name
        for name, asked in (
            ("an encoder that learns (--no-freeze-encoder, or none named)", not frozen),
            ("--unlabelled", options.unlabelled is not None),
            ("--augmentations beyond mirror", tuple(options.augmentations) != ("mirror",)),
            ("--cpsa-schedule", bool(options.cpsa_schedule)),
        )
        if asked
    ]
    if options.head == "linear" and needs_mlp:
        raise WrongUsage(
            f"--head linear must have a frozen encoder and labelled windows alone, but there is {needs_mlp[0]}. "
            "Leave that out, or pass --head mlp."
        )
    return options.head or ("mlp" if needs_mlp else "linear")


def _mirror_average(options: TrainOptions, table: WindowTable, split: Split) -> bool:
    """Return whether windows are read upside down too: as asked, or where every class has a mirror."""
    classes = table.take(split.train).classes
    unknown = sorted(set(classes) - set(class_swaps(classes, options.mirror_classes)))
    known = not unknown
    if options.mirror_classes and unknown and options.mirror_average is None:
        log.warning(
            "--mirror-classes leaves out %s, so nothing is read upside down, and no class learns from its mirror. Add "
            "%s where it stays what it is.",
            ", ".join(unknown[:5]),
            shlex.join(f"{name}:{name}" for name in unknown[:5]),
        )
    if options.mirror_average and not known:
        raise WrongUsage(
            f"--mirror-average must know every class upside down, but {', '.join(classes)} may have a direction. "
            "Set --mirror-classes same, or swaps such as bull:bear."
        )
    return known if options.mirror_average is None else options.mirror_average


def _check_numbers(options: TrainOptions, window_bars: int) -> None:
    refuse_out_of_range(options)
    check_cpsa(options)
    first, _ = inner_zone(window_bars)
    if options.visible_bars is not None and not first < options.visible_bars <= window_bars:
        raise WrongUsage(
            f"--visible-bars must be within {first + 1} to {window_bars}, so that some of the inner zone is "
            f"seen, but it is {options.visible_bars}. Give 75 of 105 bars, or leave it out."
        )
