"""Encoders that saw held-out bars."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moola.leakcheck.run_checks import encoder
from moola.leakcheck.subject import open_subject
from moola.models.model_files import write_encoder
from tests.leakcheck.subjects import only_leak, states, without_times, write_files
from tests.networks_made import made_scaler, tiny_encoder
from tests.planted import planted_windows


@pytest.fixture
def judged(tmp_path):
    def judge(table, **pretraining):
        options = write_files(tmp_path, table)
        path = tmp_path / "encoder.pt"
        if pretraining.get("input_sha256") == "the data":
            from moola.files import sha256_file

            pretraining["input_sha256"] = sha256_file(options.data)
        write_encoder(path, tiny_encoder(), made_scaler(), 105, pretraining)
        return encoder(open_subject(replace(options, pretrained_encoder=path)))

    return judge


def test_an_encoder_that_saw_val_and_one_that_did_not(judged):
    table = planted_windows(40, seed=3)
    until = {19: "2017-10-09T12:00:00Z", 24: "2017-10-31T00:00:00Z"}
    findings = judged(table, time_range=["2016-01-01T00:00:00Z", until[19]])
    assert states(findings) == {"ok"}
    leak = only_leak(judged(table, time_range=["2016-01-01T00:00:00Z", until[24]]))
    assert leak.row == 20
    assert "of 20 val and test windows" in leak.found
    assert until[24] in leak.found


def test_without_times_the_input_file_decides(judged):
    table = without_times(planted_windows(40, seed=3))
    assert only_leak(judged(table, input_sha256="the data", split_sha256=None)).row == 20
    assert states(judged(table, input_sha256="ff" * 32, split_sha256=None)) == {"note"}


def test_nothing_to_check(tmp_path):
    assert states(encoder(open_subject(write_files(tmp_path, planted_windows(40, seed=3))))) == {"note"}
