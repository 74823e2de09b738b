"""Tracking copies what is finished to MLflow, and can lose nothing: a failure is one warning."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from moola.files import sha256_file
from moola.runs import run_store, tracking
from moola.runs.run_store import create_run, finish_run, write_run_json

RUN_ID = "20260101T000000Z-simple_lstm-s1-0123abcd"
FIGURES = {
    "brier": {"name": "brier", "value": 0.2, "low": 0.1, "high": 0.3, "trivial": 0.25, "reason": ""},
    "f1_up/down": {"name": "f1_up/down", "value": 0.5, "low": None, "high": None, "trivial": None, "reason": ""},
    "ece": {"name": "ece", "value": None, "low": None, "high": None, "trivial": None, "reason": "no label"},
}
HISTORY = [{"epoch": n, "train_loss": 1 / n, "val_loss": float(n), "best": n == 1} for n in (1, 2, 3)]
RECORD = {"leak_proof": True, "labelled_by": ["expert"], "data_sha256": "d" * 64, "split_sha256": "5" * 64}


@pytest.fixture
def run(tmp_path: Path) -> run_store.Run:
    opened = create_run(tmp_path / "runs", RUN_ID)
    write_run_json(opened, run_store.CONFIG, {"epochs": 3, "model": "simple_lstm", "resume": None, "long": "x" * 9000})
    write_run_json(opened, run_store.METRICS, {"part": "val", "figures": FIGURES})
    opened.path(run_store.HISTORY).write_text("".join(json.dumps(row) + "\n" for row in HISTORY))
    opened.path(run_store.MODEL).write_bytes(b"weights")
    return finish_run(opened, RECORD)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with MLflow's tables: to make them takes it a second, each time."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    Stored(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv(tracking.URI, uri)
    monkeypatch.delenv(tracking.EXPERIMENT, raising=False)
    return uri


class Stored:
    """What MLflow's own client reads back; its own warnings are not ours to judge."""

    def __init__(self, uri: str, experiment: str = "moola") -> None:
        from mlflow import MlflowClient

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.client = MlflowClient(uri)
            found = self.client.get_experiment_by_name(experiment)
            self.runs = self.client.search_runs([found.experiment_id], order_by=["start_time"]) if found else []

    def kinds(self) -> list[str]:
        return [run.data.tags["kind"] for run in self.runs]


@pytest.mark.slow
def test_a_run_folder_comes_back_through_mlflow(run, database, tmp_path):
    assert tracking.track_folder("train", run)
    stored = Stored(database)
    (found,) = stored.runs
    assert (found.info.run_name, found.info.status) == (RUN_ID, "FINISHED")
    assert found.data.params == {"epochs": "3", "model": "simple_lstm", "resume": "null", "long": "x" * 6000}
    assert found.data.metrics == {
        "brier": 0.2,
        "brier_low": 0.1,
        "brier_high": 0.3,
        "brier_trivial": 0.25,
        "f1_up.2f.down": 0.5,
        "train_loss": 1 / 3,
        "val_loss": 3.0,
    }
    steps = stored.client.get_metric_history(found.info.run_id, "val_loss")
    assert [(one.step, one.value) for one in steps] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    tags = {key: value for key, value in found.data.tags.items() if not key.startswith("mlflow.")}
    expected = {"kind": "train", "run_id": RUN_ID, "leak_proof": "true", "labelled_by": '["expert"]'}
    expected |= {key: RECORD[key] for key in ("data_sha256", "split_sha256")}
    expected |= {"git_commit": run.manifest["git_commit"]} if run.manifest["git_commit"] else {}
    assert tags == expected
    files = sorted(tmp_path.glob(f"mlartifacts/{found.info.run_id}/artifacts/*"))
    assert [path.name for path in files] == ["manifest.json", "metrics.json"]
    assert json.loads(files[0].read_text()) == run.manifest


@pytest.mark.slow
def test_later_stages_bear_their_name(run, database):
    rows = [{"epoch": epoch, "stage": stage, "train_loss": 0.5} for stage in ("train", "refit") for epoch in (1, 2)]
    run.path(run_store.HISTORY).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tracking.track_folder("train", run)
    stored = Stored(database)
    (found,) = stored.runs
    for key in ("train_loss", "refit_train_loss"):
        assert [one.step for one in stored.client.get_metric_history(found.info.run_id, key)] == [1, 2]


@pytest.mark.slow
def test_many_numbers(database, monkeypatch, tmp_path):
    monkeypatch.setenv(tracking.EXPERIMENT, "another")
    figures = {f"figure_{n}": {"value": float(n)} for n in range(130)}
    figures["not_there"] = {"value": None, "low": 0.1}
    many = create_run(tmp_path / "runs", RUN_ID)
    write_run_json(many, run_store.CONFIG, {f"param_{n}": n for n in range(210)})
    write_run_json(many, run_store.METRICS, {"figures": figures})
    assert tracking.track_folder("cv", finish_run(many, RECORD | {"secret": "no"}))
    (found,) = Stored(database, "another").runs
    assert len(found.data.metrics) == 130
    assert len(found.data.params) == 210
    assert "secret" not in found.data.tags


