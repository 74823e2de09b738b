"""`eval`, `gate` and `promote`: figures, a verdict, whether a run's model can be trusted, and the model in use."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moola.errors import InvalidData, MoolaError, NotPromoted, OperationFailed
from moola.evaluation.calibration import calibration_by_time
from moola.evaluation.figures import TrainingFacts, evaluate, trivial_predictions
from moola.evaluation.gates import judge
from moola.evaluation.trust import QUESTION, Gated, Trust, rival_of, trust
from moola.files import json_bytes, sha256_file, write_atomic
from moola.fit.predicting import predict_windows
from moola.locks import alone, lock_beside
from moola.models.model_files import ModelFile, read_model
from moola.options.judging_options import EvalOptions, GateOptions
from moola.options.option_fields import METRICS_ROOT, MIN_GAIN, PROMOTED_ROOT, RUNS_ROOT
from moola.options.option_sources import command_line, window_bars_words
from moola.provenance.learned_times import seen_among
from moola.runs import run_store
from moola.runs.promotion import (
    BACK,
    check_promotion,
    count_gates,
    finish_promotion,
    promote_back,
    promote_file,
    promoted_path,
    read_log,
    record_gate,
)
from moola.stages.later_windows import LaterWindows, read_later
from moola.stages.model_card import write_card
from moola.stages.run_summary import RunSummary
from moola.tables.prediction_table import Predictions, read_predictions
from moola.tables.window_file import WindowTable, read_windows
from moola.training.device import prepare_device

log = logging.getLogger(__name__)


def judged_predictions(run: run_store.Run) -> Predictions:
    """Return the run's predictions of test where it has one, else of val, in time order.

    Raises
    ------
    InvalidData
        There are val rows alone, and the model that is kept did not predict them: it trained on them.
    """
    predictions = read_predictions(run.path(run_store.PREDICTIONS))
    return _of_kept_model(run, predictions, "test" if (predictions.part == "test").any() else "val")


def _of_kept_model(run: run_store.Run, predictions: Predictions, part: str) -> Predictions:
    found = predictions.of_part(part)
    if part == "val" and not val_is_of_kept_model(run):
        raise InvalidData(
            f"a model must be evaluated on windows that it did not train on, but run {run.run_id} is to be evaluated "
            f"on val, "
            f"and its model was retrained on these {len(found)} windows: what is stored of them is another "
            "model's. Train without --refit, or on a split with a test part."
        )
    return found


def val_is_of_kept_model(run: run_store.Run) -> bool:
    """Return whether the model that is kept predicted the run's val rows."""
    trained_on = run.record.get("trained_on")
    if trained_on is not None:
        return "val" not in trained_on
    # Runs of before this was in the record: refitted models and students were kept, the one before predicted val.
    config = run.read(run_store.CONFIG)
    return not (config.get("refit") or config.get("unlabelled"))


def training_facts(run: run_store.Run) -> TrainingFacts:
    """Return what the uninformed baselines know."""
    content = run.read(run_store.FACTS)
    try:
        return TrainingFacts(**content)
    except TypeError as error:
        raise InvalidData(f"{run.path(run_store.FACTS)} must hold the training facts, but {error}. Retrain.") from error


@dataclass(frozen=True)
class Baseline:
    """What the challenger is compared with: its predictions of the same windows, and what to call it."""

    kind: str
    name: str
    predictions: Predictions
    note: str = ""


def gate(options: GateOptions) -> dict[str, Any]:
    """Compare a run with a baseline on the same windows; the verdict is in the result, and nothing is written."""
    run = run_store.find_run(RUNS_ROOT, options.run_named())
    later = None if options.data is None else read_later(run, options)
    challenger = judged_predictions(run) if later is None else later.predictions
    baseline = _find_baseline(options, run, challenger, later)
    if baseline.note:
        log.warning("%s", baseline.note)
    leaks = [str(leak) for leak in run.record.get("leaks") or []] if later is None else later.leaks
    verdict = judge(
        challenger,
        baseline.predictions,
        training_facts(run),
        leaks,
        options.seed,
        min_gain=options.min_gain,
        ece_rule=options.ece_rule,
    )
    looks = count_gates(challenger.windows_sha256, run.run_id, baseline.name)
    facts = {key: run.record.get(key) for key in ("leak_proof", "labelled_by")}
    if later is not None:
        facts |= later.record()
    answer = trust(
        challenger,
        trivial_predictions(challenger, training_facts(run)),
        leaks,
        Gated.of(verdict, rival_of(baseline.kind)),
        options.seed,
        options.min_gain,
    )
    return {
        "run_id": run.run_id,
        "baseline_kind": baseline.kind,
        "baseline": baseline.name,
        "baseline_note": baseline.note,
        "part": str(challenger.part[0]),
        **facts,
        **verdict.as_dict(),
        "trust": asdict(answer),
        "windows_sha256": challenger.windows_sha256,
        **asdict(looks),
    }


