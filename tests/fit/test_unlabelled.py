"""What pretraining arms read of windows: the arms that prices allow, the mirror, and losses by arm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import upside_down
from moola.core.features import relative_features
from moola.errors import InvalidData
from moola.fit.synthetic import by_arm, needs_masks, resolve_arms, taker
from moola.options.training_options import PretrainOptions
from moola.tables.cutting import BarSource, TableSource
from moola.training.encoder_training import DEFAULT_ARMS
from moola.training.loop import FitState
from tests.made import made_windows, random_walk_bars
from tests.networks_made import made_scaler

OPTIONS = PretrainOptions(input=Path("w.parquet"), output=Path("e.pt"))
PRICES = TableSource(made_windows(6))
FEATURES = TableSource(replace(made_windows(6).with_features(), ohlc=None))


def test_prices_allow_the_default_arms_and_the_mirror():
    resolved = resolve_arms(OPTIONS, PRICES)
    assert (resolved.arms, resolved.mirror_windows) == (DEFAULT_ARMS, True)
    asked = replace(OPTIONS, arms=("structure",), mirror_windows=False)
    assert resolve_arms(asked, PRICES) == asked


def test_features_alone_leave_the_masked_arm_and_say_so_once(caplog):
    resolved = resolve_arms(OPTIONS, FEATURES)
    assert (resolved.arms, resolved.mirror_windows) == (("masked",), False)
    assert [record.message for record in caplog.records] == [
        "These windows carry features alone: pretraining by masked only: it pays little."
    ]
    caplog.clear()
    resolve_arms(replace(OPTIONS, arms=("masked",)), FEATURES)
    assert not caplog.records


def test_what_reads_prices_is_refused_where_there_are_none_and_arms_of_hidden_bars_need_masks():
    for asked, named in (
        ({"arms": ("masked", "moves")}, "moves"),
        ({"arms": ("structure", "moves"), "mirror_windows": True}, "structure, moves, --mirror-windows"),
        ({"mirror_windows": True}, "--mirror-windows"),
    ):
        with pytest.raises(InvalidData, match=rf"but w\.parquet carries features alone and {named} was asked for\. "):
            resolve_arms(replace(OPTIONS, **asked), FEATURES)
    assert needs_masks(DEFAULT_ARMS)
    assert needs_masks(("latent",))
    assert not needs_masks(("structure", "moves"))


@pytest.mark.parametrize("source", [PRICES, BarSource(random_walk_bars(300), np.arange(0, 180, 30), 105)])
def test_windows_are_taken_by_row_some_upside_down_with_features_of_what_is_shown(source):
    rows, flipped = np.array([4, 0, 2]), np.array([False, True, False])
    scaler = made_scaler()
    windows = taker(source, scaler)(rows, flipped)
    ohlc = source.ohlc(rows)
    ohlc[1] = upside_down(ohlc[1])
    assert np.array_equal(windows.ohlc, ohlc)
    assert np.array_equal(windows.features, scaler.transform(relative_features(ohlc)))
    assert windows.features.dtype == np.float32
    assert np.array_equal(windows.position, source.position[rows])
    # Windows without prices are taken as they are.
    windows = taker(FEATURES, made_scaler())(np.array([1, 3]), np.array([False, False]))
    assert windows.ohlc is None
    assert np.array_equal(windows.features, made_scaler().transform(FEATURES.features(np.array([1, 3]))))


def test_losses_by_arm_are_those_of_the_best_epoch():
    rows = [
        {"epoch": i + 1, "train_loss": 9, "val_loss": i, "val_moves_loss": 10 + i, "val_masked_loss": i}
        for i in range(3)
    ]
    assert by_arm(FitState(epoch=3, best_epoch=2, history=rows)) == {"masked": 1, "moves": 11}
    assert by_arm(FitState(epoch=1, best_epoch=1, history=[{"val_loss": 0.5}])) == {}
