"""Whether a run's model can be trusted, from its windows and its gate; and the run that a model file is of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.evaluation.figures import trivial_predictions
from moola.evaluation.trust import QUESTION, Trust, rival_of, trust
from moola.files import sha256_file
from moola.options.judging_options import GateOptions
from moola.options.option_ranges import MIN_GAIN, PROMOTED_ROOT, RUNS_ROOT
from moola.runs import run_store
from moola.runs.promotion import BACK, read_log
from moola.stages import evaluate as judging

log = logging.getLogger(__name__)


def trust_of_run(
    run: run_store.Run, gated: Mapping[str, Any] | None = None, seed: int = 0, min_gain: float = MIN_GAIN
) -> Trust:
    """Answer for a run by its own test windows (else val) and the gate.

    Parameters
    ----------
    gated
        The gate's record where it is known already. Else it is that of the run's promotion, else the gate is asked now;
        where there is nothing to compare with, the class share alone is.
    """
    assert run.manifest is not None
    gated = gated or _promotion_of(run) or _gate(run, seed, min_gain)
    predictions = judging.judged_predictions(run)
    guess = trivial_predictions(predictions, judging.training_facts(run))
    leaks = [str(leak) for leak in run.manifest.get("leaks") or []]
    return trust(predictions, guess, leaks, gated, rival_of(gated), seed, min_gain)


def _promotion_of(run: run_store.Run) -> dict[str, Any] | None:
    """Return the last promotion of the run's model, with its verdict."""
    assert run.manifest is not None
    model = run.manifest["files"].get(run_store.MODEL)
    entries = [one for one in read_log(PROMOTED_ROOT) if one.get("sha256") == model and one.get("action") != BACK]
    known = [one for one in entries if {"verdict", "reason", "baseline_kind"} <= one.keys()]
    return known[-1] if known else None


def _gate(run: run_store.Run, seed: int, min_gain: float) -> dict[str, Any] | None:
    try:
        return judging.gate(GateOptions(run=run.folder, seed=seed, min_gain=min_gain))
    except MoolaError as error:
        log.debug("No gate: %s", error)
        return None


@dataclass(frozen=True)
class ModelOrigin:
    """Where a model file comes from: its run where that is here, who labelled, and the answer to its trust."""

    model: str
    run_id: str | None
    labelled_by: list[str]
    trust: str


def origin_of_model(path: Path, training: Mapping[str, Any]) -> ModelOrigin:
    """Find the run of a model file by its hash; `training` is the file's own record."""
    sha256 = sha256_file(path)
    labelled_by = list(training.get("annotators") or [])
    for listed in reversed(run_store.list_runs(RUNS_ROOT)):
        if listed.manifest is None or listed.manifest.get("files", {}).get(run_store.MODEL) != sha256:
            continue
        try:
            run = run_store.find_run(RUNS_ROOT, listed.run_id)
            return ModelOrigin(str(path), run.run_id, labelled_by, str(trust_of_run(run)))
        except MoolaError as error:
            log.warning("Whether the model can be trusted is not known: %s", error)
            break
    unknown = f"{QUESTION} Not known: its run is not here, and only a run has windows that answer."
    return ModelOrigin(str(path), None, labelled_by, unknown)
