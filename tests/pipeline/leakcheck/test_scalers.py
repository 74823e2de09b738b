"""A run whose scaler was fitted on more than the train rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.config.leakcheck_options import LeakcheckOptions
from moola.core.scaling import RobustScaler
from moola.models import files
from moola.pipeline.leakcheck import scalers
from moola.pipeline.leakcheck.subject import open_subject
from tests.conftest import DATA, SPLIT
from tests.pipeline.leakcheck.subjects import only_leak, states


@pytest.fixture
def subject(made_run):
    run = made_run("--epochs", "1", "--augment-data", "false")
    return open_subject(LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), run=run, device="cpu"))


def test_the_scaler_of_a_run_is_that_of_its_train_rows(subject):
    assert states(scalers.scaler(subject)) == {"ok"}


@pytest.mark.parametrize("rows", ["all rows", "train and val rows", "off"])
def test_a_scaler_that_knows_other_rows_is_a_leak(subject, monkeypatch, rows):
    split, real = subject.split, files.read_model
    chosen = {"all rows": np.arange(len(subject.table)), "off": split.train[:9]}
    known = chosen.get(rows, np.concatenate([split.train, split.val]))
    other = RobustScaler.fit(subject.features[known])
    monkeypatch.setattr(scalers, "read_model", lambda path: replace(real(path), scaler=other))
    found = only_leak(scalers.scaler(subject)).found
    assert (f"that of {rows}" if rows != "off" else "off by up to") in found


def test_without_a_run_there_is_nothing_to_compare(sample):
    subject = open_subject(LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), device="cpu"))
    assert states(scalers.scaler(subject)) == {"note"}
