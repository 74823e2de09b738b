"""`moola label` from the command line: what it prints, what it refuses, what it leaves behind."""

from __future__ import annotations

import builtins
import socket
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.label import page_server
from moola.labels.label_positions import Mark
from moola.tables.bar_table import write_bars
from moola.tables.label_store import LabelStore
from tests.conftest import DATA
from tests.made import random_walk_bars

BARS = "data/raw/eurusd_1h_2017.parquet"


@pytest.fixture
def served(monkeypatch) -> list:
    """What would be served; the command continues as after Ctrl-C."""
    page_states = []

    def serve(page_state, place):
        assert place.getsockname()[0] == "127.0.0.1"
        page_states.append(page_state)
        raise KeyboardInterrupt

    monkeypatch.setattr(page_server, "serve", serve)
    return page_states


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
    assert answer.json["n_windows"] == len(served[0].window_list) > 1000
    assert answer.json["queues"] == ["time", "random", "diversity", "conflicts"]


def test_a_model_adds_the_queue_by_uncertainty(made_run, moola, served):
    run = made_run("--n-heads", "3").name
    labelled = "data/processed/labeled/train_latest.parquet"
    arguments = ("--windows", labelled, "--model", *models(run), "--port", "0", "--device", "cpu")
    assert moola("label", "--bars", BARS, *arguments).code == 0
    page_state = served[0]
    assert "uncertainty" in page_state.queues.names
    entropy = page_state.answers.entropy()[page_state.queues.order("uncertainty")]
    assert (entropy[:-1] >= entropy[1:]).all()
    assert len(page_state.answers.of(0)["curves"][0]) == 105
    # Three heads can differ.
    apart = page_state.answers.disagreement[page_state.queues.order("disagreement")]
    assert (apart[:-1] >= apart[1:]).all()
    assert 0 <= apart.min() < apart.max() <= np.log(2)


def models(*runs: str) -> list[str]:
    return [f"artifacts/runs/{run}/model.pkl" for run in runs]


def test_predictions_add_the_queue_of_label_errors(made_run, moola, served):
    run = made_run("--n-heads", "3").name
    windows = ("--windows", "data/processed/labeled/train_latest.parquet", "--port", "0", "--device", "cpu")
    held_out = f"artifacts/runs/{run}/predictions.parquet"
    assert moola("label", "--bars", BARS, *windows, "--predictions", held_out).code == 0
    page_state = served[0]
    assert "label errors" in page_state.queues.names
    assert len(page_state.out_of_fold.order) == len(pl.read_parquet(held_out))
    moola("predict", "--model", *models(run), "--data", DATA, "--output", "in_sample.parquet")
    answer = moola("label", "--bars", BARS, *windows, "--predictions", "in_sample.parquet")
    assert answer.code == 3
    assert "did not learn from" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--classes", "a\nb", "c"), "a class must be one printable line"),
        (("--classes", "a\x1b[31m", "c"), "a class must be one printable line"),
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


@pytest.mark.parametrize(("words", "learns"), [((), True), (("--no-model",), False)])
def test_one_switch_turns_learning_off(sample, moola, served, words, learns):
    answer = moola("label", "--bars", BARS, "--annotator", "anna", "--port", "0", *words)
    assert answer.code == 0
    assert "chart.html" in answer.out
    (page_state,) = served
    assert page_state.learner.is_on is learns


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


def label_one(page_state) -> None:
    texts = {"grade": "", "reason": "", "note": ""}
    page_state.save(page_state.window_list.window_id[0], "anna", "labelled", [Mark(40, 50, "consolidation")], texts, 0)


def test_labels_do_not_cross_instruments(tmp_path, monkeypatch, moola, served):
    monkeypatch.chdir(tmp_path)
    write_bars(Path("gbp.parquet"), random_walk_bars(400, seed=1))
    write_bars(Path("aud.parquet"), random_walk_bars(400, seed=2))
    write_bars(Path("later.parquet"), random_walk_bars(400, seed=2, start="2022-01-01"))
    label = ("label", "--annotator", "anna", "--port", "0", "--store", "l.db", "--bars")

    def serve(page_state, place):
        label_one(page_state)
        raise KeyboardInterrupt

    monkeypatch.setattr(page_server, "serve", serve)
    assert moola(*label, "gbp.parquet").code == 0
    before = Path("l.db").read_bytes()
    for bars, said in (("aud.parquet", "105 of 105 bars have other prices"), ("later.parquet", "nothing shows it")):
        answer = moola(*label, bars)
        assert answer.code == 3, answer.err
        assert said in answer.err
        assert "--symbol NAME" in answer.err
    export = ("labels", "export", "--store", "l.db", "--output", "out.parquet", "--bars")
    assert moola(*export, "aud.parquet").code == 3
    assert moola("labels", "stats", "--store", "l.db", "--bars", "aud.parquet").code == 3
    assert not Path("out.parquet").exists()
    assert Path("l.db").read_bytes() == before
    assert moola(*export, "gbp.parquet").code == 0
    # Named, they are an instrument of their own, which the labels of the other do not reach.
    assert moola(*label, "aud.parquet", "--symbol", "AUDUSD").code == 0
    answer = moola(*export, "aud.parquet", "--symbol", "AUDUSD", "--json")
    assert (answer.json["n_windows"], len(answer.json["left_out"])) == (1, 1)
    assert "is not in the bars file" in answer.json["left_out"][0]["reason"]
    with LabelStore(Path("l.db")) as store:
        assert sorted(one.symbol for one in store.all()) == ["", "AUDUSD"]
    named = random_walk_bars(400, symbol="EURUSD")
    write_bars(Path("eur.parquet"), named)
    answer = moola(*label, "eur.parquet", "--symbol", "GBPUSD")
    assert (answer.code, "--symbol must name bars that have no symbol" in answer.err) == (2, True)
