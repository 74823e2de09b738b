"""Command that chooses options of train: tune."""

from __future__ import annotations

from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.cli.progress import TrialProgress
from moola.config.command_lines import command_line, command_words
from moola.config.sources import CONFIG_FILE
from moola.config.tune_options import TuneOptions
from moola.errors import Interrupted


def tune(*, options: Annotated[TuneOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Choose options of train by trials on inner folds of the train rows.

    The folds are purged; what is chosen is written where train reads it.

    Val and test are never looked at. The first trial is today's defaults, and they stay unless the best trial beats
    them with seeds that chose nothing. Needs the extra: pip install "moola[tune]".

    Example: moola tune --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json --trials 30
    """
    from moola.pipeline.tuning import story

    try:
        with TrialProgress(options.trials, options.metric) as progress:
            result = story.tune(options, progress)
    except KeyboardInterrupt as stop:
        where = options.study or "the newest file of artifacts/tuning"
        raise Interrupted(f"Interrupted; finished trials are in {where}.", go_on=()) from stop
    screen = Screen(console)
    _show(screen, result)
    if result["backup"]:
        screen.say(f"What {result['output']} was is in {result['backup']}")
    screen.say(f"Settings in {result['output']}, study in {result['study']}")
    where = "" if options.output == CONFIG_FILE else f" (with {options.output} as {CONFIG_FILE}, which train reads)"
    held = command_words({name: value for name, value in result["held"].items() if name not in result["chosen"]})
    screen.next_step(command_line("moola", "train", "--data", options.data, "--split", options.split, *held) + where)
    screen.result(result)
    return 0


def _show(screen: Screen, result: dict[str, Any]) -> None:
    folds = ", ".join(f"{fold['train']}/{fold['val']}/{fold['test']}" for fold in result["folds"])
    states = ", ".join(f"{count} {state}" for state, count in result["trials"].items())
    screen.say(
        f"{result['n_trials']} trials ({states}) on {len(result['folds'])} inner folds of the train rows "
        f"(train/val/judged windows: {folds}), {result['seconds']:.0f} s"
    )
    for note in result["notes"]:
        screen.say(f"  NOTE: {note}.")
    best = result["best"]
    shown = {} if best is None else best["values"]
    rows = [[name, _value(shown.get(name)), _value(default)] for name, default in result["defaults"].items()]
    screen.table(["option", "best" if best is None else f"trial {best['place']} (best)", "defaults"], rows)
    if (found := result["confirmed"]) is not None:
        pairs = zip(found["best_by_fold"], found["defaults_by_fold"], strict=True)
        numbered = enumerate(pairs, start=1)
        trivial = result["trivial_by_fold"]
        judged = [
            [str(fold), f"{one:.4f}", f"{other:.4f}", f"{trivial[fold - 1]:.4f}", f"{one - other:+.4f}"]
            for fold, (one, other) in numbered
        ]
        header = [f"{result['metric']} in fold, fresh seeds", "best", "defaults", "class share", "best - defaults"]
        screen.table(header, judged)
    screen.say(result["sentence"])


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
