"""Copies of finished work in MLflow, where MLFLOW_TRACKING_URI is set; the run folder stays the record.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# neither is asked for here. Settings of the user are kept.
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
    """Copy a finished run's config, figures, history, manifest and metrics; its model and predictions stay."""

    def send() -> None:
        manifest, metrics = run.manifest or {}, run.read(run_store.METRICS)
        history = run.path(run_store.HISTORY)
        rows = [json.loads(line) for line in history.read_text().splitlines()] if history.is_file() else []
        documents = {run_store.METRICS: metrics, MANIFEST: manifest}
        _send(kind, run.run_id, run.read(run_store.CONFIG), metrics["figures"], manifest, rows, documents)

    return _sent(run.run_id, send)


def track_run(
    kind: str, name: str, params: Row, figures: Mapping[str, Row], tags: Row, documents: Mapping[str, Any]
) -> bool:
    """Log one finished piece of work; returns whether it was, False without a tracking URI or after a warning.

    Parameters
    ----------
    kind, name
        The tag `kind`, and what MLflow calls it; the run id where there is one.
    figures
        Figures by name. Of each, `value` becomes the metric of that name, and every other finite number
        the metric `<name>_<field>`, such as `brier_low`; a figure without a value leaves none.
    tags
        Facts, such as a manifest: those that `TAGS` names are taken. Without a commit it is the folder's.
    documents
        JSON values by file name, kept as artifacts.
    """
    return _sent(name, lambda: _send(kind, name, params, figures, tags, (), documents))


def _sent(name: str, send: Callable[[], None]) -> bool:
    """Keep MLflow quiet, and turn any failure into a single line: what was tracked is finished and on disk."""
    if not os.environ.get(URI, "").strip():
        return False
    added = {key: value for key, value in SETTINGS.items() if key not in os.environ}
    os.environ.update(added)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            send()
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
    log.warning("%s is kept in its folder, but not in MLflow: %s", name, problem)
    return False


def _send(
    kind: str,
    name: str,
    params: Row,
    figures: Mapping[str, Row],
    tags: Row,
    history: Sequence[Row],
    documents: Mapping[str, Any],
) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(os.environ[URI].strip())
    facts = {"kind": kind, "git_commit": run_store.git_commit()}
    facts |= {key: tags[key] for key in TAGS if tags.get(key) is not None}
    text_tags = {key: _text(value)[:MAX_TAG] for key, value in facts.items() if value is not None}
    mlflow_id = client.create_run(_experiment(client), run_name=name, tags=text_tags).info.run_id
    try:
        now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        metrics = [Metric(_key(key), float(number), now_ms, step) for key, number, step in _numbers(figures, history)]
        given = [Param(_key(key), _text(value)[:MAX_PARAM]) for key, value in params.items()]
        for first in range(0, max(len(metrics), len(given)), A_CALL):
            some = slice(first, first + A_CALL)
            client.log_batch(mlflow_id, metrics=metrics[some], params=given[some])
        for file, content in documents.items():
            client.log_dict(mlflow_id, content, file)
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


def _numbers(figures: Mapping[str, Row], history: Sequence[Row]) -> Iterator[tuple[str, float, int]]:
    """Yield name, number and step of figures, then of epochs; those of later stages bear the stage's name."""
    for name, figure in figures.items():
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
