"""Copies of finished work in MLflow, for whoever set MLFLOW_TRACKING_URI; the run folder stays the truth.

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
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.files import json_bytes
from moola.runs import run_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
TAGS = ("run_id", "git_commit", "data_sha256", "split_sha256", "encoder_sha256", "leak_proof", "labelled_by")
# A server that is down must not hold a finished run up for minutes; whoever sets these keeps their own.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # MLflow reports its own use to its makers, prints to stdout and logs to stderr: none of it is asked for here.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}
QUIET = ("alembic", "mlflow", "urllib3")
# MLflow's own limits.
MAX_KEY, MAX_PARAM, MAX_TAG = 250, 6000, 8000
PARAMS_A_CALL, METRICS_A_CALL = 100, 1000
MAX_DOCUMENT_BYTES = 1 << 20


_paused: ContextVar[bool] = ContextVar("_paused", default=False)


def tracking_uri() -> str:
    """Return the tracking URI that is set, or an empty string; empty as well while tracking is paused."""
    return "" if _paused.get() else os.environ.get(URI, "").strip()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Track nothing inside: for trainings that are means, such as a leak check's controls on shuffled labels."""
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


def track_folder(kind: str, run: run_store.Run) -> bool:
    """Copy a finished run's folder: its config, figures, history, manifest and metrics.

    Parameters
    ----------
    kind
        `train` or `cv`.
    run
        A complete run; its model and its predictions are not copied.

    Returns
    -------
    bool
        Whether it was logged; False without a tracking URI, and after the warning of a failure.
    """
    if not tracking_uri():
        return False
    with _one_warning(run.run_id):
        manifest, metrics = run.manifest or {}, run.read(run_store.METRICS)
        history = run.path(run_store.HISTORY)
        rows = [json.loads(line) for line in history.read_text().splitlines()] if history.is_file() else []
        documents = {run_store.METRICS: metrics, run_store.MANIFEST: manifest}
        _send(kind, run.run_id, run.read(run_store.CONFIG), metrics["figures"], manifest, rows, documents)
        return True
    return False


def track_run(
    kind: str,
    name: str,
    params: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, Any]],
    tags: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    documents: Mapping[str, Any] | None = None,
) -> bool:
    """Log one finished piece of work in MLflow, if a tracking URI is set.

    Parameters
    ----------
    kind
        `train`, `eval`, `cv` or `compare`; becomes the tag `kind`.
    name
        What MLflow calls it; the run id where there is one.
    params
        Options; text stays as it is, other values become JSON.
    figures
        Figures by name. Of each, `value` becomes the metric of that name, and every other finite number
        the metric `<name>_<field>`, such as `brier_low`; a figure without a value leaves none.
    tags
        Facts, such as a manifest: those that `TAGS` names are taken. Without a commit it is the folder's.
    history
        Rows with `epoch`; each finite number becomes a metric at that step.
    documents
        JSON values by file name, kept as artifacts; one over 1 MiB is left out.

    Returns
    -------
    bool
        Whether it was logged; False without a tracking URI, and after the warning of a failure.
    """
    if not tracking_uri():
        return False
    with _one_warning(name):
        _send(kind, name, params, figures, tags, history, documents or {})
        return True
    return False


@contextlib.contextmanager
def _one_warning(name: str) -> Iterator[None]:
    """Keep MLflow quiet, and turn any failure into a single line: what was tracked is finished and on disk."""
    levels = {name: logging.getLogger(name).level for name in QUIET}
    added = {key: value for key, value in SETTINGS.items() if key not in os.environ}
    os.environ.update(added)
    for logger in QUIET:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        log.warning(
            "%s is not in MLflow: %s is set, but %s is not installed. Install moola[mlflow].",
            name,
            URI,
            error.name or "mlflow",
        )
    except Exception as error:
        log.warning("%s is kept in its folder, but not in MLflow: %s. Look at %s.", name, _reason(error), URI)
    finally:
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)
        for key in added:
            os.environ.pop(key, None)


def _reason(error: Exception) -> str:
    """Return an error's first line, with no user or password of a URI in it."""
    first = (str(error).strip().splitlines() or [""])[0]
    hidden = re.sub(r"//[^/\s]*@", "//***@", first)[:300]
    return f"{type(error).__name__}: {hidden}".rstrip(". :")


def _send(
    kind: str,
    name: str,
    params: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, Any]],
    tags: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    documents: Mapping[str, Any],
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    facts = {"git_commit": run_store.git_commit()} | {key: tags.get(key) for key in TAGS if tags.get(key) is not None}
    text_tags = {key: _text(value)[:MAX_TAG] for key, value in facts.items() if value is not None}
    opened = client.create_run(_experiment(client), run_name=name, tags={"kind": kind, **text_tags})
    try:
        _log_numbers(client, opened.info.run_id, params, figures, history)
        for file, content in documents.items():
            if len(json_bytes(content)) <= MAX_DOCUMENT_BYTES:
                client.log_dict(opened.info.run_id, content, file)
        client.set_terminated(opened.info.run_id)
    except BaseException:
        with contextlib.suppress(Exception):
            client.set_terminated(opened.info.run_id, "FAILED")
        raise


def _experiment(client: MlflowClient) -> str:
    """Find or make the experiment; beside a SQLite file it keeps its artifacts in the file's folder."""
    name = os.environ.get(EXPERIMENT, "").strip() or "moola"
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    scheme, _, path = tracking_uri().partition(":///")
    beside = (Path(path).absolute().parent / "mlartifacts").as_uri() if scheme == "sqlite" else None
    return str(client.create_experiment(name, artifact_location=beside))


def _log_numbers(
    client: MlflowClient,
    mlflow_id: str,
    params: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
) -> None:
    from mlflow.entities import Metric, Param

    now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    numbers = [(key, number, 0) for name, figure in figures.items() for key, number in _flat(name, figure)]
    for row in history:
        # Later stages count their epochs from 1 again: their numbers bear the stage's name.
        stage = "" if row.get("stage") == history[0].get("stage") else f"{row['stage']}_"
        shown = [key for key in row if key != "epoch" and _is_number(row[key])]
        numbers += [(stage + key, row[key], int(row["epoch"])) for key in shown]
    metrics = iter([Metric(_key(key), float(number), now_ms, step) for key, number, step in numbers])
    while some := list(islice(metrics, METRICS_A_CALL)):
        client.log_batch(mlflow_id, metrics=some)
    texts = iter([Param(_key(key), _text(value)[:MAX_PARAM]) for key, value in params.items()])
    while given := list(islice(texts, PARAMS_A_CALL)):
        client.log_batch(mlflow_id, params=given)


def _flat(name: str, figure: Mapping[str, Any]) -> list[tuple[str, float]]:
    if not _is_number(figure.get("value")):
        return []
    fields = [field for field, number in figure.items() if _is_number(number)]
    return [(name if field == "value" else f"{name}_{field}", figure[field]) for field in fields]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _key(name: str) -> str:
    """Return a name as MLflow takes it; another character becomes its code, so that two names stay two."""
    return re.sub(r"[^\w. :-]", lambda found: f".{ord(found[0]):x}.", name)[:MAX_KEY]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value, sort_keys=True, default=str)
