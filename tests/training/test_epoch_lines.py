"""Epochs of trainings inside larger commands."""

from __future__ import annotations

import pytest

from moola.training.loop import epoch_lines


def test_a_long_training_is_told_and_a_quick_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    quick, long = epoch_lines("quick", every_s=60.0), epoch_lines("encoder a", every_s=0.0)
    for epoch in (1, 2):
        quick({"epoch": epoch, "n_epochs": 2, "stage": "train"})
        long({"epoch": epoch, "n_epochs": 2, "stage": "train"})
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == ["encoder a, train: epoch 1 of 2", "encoder a, train: epoch 2 of 2"]
