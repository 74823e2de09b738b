"""A run whose scaler was fitted on more than the train rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.core.features import RobustScaler
from moola.leakcheck import run_checks
from moola.leakcheck.subject import open_subject
from moola.models import model_files
from moola.options.judging_options import LeakcheckOptions
from tests.conftest import DATA, SPLIT
from tests.leakcheck.subjects import only_leak, states


@pytest.fixture
def subject(made_run):
    run = made_run("--augment-data", "false")
    return open_subject(LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), run=run, device="cpu"))


def test_the_scaler_of_a_run_is_that_of_its_train_rows(subject):
    assert states(run_checks.scaler(subject)) == {"ok"}


@pytest.mark.parametrize("rows", ["all rows", "train and val rows", "off"])
def test_a_scaler_that_knows_other_rows_is_a_leak(subject, monkeypatch, rows):
    split, real = subject.split, model_files.read_model
    chosen = {"all rows": np.arange(len(subject.table)), "off": split.train[:9]}
    known = chosen.get(rows, np.concatenate([split.train, split.val]))
    other = RobustScaler.fit(subject.features[known])
    monkeypatch.setattr(run_checks, "read_model", lambda path: replace(real(path), scaler=other))
    found = only_leak(run_checks.scaler(subject)).found
    assert (f"that of {rows}" if rows != "off" else "off by up to") in found


def test_without_a_run_there_is_nothing_to_compare(sample):
    subject = open_subject(LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), device="cpu"))
    assert states(run_checks.scaler(subject)) == {"note"}
