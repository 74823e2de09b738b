"""`moola label` from the command line: what it prints, what it refuses, what it leaves behind."""

from __future__ import annotations

import builtins
import socket
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.label import server
from tests.conftest import DATA

BARS = "data/raw/eurusd_1h_2017.parquet"


@pytest.fixture
def served(monkeypatch) -> list:
    """What would be served; the command goes on as after Ctrl-C."""
    desks = []

    def serve(desk, place):
        assert place.getsockname()[0] == "127.0.0.1"
        desks.append(desk)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", serve)
    return desks


def test_it_says_where_the_page_is_and_what_is_left(sample, moola, served):
    answer = moola("label", "--bars", BARS, "--annotator", "anna", "--port", "0", "--store", "l.db")
    assert answer.code == 0, answer.err
    assert "137 windows, 137 left for anna; labels in l.db" in answer.out
    assert "Open http://127.0.0.1:" in answer.out
    assert "0 labelled, 0 rejected, 0 skipped; all saved." in answer.out
    assert Path("l.db").is_file()


def test_json_is_one_object(sample, moola, served):
    windows = "data/processed/unlabeled/windows.parquet"
    answer = moola("label", "--bars", BARS, "--windows", windows, "--port", "0", "--annotator", "ben", "--json")
    assert answer.json["n_windows"] == len(served[0].shelf) > 1000
    assert answer.json["queues"] == ["time", "random", "diversity", "conflicts"]


def test_a_model_adds_the_queue_by_uncertainty(sample, moola, train, served):
    run = train("--save-run").last_line
    labelled = "data/processed/labeled/train_latest.parquet"
    arguments = ("--windows", labelled, "--model", *models(run), "--port", "0", "--device", "cpu")
    assert moola("label", "--bars", BARS, *arguments).code == 0
    desk = served[0]
    assert "uncertainty" in desk.queues.names
    entropy = desk.answers.entropy()[desk.queues.order("uncertainty")]
    assert (entropy[:-1] >= entropy[1:]).all()
    assert len(desk.answers.of(0)["curves"][0]) == 105
    # Three heads, and then two seeds of them, can differ.
    apart = desk.answers.disagreement[desk.queues.order("disagreement")]
    assert (apart[:-1] >= apart[1:]).all()
    assert 0 <= apart.min() < apart.max() <= np.log(2)
    other = train("--save-run", "--seed", "18").last_line
    assert moola("label", "--bars", BARS, *arguments[:3], *models(run, other), *arguments[4:]).code == 0
    both = served[1].answers
    assert served[1].model_name == "mean of 2"
    assert not np.allclose(both.class_prob, desk.answers.class_prob)
    assert both.class_prob.sum(axis=1) == pytest.approx(1.0)


def models(*runs: str) -> list[str]:
    return [f"artifacts/runs/{run}/model.pkl" for run in runs]


def test_models_of_other_classes_are_refused(sample, moola, train, served, monkeypatch):
    run = train("--save-run").last_line
    labelled = pl.read_parquet(DATA)
    labelled.with_columns(label="x" + labelled["label"]).write_parquet("renamed.parquet")
    split = ("--data", "renamed.parquet", "--output", "split.json")
    assert moola("split", *split).code == 0
    other = moola("train", "--data", "renamed.parquet", "--split", "split.json", "--save-run").last_line
    answer = moola("label", "--bars", BARS, "--model", *models(run, other), "--port", "0")
    assert answer.code == 3
    assert "must have the same classes" in answer.err


def test_predictions_add_the_queue_of_label_errors(sample, moola, train, served):
    run = train("--save-run").last_line
    windows = ("--windows", "data/processed/labeled/train_latest.parquet", "--port", "0", "--device", "cpu")
    held_out = f"artifacts/runs/{run}/predictions.parquet"
    assert moola("label", "--bars", BARS, *windows, "--predictions", held_out).code == 0
    desk = served[0]
    assert "label errors" in desk.queues.names
    assert len(desk.out_of_fold.order) == len(pl.read_parquet(held_out))
    moola("predict", "--model", *models(run), "--data", DATA, "--output", "in_sample.parquet")
    answer = moola("label", "--bars", BARS, *windows, "--predictions", "in_sample.parquet")
    assert answer.code == 3
    assert "did not learn from" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--classes", "a", "a"), "--classes must be 1 to 9 different names"),
        (("--context-bars", "-1"), "--context-bars must be"),
        (("--annotator", " "), "--annotator must have"),
        (("--port", "70000"), "--port must be"),
        (("--stride", "0"), "--stride must be"),
    ],
)
def test_wrong_options_leave_no_store(sample, moola, served, arguments, said):
    answer = moola("label", "--bars", BARS, *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert not Path("artifacts/labels").exists()


def test_a_taken_port_is_said(sample, moola, served):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = moola("label", "--bars", BARS, "--port", str(taken.getsockname()[1]))
    assert answer.code == 1
    assert "Give another --port" in answer.err


def test_missing_packages_are_named(sample, moola, monkeypatch):
    whole = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "fastapi":
            raise ImportError("No module named 'fastapi'", name="fastapi")
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = moola("label", "--bars", BARS)
    assert answer.code == 1
    assert 'pip install "moola[label]"' in answer.err


def test_the_extra_is_declared():
    assert any("uvicorn" in line and "label" in line for line in requires("moola") or [])
