"""Options of `train` that follow from the data and the encoder."""

from __future__ import annotations

from dataclasses import replace

from moola.config.ranges import refuse_out_of_range
from moola.config.train_options import TrainOptions
from moola.core.splits import Split
from moola.core.windows import inner_zone
from moola.data.augmentation import can_synthesise, class_swaps
from moola.data.contracts.window_table import WindowTable
from moola.errors import InvalidData, WrongUsage
from moola.models.files import EncoderFile
from moola.pipeline.augmenting import check_cpsa

SCRATCH_HIDDEN, SCRATCH_LAYERS = 64, 1


def resolve_options(
    options: TrainOptions, table: WindowTable, split: Split, encoder: EncoderFile | None
) -> TrainOptions:
    """Fill in what was left open, so that `config.json` says all, and refuse contradictions."""
    _check_numbers(options, table.window_bars)
    train_has_pointers = bool((table.expansion_start[split.train] >= 0).any())
    if options.predict_pointers and not train_has_pointers:
        raise InvalidData(
            f"--predict-pointers must have pointers to learn from, but {options.data} has 0 in its train rows. "
            "Pass --no-predict-pointers."
        )
    pointers = train_has_pointers if options.predict_pointers is None else options.predict_pointers
    if options.augment_data is None:
        possible = can_synthesise(table.take(split.train), options.augmentations, options.mirror_classes)
        options = replace(options, augment_data=possible)
    options = replace(options, mirror_average=_mirror_average(options, table, split))
    if encoder is None:
        if options.freeze_encoder:
            raise WrongUsage(
                "--freeze-encoder must have an encoder to freeze, but --pretrained-encoder is missing. "
                "Name an encoder file, or pass --no-freeze-encoder."
            )
        return replace(
            options,
            predict_pointers=pointers,
            freeze_encoder=False,
            refit=bool(options.refit),
            hidden_dim=options.hidden_dim or SCRATCH_HIDDEN,
            num_layers=options.num_layers or SCRATCH_LAYERS,
        )
    architecture = encoder.encoder.architecture
    for name in ("hidden_dim", "num_layers"):
        asked, stored = getattr(options, name), getattr(architecture, name)
        if asked not in (None, stored):
            raise WrongUsage(
                f"--{name.replace('_', '-')} must agree with the encoder file, but it is {asked} and the file has "
                f"{stored}. Leave it out."
            )
    if encoder.window_bars != table.window_bars:
        raise InvalidData(
            f"the encoder must be for windows of {table.window_bars} bars, but {options.pretrained_encoder} is for "
            f"{encoder.window_bars}. Pretrain with --window-bars {table.window_bars}."
        )
    frozen = True if options.freeze_encoder is None else options.freeze_encoder
    return replace(
        options,
        predict_pointers=pointers,
        freeze_encoder=frozen,
        refit=frozen and len(split.test) > 0 if options.refit is None else options.refit,
        hidden_dim=architecture.hidden_dim,
        num_layers=architecture.num_layers,
    )


def _mirror_average(options: TrainOptions, table: WindowTable, split: Split) -> bool:
    """Tell whether windows are read upside down too: as asked, or where every class has a mirror."""
    classes = table.take(split.train).classes
    known = set(class_swaps(classes, options.mirror_classes)) == set(classes)
    if options.mirror_average and not known:
        raise WrongUsage(
            f"--mirror-average must know every class upside down, but {', '.join(classes)} may have a direction. "
            "Say --mirror-classes same, or swaps such as bull:bear."
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
