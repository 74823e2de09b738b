"""`eval`: figures of a run on its test windows or on later ones, its card, and whether it can be trusted."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from moola.evaluation.calibration_drift import calibration_by_time
from moola.evaluation.figures import Evaluation, evaluate, trivial_predictions
from moola.evaluation.trust import Trust, trust
from moola.files import json_bytes, write_atomic
from moola.options.judging_options import EvalOptions
from moola.options.option_ranges import METRICS_ROOT, RUNS_ROOT
from moola.runs import run_store, tracking
from moola.stages import evaluate as judging
from moola.stages.later_windows import LaterWindows, read_later
from moola.stages.model_card import write_card
from moola.stages.trust_of_run import trust_of_run


def evaluate_run(options: EvalOptions) -> tuple[dict[str, Any], Evaluation]:
    """Evaluate a run on test (else val), or on later windows where they are named, and keep the figures."""
    run = run_store.find_run(RUNS_ROOT, options.run_named())
    assert run.manifest is not None
    later = None if options.data is None else read_later(run, options)
    predictions = judging.judged_predictions(run) if later is None else later.predictions
    facts = judging.training_facts(run)
    evaluation = evaluate(predictions, facts, options.metrics, options.event_metrics, options.seed)
    name = run.run_id if later is None else f"{run.run_id}-{later.path.stem}"
    path = options.save_metrics or METRICS_ROOT / f"{name}.json"
    known = {
        key: run.manifest.get(key) for key in ("leak_proof", "leaks", "labelled_by", "data_sha256", "split_sha256")
    } | {"chosen_by_val": run_store.chosen_by_val(run.manifest)}
    if later is not None:
        known |= later.record()
    said = Counter(np.array(predictions.class_names)[predictions.class_prob.argmax(axis=1)].tolist())
    content = {"run_id": run.run_id, **known, **evaluation.as_dict(), "predicted": dict(sorted(said.items()))}
    content["calibration_by_time"] = calibration_by_time(predictions, options.seed)
    write_atomic(path, json_bytes(content))
    answer = _trust(run, options, later)
    content["trust"] = answer.as_dict()
    if later is None:
        write_card(run, evaluation, answer)
    documents = {run_store.METRICS: content}
    tracking.track_run("eval", run.run_id, asdict(options), content["figures"], run.manifest | content, documents)
    return content | {"metrics_file": str(path)}, evaluation


def _trust(run: run_store.Run, options: EvalOptions, later: LaterWindows | None) -> Trust:
    """Answer by the run's own windows and its gate; by later windows and the class share alone, for they were given."""
    if later is None:
        return trust_of_run(run, seed=options.seed)
    guess = trivial_predictions(later.predictions, judging.training_facts(run))
    return trust(later.predictions, guess, later.leaks, seed=options.seed)
