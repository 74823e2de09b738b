"""What training reads: data, split and encoder, checked against each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from moola.config.train_options import TrainOptions
from moola.core.splits import Split
from moola.data.contracts.split_file import read_split, verify_split
from moola.data.contracts.window_file import read_windows
from moola.data.contracts.window_table import WindowTable
from moola.files import sha256_file
from moola.models.files import EncoderFile, read_encoder
from moola.pipeline.fit.examples import require_trainable
from moola.pipeline.leaks import find_leaks
from moola.pipeline.pretraining import require_input_dim

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """Everything that training reads, checked."""

    table: WindowTable
    split: Split
    split_name: str
    classes: list[str]
    encoder: EncoderFile | None
    hashes: dict[str, str | None]
    leaks: list[str]
    leak_proof: bool | None


def gather(options: TrainOptions) -> Material:
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
            options.pretrained_encoder,
        )
    hashes = {
        "data_sha256": data_sha256,
        "split_sha256": sha256_file(options.split),
        "encoder_sha256": sha256_file(options.pretrained_encoder) if options.pretrained_encoder else None,
    }
    if options.bars is not None:
        hashes["bars_sha256"] = sha256_file(options.bars)
    if options.unlabelled is not None:
        hashes["unlabelled_sha256"] = sha256_file(options.unlabelled)
    return material_of(table, split_file.split, split_file.name, encoder, hashes, leak_proof, options.data)


def material_of(
    table: WindowTable,
    split: Split,
    split_name: str,
    encoder: EncoderFile | None,
    hashes: dict[str, str | None],
    leak_proof: bool | None,
    data: Path,
) -> Material:
    """Put together what was read or is in memory; refuses what cannot be trained on, and warns of leaks."""
    classes = require_trainable(table, split, data)
    leaks = find_leaks(leak_proof, encoder, table, split, hashes["data_sha256"], hashes["split_sha256"])
    for leak in leaks:
        log.warning("Not leak-proof: %s.", leak)
    return Material(table, split, split_name, classes, encoder, hashes, leaks, leak_proof)
