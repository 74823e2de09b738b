"""The temperature of a refitted model: every label has its say once, through a network that saw no bar of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.splits import Split
from moola.fit import fitting
from moola.fit.fitting import cross_fitted_temperature
from tests.fit.fits_made import N_BARS, SPLIT, TABLE, fit_inputs_of, fitted
from tests.made import made_windows

KNOWN = np.concatenate([SPLIT.train, SPLIT.val])


class Folds:
    """Stages that remember which rows trained, and answer with what would be the model's network."""

    def __init__(self, material) -> None:
        self.material, self.device = material, "cpu"
        self.trained: list[list[int]] = []

    def fold(self, number: int, rows: np.ndarray):
        self.trained.append(rows.tolist())
        return number


@pytest.fixture
def judged(monkeypatch):
    """Remember which network read how many windows."""
    asked = []

    def read(model, features, _device):
        asked.append((model.network, len(features)))
        return np.tile([[0.0, 3.0]], (len(features), 1)), None

    monkeypatch.setattr(fitting, "read_windows_both_ways", read)
    return asked


@pytest.mark.parametrize(("stride", "n_shared"), [(N_BARS, 0), (10, 2)])
def test_each_row_is_judged_once_by_rows_that_share_no_bar_with_its_block(judged, stride, n_shared):
    table = made_windows(30, seed=4, stride=stride, window_bars=N_BARS)
    material = fit_inputs_of(table, Split(SPLIT.train, SPLIT.val, SPLIT.test))
    stages = Folds(material)
    model = fitted(fit_inputs_of()).model
    found = cross_fitted_temperature(stages, model, KNOWN, 4)
    assert found is not None
    assert judged[-4:] == [(number, 6) for number in (1, 2, 3, 4)]
    for block, trained in zip(np.array_split(KNOWN, 4), stages.trained, strict=True):
        gone = set(KNOWN.tolist()) - set(trained)
        beside = {row for row in KNOWN.tolist() for held in block if abs(row - held) * stride < N_BARS}
        assert gone == beside
        assert len(gone) in (6 + n_shared, 6 + 2 * n_shared)


def test_overconfident_folds_cool_the_model_and_only_where_it_refits(monkeypatch):
    plain = fitted(fit_inputs_of(), head="mlp")
    assert plain.model.temperature == plain.chosen.temperature
    usual = fitting.fit_temperature
    # Over train and val rows it is that of the folds.
    monkeypatch.setattr(
        fitting, "fit_temperature", lambda logits, true: 1.7 if len(true) == len(KNOWN) else usual(logits, true)
    )
    folded = fitted(fit_inputs_of(), head="mlp", calibration_folds=4)
    assert (folded.model.temperature, folded.chosen.temperature) == (1.7, plain.chosen.temperature)
    assert [row["stage"] for row in folded.state.history][-4:] == [f"fold-{number}" for number in (1, 2, 3, 4)]
    alone = fitted(fit_inputs_of(), head="mlp", refit=False, calibration_folds=4)
    assert alone.model.temperature == plain.chosen.temperature


def test_too_few_windows_or_a_class_that_a_block_holds_alone_leave_the_temperature():
    material = fit_inputs_of()
    model = fitted(material).model
    stages = Folds(material)
    assert cross_fitted_temperature(stages, model, KNOWN[:19], 4) is None
    assert cross_fitted_temperature(stages, model, KNOWN, 0) is None
    assert cross_fitted_temperature(stages, model, KNOWN, 1) is None
    label = np.array(["consolidation"] * 30, dtype=object)
    label[:3] = "retracement"
    lone = replace(material, table=replace(TABLE, label=label).with_features())
    assert cross_fitted_temperature(Folds(lone), model, KNOWN, 4) is None
    assert stages.trained == []