# What the promotion log and the record of gates keep of a verdict.
PROMOTED = ("run_id", "verdict", "reason", "baseline", "baseline_kind", "part", "n_windows", "ece_rule")
KEPT = (*PROMOTED, "windows_sha256")


def gate_and_remember(options: GateOptions) -> dict[str, Any]:
    """Do the same, and note in the record of gates that these windows were looked at."""
    result = gate(options)
    record_gate({key: result[key] for key in KEPT} | {"data": result.get("data")})
    return result


def _find_baseline(
    options: GateOptions, run: run_store.Run, challenger: Predictions, later: LaterWindows | None
) -> Baseline:
    if options.baseline is not None:
        if options.baseline.is_file():
            return _of_model(options.baseline, "model file", run, challenger, later)
        return _of_run(run_store.find_run(RUNS_ROOT, options.baseline), "run", challenger, later)
    promoted = promoted_path(PROMOTED_ROOT, options.name)
    if promoted.is_file():
        return _of_model(promoted, "promoted model", run, challenger, later)
    keys = ("data_sha256", "split_sha256")
    wanted = {key: run.record.get(key) for key in keys}
    scratch = run_store.newest_matching(RUNS_ROOT, run.run_id, pretrained=False, **wanted)
    if scratch is None:
        config = run.read(run_store.CONFIG)
        words = ("moola", "train", "--data", config.get("data"), "--split", config.get("split"))
        line = command_line(*words, *window_bars_words(config.get("window_bars")))
        raise OperationFailed(
            f"a gate must have a baseline, but {PROMOTED_ROOT / options.name} does not exist and no other from-scratch "
            f"run has this data and split. Train one with `{line}`, or name one with --baseline."
        )
    return _of_run(scratch, "from-scratch run", challenger, later)


def _of_run(run: run_store.Run, kind: str, challenger: Predictions, later: LaterWindows | None) -> Baseline:
    if later is not None:
        return replace(_of_model(run.path(run_store.MODEL), kind, run, challenger, later), name=run.run_id)
    predictions = read_predictions(run.path(run_store.PREDICTIONS))
    return Baseline(kind, run.run_id, _of_kept_model(run, predictions, str(challenger.part[0])))


def _of_model(
    path: Path, kind: str, run: run_store.Run, challenger: Predictions, later: LaterWindows | None
) -> Baseline:
    """Let a model file predict the challenger's windows: later ones, or those of the data that its run names."""
    model = read_model(path)
    if set(model.class_names) != set(challenger.class_names):
        raise InvalidData(
            f"the {kind} must have the challenger's classes, but {path} has {', '.join(model.class_names)} and the "
            f"run {', '.join(challenger.class_names)}. Name another with --baseline."
        )
    table = _data_of(run, kind, model.window_bars) if later is None else later.table
    device = prepare_device("cpu", int(run.record.get("threads") or 0))
    predictions = predict_windows(model, table, challenger.row, challenger.part, device)
    return Baseline(kind, str(path), predictions, _trained_on_judged(model, kind, challenger))


def _data_of(run: run_store.Run, kind: str, window_bars: int) -> WindowTable:
    """Read the data that the challenger's run was trained on."""
    config = run.read(run_store.CONFIG)
    data = run_store.unchanged(run.record, config, "data")
    if data is None:
        raise OperationFailed(
            f"the challenger's data must be where its run read it for the {kind} to predict it too, but "
            f"{config.get('data')} is missing or has changed. Put it back, or name a run with --baseline."
        )
    return read_windows(data, window_bars)


def _trained_on_judged(model: ModelFile, kind: str, challenger: Predictions) -> str:
    """Report when the baseline learned from times it is evaluated on: its figures are then too good."""
    seen = seen_among(model.training, challenger.start_us, challenger.close_us(model.window_bars))
    if seen is None or not seen.any():
        return ""
    return (
        f"The {kind} was trained on times of {int(seen.sum())} of these {len(challenger)} windows: its metrics are "
        f"optimistic."
    )


