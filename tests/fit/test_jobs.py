"""The one way to a fit: what is kept of one is read back as it was, done once, and its warnings are told once."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest

from moola.errors import UntrustedFile
from moola.fit.fitting import predict_held_out
from moola.fit.jobs import KeptFit, fit_job, job_of_rows, quiet, run_missing
from moola.options.training_options import TrainOptions
from tests.fit.fits_made import SPLIT, TABLE, TINY


@dataclass(frozen=True)
class Fit(KeptFit):
    said: str

    @property
    def name(self) -> str:
        return self.said


class Options:
    processes, engine = 1, "processes"


def warn(_shared: str, fit: Fit) -> str:
    logging.getLogger("moola.fit").warning("Class rare has only 2 training windows.")
    return fit.name


@pytest.fixture(scope="module")
def fitted():
    job = job_of_rows(TrainOptions(**TINY), TABLE, SPLIT)
    return job, fit_job(job)


@pytest.fixture
def kept(fitted, tmp_path):
    job, model = fitted
    fit = Fit(tmp_path, "one", digest="of these rows")
    fit.keep(predict_held_out(model, job.inputs, job.device), model.model, {"n": 3})
    return fit


def test_a_warning_of_every_fit_is_told_once(tmp_path, caplog):
    done = []
    fits = [Fit(tmp_path, name) for name in "ab"]
    assert run_missing(warn, fits, Options(), lambda *row: done.append(row), ("shared",)) == 0
    assert done == [(1, 2, "a"), (2, 2, "b")]
    assert [record.getMessage() for record in caplog.records] == ["Class rare has only 2 training windows."]


def test_what_is_kept_is_read_as_it_was_and_not_done_again(kept, fitted):
    job, model = fitted
    predictions, record = kept.read()
    honest = predict_held_out(model, job.inputs, job.device)
    assert np.array_equal(predictions.class_prob, honest.class_prob)
    assert np.array_equal(predictions.predicted_bar, honest.predicted_bar)
    # The weights of lengths decode pools of several fits: without them pointers differ from the fit's own.
    assert honest.length_weight is not None
    assert np.array_equal(predictions.length_weight, honest.length_weight)
    assert record["n"] == 3
    assert kept.done
    assert run_missing(warn, [kept], Options(), lambda *_: None, ("shared",)) == 1


def test_a_fit_of_other_options_is_not_done(kept):
    assert not replace(kept, digest="of others").done


def test_altered_predictions_are_not_done_and_not_read(kept):
    kept.predictions.write_bytes(kept.predictions.read_bytes() + b" ")
    assert not kept.done
    with pytest.raises(UntrustedFile, match=r"one\.parquet"):
        kept.read()


def test_a_record_of_before_it_said_how_curves_are_decoded_is_not_done(kept):
    record = json.loads(kept.record.read_text())
    record.pop("length_weight")
    kept.record.write_text(json.dumps(record))
    assert not kept.done


def test_quiet_leaves_the_level_as_it_was(caplog):
    with quiet(logging.ERROR):
        logging.getLogger("moola.fit").warning("of a control")
    logging.getLogger("moola.fit").warning("of a user's fit")
    assert [record.getMessage() for record in caplog.records] == ["of a user's fit"]
