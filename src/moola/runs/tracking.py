"""Copies of finished runs and cvs in MLflow, for whoever set MLFLOW_TRACKING_URI; the run folder stays the truth.

Without that variable nothing is imported and nothing is sent. Whatever fails here is one warning.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.runs import run_store
from moola.runs.run_store import MANIFEST

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
TAGS = ("run_id", "git_commit", "data_sha256", "split_sha256", "encoder_sha256", "leak_proof", "labelled_by")
# A server that is down must not hold a finished run up for minutes, and MLflow reports its own use to its makers:
# neither is asked for here. Whoever sets these keeps their own.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# MLflow's own limits: of params a call, and of characters.
A_CALL, MAX_KEY, MAX_PARAM, MAX_TAG = 100, 250, 6000, 8000
Row = Mapping[str, Any]


def track_folder(kind: str, run: run_store.Run) -> bool:
    """Copy a finished run's config, figures, history, manifest and metrics; its model and predictions stay.

    Of each figure `value` becomes the metric of its name, and every other finite number `<name>_<field>`, such as
    `brier_low`. MLflow is kept quiet, and any failure is a single warning: what is tracked is finished and on disk.
    Returns whether it was copied, False without a tracking URI.
    """
    if not os.environ.get(URI, "").strip():
        return False
    added = {key: value for key, value in SETTINGS.items() if key not in os.environ}
    os.environ.update(added)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            _send(kind, run)
        return True
    except ImportError as error:
        problem = f"{URI} is set, but {error.name or 'mlflow'} is not installed. Install moola[mlflow]."
    except Exception as error:
        # The first line, with no user or password of a URI in it.
        first = re.sub(r"//[^/\s]*@", "//***@", (str(error).strip().splitlines() or [""])[0])[:300]
        problem = f"{type(error).__name__}: {first}".rstrip(". :") + f". Look at {URI}."
    finally:
        logging.disable(disabled)
        for key in added:
            os.environ.pop(key, None)
    log.warning("%s is kept in its folder, but not in MLflow: %s", run.run_id, problem)
    return False


def _send(kind: str, run: run_store.Run) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    manifest, metrics, history = run.manifest or {}, run.read(run_store.METRICS), run.path(run_store.HISTORY)
    rows = [json.loads(line) for line in history.read_text().splitlines()] if history.is_file() else []
    client = MlflowClient(os.environ[URI].strip())
    facts = {"kind": kind} | {key: manifest[key] for key in TAGS if manifest.get(key) is not None}
    tags = {key: _text(value)[:MAX_TAG] for key, value in facts.items()}
    mlflow_id = client.create_run(_experiment(client), run_name=run.run_id, tags=tags).info.run_id
    try:
        now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        numbers = [Metric(_key(key), float(number), now_ms, at) for key, number, at in _numbers(metrics, rows)]
        given = [Param(_key(key), _text(value)[:MAX_PARAM]) for key, value in run.read(run_store.CONFIG).items()]
        for first in range(0, max(len(numbers), len(given)), A_CALL):
            some = slice(first, first + A_CALL)
            client.log_batch(mlflow_id, metrics=numbers[some], params=given[some])
        client.log_dict(mlflow_id, metrics, run_store.METRICS)
        client.log_dict(mlflow_id, manifest, MANIFEST)
        client.set_terminated(mlflow_id)
    except BaseException:
        with contextlib.suppress(Exception):
            client.set_terminated(mlflow_id, "FAILED")
        raise


def _experiment(client: MlflowClient) -> str:
    """Find or make the experiment; beside a SQLite file it keeps its artifacts in the file's folder."""
    name = os.environ.get(EXPERIMENT, "").strip() or "moola"
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    scheme, _, path = os.environ[URI].strip().partition(":///")
    beside = (Path(path).absolute().parent / "mlartifacts").as_uri() if scheme == "sqlite" else None
    return str(client.create_experiment(name, artifact_location=beside))


def _numbers(metrics: Row, history: Sequence[Row]) -> Iterator[tuple[str, float, int]]:
    """Yield name, number and step of figures, then of epochs; those of later stages bear the stage's name."""
    for name, figure in metrics["figures"].items():
        for field in figure if _is_number(figure.get("value")) else ():
            if _is_number(figure[field]):
                yield (name if field == "value" else f"{name}_{field}"), figure[field], 0
    for row in history:
        stage = "" if row.get("stage") == history[0].get("stage") else f"{row['stage']}_"
        for key in row:
            if key != "epoch" and _is_number(row[key]):
                yield stage + key, row[key], int(row["epoch"])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _key(name: str) -> str:
    """Return a name as MLflow takes it; another character becomes its code, so that two names stay two."""
    return re.sub(r"[^\w. :-]", lambda found: f".{ord(found[0]):x}.", name)[:MAX_KEY]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value, sort_keys=True, default=str)
