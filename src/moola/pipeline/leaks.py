"""What a run may have seen of the windows it is judged on."""

from __future__ import annotations

import logging

import numpy as np

from moola.core.splits import Split
from moola.data.contracts.frames import rows_of
from moola.data.contracts.window_table import WindowTable
from moola.models.files import EncoderFile
from moola.pipeline.seen import seen_among

log = logging.getLogger(__name__)


def find_leaks(
    leak_proof: bool | None,
    encoder: EncoderFile | None,
    table: WindowTable,
    split: Split,
    data_sha256: str | None,
    split_sha256: str | None = None,
) -> list[str]:
    """Return a sentence for every way in which val or test were seen before they judge; empty if none."""
    leaks = []
    if leak_proof is False:
        leaks.append("the split's parts share bars")
    held_out = np.concatenate([split.val, split.test])
    if encoder is not None and (n_seen := _seen_by(encoder, table, held_out, data_sha256, split_sha256)):
        leaks.append(
            f"the encoder was pretrained on times that {n_seen} of {len(held_out)} val and test windows lie in "
            "(pretrain with --split)"
        )
    return leaks


def _seen_by(
    encoder: EncoderFile, table: WindowTable, held_out: np.ndarray, data_sha256: str | None, split_sha256: str | None
) -> int:
    """Count held-out windows that the encoder may have seen; without times, what files and splits can tell."""
    seen = seen_among(encoder.pretraining, rows_of(table.start_us, held_out), rows_of(table.close_us, held_out))
    if seen is not None:
        return int(seen.sum())
    same_file = data_sha256 is not None and encoder.pretraining.get("input_sha256") == data_sha256
    obeyed = encoder.pretraining.get("split_sha256")
    if obeyed is None or obeyed != split_sha256:
        if same_file:
            return len(held_out)
        log.warning("Without times it cannot be told whether the encoder saw val and test windows.")
    return 0
