"""The command that looks for leaks."""

from __future__ import annotations

from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.config.command_lines import window_bars_words
from moola.config.leakcheck_options import LeakcheckOptions

LEAKS = 3


def leakcheck(*, options: Annotated[LeakcheckOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Look for leaks in data, split, features, encoder and run.

    Exit code 3 when there is one.

    Example: moola leakcheck --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json
    """
    from moola.pipeline.leakcheck import checking

    result = checking.leakcheck(options)
    screen = Screen(console)
    for finding in result["findings"]:
        screen.say(f"{finding['state']:5} {finding['what']}: {finding['found']}")
        if finding["advice"]:
            screen.say(f"      {finding['advice']}")
    n_ok = sum(finding["state"] == "ok" for finding in result["findings"])
    n_notes = sum(finding["state"] == "note" for finding in result["findings"])
    verdict = "No leak found" if result["clean"] else f"{_count(result['n_leaks'], 'leak')} found"
    screen.say(f"{verdict}; {n_ok} checks are fine, {_count(n_notes, 'note')}.")
    screen.next_command(*_next(options, result))
    screen.result(result)
    return 0 if result["clean"] else LEAKS


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _next(options: LeakcheckOptions, result: dict[str, Any]) -> tuple[Any, ...]:
    length = window_bars_words(options.window_bars)
    states = {finding["what"] for finding in result["findings"] if finding["state"] == "leak"}
    if states & {"stored features", "label in features"}:
        return ("moola", "convert", "--input", "<4-D windows>", "--output", options.data, *length)
    if states & {"split record", "duplicates", "near-duplicates", "one window", "overlaps", "order", "purge"}:
        return ("moola", "split", "--data", options.data, "--output", options.split, *length)
    if "encoder" in states:
        words = ("moola", "pretrain-bilstm", "--input", "<windows or bars>", "--split", options.split)
        return (*words, "--output", "<encoder.pt>", *length)
    if result["run_id"] is None or states:
        return ("moola", "train", "--data", options.data, "--split", options.split, *length)
    return ("moola", "eval", "--run", result["run_id"])