def promote(
    options: GateOptions, accept_inconclusive: bool, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Gate a run and, if the verdict allows it, put its model into use.

    Raises
    ------
    NotPromoted
        The verdict is `hold`, or `inconclusive` without it being accepted. Nothing was changed.
    OperationFailed
        The model is in use already, or another process promotes: its model is what this one must be compared with, once
        it is done.
    InvalidData
        The promotion log is damaged. Nothing was changed.
    """
    target = promoted_path(PROMOTED_ROOT, options.name)
    with alone(lock_beside(PROMOTED_ROOT), f"promote under {PROMOTED_ROOT}"):
        finished = finish_promotion(target)
        if finished is not None:
            log.info("The promotion of run %s was cut short: it is finished now.", finished["run_id"])
            if finished["run_id"] == run_store.find_run(RUNS_ROOT, options.run_named()).run_id:
                return finished | {"promoted_to": str(target)}
        # Before the gate: what it costs must not be lost to a model in use already or a damaged log.
        check_promotion(run_store.find_run(RUNS_ROOT, options.run_named()).path(run_store.MODEL), target)
        return _promote(options, accept_inconclusive, report, target)


def go_back(name: str) -> dict[str, Any]:
    """Put the model into use again that was in use before the present one.

    Raises
    ------
    OperationFailed
        There was none, its file is gone, or another process promotes. Nothing was changed.
    """
    target = promoted_path(PROMOTED_ROOT, name)
    with alone(lock_beside(PROMOTED_ROOT), f"promote under {PROMOTED_ROOT}"):
        finished = finish_promotion(target)
        if finished is not None:
            log.info("The promotion of run %s was cut short: it is finished now.", finished["run_id"])
            if finished.get("action") == BACK:
                return finished | {"promoted_to": str(target)}
        return promote_back(target) | {"promoted_to": str(target)}


def _promote(
    options: GateOptions, accept_inconclusive: bool, report: Callable[[dict[str, Any]], None], target: Path
) -> dict[str, Any]:
    result = gate_and_remember(options)
    report(result)
    verdict = result["verdict"]
    if verdict == "hold" or (verdict == "inconclusive" and not accept_inconclusive):
        way = "Nothing overrides hold." if verdict == "hold" else "Pass --accept inconclusive to take it all the same."
        raise NotPromoted(
            f"a model must pass the gate to be promoted, but the verdict is {verdict}: {result['reason']}. {way}"
        )
    run = run_store.find_run(RUNS_ROOT, options.run_named())
    record = {name: result[name] for name in (*PROMOTED, "data") if name in result}
    entry = promote_file(run.path(run_store.MODEL), target, record)
    return result | {"promoted_to": str(target), "replaced_sha256": entry["replaced_sha256"], "sha256": entry["sha256"]}


def trust_of_run(run: run_store.Run, seed: int = 0, min_gain: float = MIN_GAIN) -> Trust:
    """Answer for a run by its own test windows (else val) and the gate: that of its promotion, else one made now.

    Where there is nothing to compare with, the class share alone answers.
    """
    promotion = _promotion_of(run)
    if promotion is None:
        try:
            return Trust(**gate(GateOptions(run=run.folder, seed=seed, min_gain=min_gain))["trust"])
        except MoolaError as error:
            log.debug("No gate: %s", error)
    predictions = judged_predictions(run)
    guess = trivial_predictions(predictions, training_facts(run))
    leaks = [str(leak) for leak in run.record.get("leaks") or []]
    return trust(predictions, guess, leaks, None if promotion is None else Gated.promoted(promotion), seed, min_gain)


def _promotion_of(run: run_store.Run) -> dict[str, Any] | None:
    """Return the last promotion of the run's model, with its verdict."""
    model = run.record["files"].get(run_store.MODEL)
    entries = [one for one in read_log(PROMOTED_ROOT) if one.get("sha256") == model and one.get("action") != BACK]
    known = [one for one in entries if {"verdict", "reason", "baseline_kind"} <= one.keys()]
    return known[-1] if known else None


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


def evaluate_run(options: EvalOptions) -> tuple[dict[str, Any], RunSummary]:
    """Evaluate a run on test (else val), or on later windows where they are named, and keep the figures."""
    run = run_store.find_run(RUNS_ROOT, options.run_named())
    later = None if options.data is None else read_later(run, options)
    predictions = judged_predictions(run) if later is None else later.predictions
    facts = training_facts(run)
    evaluation = evaluate(predictions, facts, options.metrics, options.event_metrics, options.seed)
    name = run.run_id if later is None else f"{run.run_id}-{later.path.stem}"
    path = options.save_metrics or METRICS_ROOT / f"{name}.json"
    known = {
        key: run.record.get(key) for key in ("leak_proof", "leaks", "labelled_by", "data_sha256", "split_sha256")
    } | {"chosen_by_val": run_store.chosen_by_val(run.record)}
    if later is not None:
        known |= later.record()
    n_by_class = Counter(np.array(predictions.class_names)[predictions.class_prob.argmax(axis=1)].tolist())
    content = {"run_id": run.run_id, **known, **evaluation.as_dict(), "predicted": dict(sorted(n_by_class.items()))}
    content["calibration_by_time"] = calibration_by_time(predictions, options.seed)
    write_atomic(path, json_bytes(content))
    answer = _trust(run, options, later)
    content["trust"] = asdict(answer)
    summary = RunSummary.of(run, evaluation, answer)
    if later is None:
        write_card(run, summary)
    else:
        summary = replace(summary, manifest=summary.manifest | later.record())
    return content | {"metrics_file": str(path)}, summary


def _trust(run: run_store.Run, options: EvalOptions, later: LaterWindows | None) -> Trust:
    """Answer by the run's own windows and its gate; by later windows and the class share alone, for they were given."""
    if later is None:
        return trust_of_run(run, seed=options.seed)
    guess = trivial_predictions(later.predictions, training_facts(run))
    return trust(later.predictions, guess, later.leaks, seed=options.seed)