@pytest.mark.parametrize(
    "uri",
    [
        "garbage://user:password@host",
        "sqlite:////proc/none/mlflow.db",
        "http://user:password@127.0.0.1:9/",
    ],
)
def test_a_broken_store_is_one_warning_and_the_run_stays(run, uri, monkeypatch, caplog, capfd):
    pytest.importorskip("mlflow")
    monkeypatch.setenv(tracking.URI, uri)
    before = {path.name: sha256_file(path) for path in run.folder.iterdir()}
    with caplog.at_level(logging.DEBUG, "moola"):
        assert not tracking.track_folder("train", run)
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.name == "moola.runs.tracking"
    assert RUN_ID in warning.getMessage()
    assert "password" not in warning.getMessage()
    assert "\n" not in warning.getMessage()
    assert capfd.readouterr() == ("", "")
    assert {path.name: sha256_file(path) for path in run.folder.iterdir()} == before


@pytest.mark.slow
def test_a_failure_halfway_is_marked_in_mlflow(run, database, monkeypatch, caplog):
    from mlflow import MlflowClient

    def fail(*_arguments, **_named):
        raise OSError("no space left on device\nsecond line")

    monkeypatch.setattr(MlflowClient, "log_dict", fail)
    assert not tracking.track_folder("train", run)
    assert [one.info.status for one in Stored(database).runs] == ["FAILED"]
    (message,) = caplog.messages
    assert message.endswith("OSError: no space left on device. Look at MLFLOW_TRACKING_URI.")


def test_a_missing_extra_is_one_warning(run, monkeypatch, caplog):
    monkeypatch.setenv(tracking.URI, "sqlite:///mlflow.db")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert not tracking.track_folder("train", run)
    (message,) = caplog.messages
    assert message.endswith("mlflow is not installed. Install moola[mlflow].")


@pytest.mark.slow
def test_a_broken_folder_is_one_warning(run, database, caplog):
    run.path(run_store.METRICS).write_text("{")
    assert not tracking.track_folder("train", run)
    assert len(caplog.records) == 1


@pytest.mark.slow
def test_settings_are_put_back(run, database, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    seen: dict[str, str | None] = {}
    monkeypatch.setattr(tracking, "_send", lambda *_: seen.update({key: os.environ.get(key) for key in os.environ}))
    before, filters = dict(os.environ), list(warnings.filters)
    assert tracking.track_folder("train", run)
    assert seen == tracking.SETTINGS | before
    assert (dict(os.environ), list(warnings.filters)) == (before, filters)


IN_A_PROCESS = """
import sys
from pathlib import Path
from moola.runs import run_store, tracking
folder = Path(sys.argv[1])
done = tracking.track_folder("train", run_store.Run(folder, {"run_id": folder.name}))
print(done, "mlflow" in sys.modules, "sqlalchemy" in sys.modules)
if done:
    from mlflow.telemetry.client import get_telemetry_client
    print(get_telemetry_client())
"""


def _in_a_process(folder: Path, run: Path, **environment: str) -> subprocess.CompletedProcess:
    kept = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command = [sys.executable, "-c", IN_A_PROCESS, str(run)]
    return subprocess.run(command, env=kept | environment, cwd=folder, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("environment", [{}, {tracking.URI: "  "}])
def test_without_a_uri_nothing_is_imported(environment, tmp_path):
    result = _in_a_process(tmp_path, tmp_path / "none", **environment)
    assert (result.stdout, result.stderr) == ("False False False\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_with_a_uri_mlflow_prints_nothing_and_reports_nothing(run, database, tmp_path):
    result = _in_a_process(tmp_path, run.folder, **{tracking.URI: "sqlite:///mlflow.db"})
    assert (result.stdout, result.stderr) == ("True True True\nNone\n", "")
    assert (tmp_path / "mlflow.db").is_file()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.slow
def test_train_tracks_what_it_finished(sample, train, database):
    trained = train("--seed", "2", "--epochs", "2", "--json").json
    stored = Stored(database)
    (found,) = stored.runs
    assert stored.kinds() == ["train"]
    assert found.data.tags["run_id"] == trained["run_id"]
    assert found.data.params["seed"] == "2"
    assert stored.client.get_metric_history(found.info.run_id, "train_loss")[-1].step == 2
    assert found.data.metrics["brier"] == trained["val"]["figures"]["brier"]["value"]
    assert found.data.metrics["brier_high"] == trained["val"]["figures"]["brier"]["high"]


def test_a_server_that_is_down_costs_no_run_and_no_exit_code(sample, moola, train, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv(tracking.URI, "http://127.0.0.1:9")
    answer = train("--json")
    assert answer.err.count("Warning: ") == 1 + answer.err.count("Not leak-proof")
    assert run_store.find_run(Path("artifacts/runs"), answer.json["run_id"]).manifest is not None


TINY_CV = ("--folds", "2", "--seeds", "1", "--epochs", "1", "--processes", "1", "--json")


@pytest.mark.slow
def test_a_cv_is_tracked(sample, moola, database):
    answer = moola("cv", "--data", "data/processed/labeled/train_latest_relative.parquet", *TINY_CV)
    assert answer.code == 0, answer.err
    (found,) = Stored(database).runs
    assert found.data.tags["kind"] == "cv"
    assert "brier_low" in found.data.metrics
    assert found.info.run_name == answer.json["cv_id"]
