"""How runs of tests are kept small: tiny networks, few trees, rough intervals, references found once."""

from __future__ import annotations

import copy
import functools
import hashlib

import numpy as np
import pytest

from moola.core.splits import PARTS, Split
from moola.evaluation import figures
from moola.evaluation.comparisons import block_weights
from moola.fit import linear_heads_fit, reference_fits
from moola.fit.reference_fits import reference_figures
from moola.leakcheck import training_controls
from moola.models import references
from moola.stages import train as train_stage
from moola.tables.window_file import WindowTable
from moola.training.linear_fit import LinearPlan, fit_linear_heads

# Small enough that a whole run takes a second. A test that needs several epochs or heads says so.
SMALL = {
    "MOOLA_HIDDEN_DIM": "6",
    "MOOLA_NUM_LAYERS": "1",
    "MOOLA_N_HEADS": "1",
    "MOOLA_EPOCHS": "1",
    "MOOLA_AUGMENT_DATA": "false",
    "MOOLA_DEVICE": "cpu",
}
FEW_TREES = 3
FEW_RESAMPLES = 60
ONE_PENALTY = LinearPlan(pointer_penalties=(0.1,), class_penalties=(1.0,), n_blocks=2)


_references: dict[str, dict[str, dict[str, float | None]]] = {}


def known_references(table: WindowTable, split: Split, classes: list[str], seed: int) -> dict:
    """Figures of cheap references, each found once a process: cards of the same windows ask for the same ones."""
    rows = [split.part(name).tolist() for name in PARTS]
    given = (
        rows,
        classes,
        seed,
        table.label.tolist(),
        table.expansion_start.tolist(),
        table.expansion_end.tolist(),
    )
    values = b"".join(np.ascontiguousarray(one).tobytes() for one in (table.ohlc, table.features) if one is not None)
    key = hashlib.sha256(repr(given).encode() + values).hexdigest()
    if key not in _references:
        _references[key] = reference_figures(table, split, classes, seed)
    return copy.deepcopy(_references[key])


def stay_small(patch: pytest.MonkeyPatch) -> None:
    """Let networks be tiny, intervals of figures rough, forests have few trees and linear heads one penalty each."""
    for name, value in SMALL.items():
        patch.setenv(name, value)
    patch.setattr(references, "N_TREES", FEW_TREES)
    patch.setattr(figures, "block_weights", functools.partial(block_weights, n_resamples=FEW_RESAMPLES))
    patch.setattr(linear_heads_fit, "fit_linear_heads", functools.partial(fit_linear_heads, plan=ONE_PENALTY))
    for room in (train_stage, reference_fits):
        patch.setattr(room, "reference_figures", known_references)
    patch.setattr(training_controls, "EPOCHS", 1)
    patch.setattr(training_controls, "HIDDEN", 4)
