"""Stage `export` for MetaTrader 5 and freqtrade: sources of theirs, with the model or its events."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from moola import __version__
from moola.core.bars import allowed_gap_s
from moola.errors import WrongUsage
from moola.evaluation.pointer_metrics import HIT_BARS
from moola.files import sha256_file, write_atomic
from moola.fit.predicting import trusted_zone
from moola.models.model_files import ModelFile, read_model
from moola.options.option_sources import command_line
from moola.options.scan_options import ScanOptions
from moola.options.training_options import ExportOptions
from moola.provenance.learned_times import recorded_interval_s
from moola.scan.parts import least_prob
from moola.stages.export_onnx import (
    CLASS_OUTPUT,
    NEAR_OUTPUT,
    OHLC,
    PAIR_OUTPUT,
    TOLERANCE,
    checked_graph,
    checked_windows,
    export,
    facts,
    predicted,
)

N_TABLED = 1000
PRICES = ("open", "high", "low", "close")
# Where MetaTrader looks for each file, below its data folder.
INDICATOR, CHECK = Path("MQL5/Indicators/moola_events.mq5"), Path("MQL5/Scripts/moola_check.mq5")
MODEL, TABLE = Path("MQL5/Files/moola/model.onnx"), Path("MQL5/Files/moola/windows.csv")
# Lengths of bars that freqtrade has a name for.
TIMEFRAMES = {
    **{60 * n: f"{n}m" for n in (1, 3, 5, 15, 30)},
    **{3600 * n: f"{n}h" for n in (1, 2, 4, 6, 8, 12)},
    **{86_400: "1d", 3 * 86_400: "3d", 7 * 86_400: "1w"},
}
ANY_GAP_H = 0.0


def export_for(options: ExportOptions) -> dict[str, Any]:
    """Write a model for the platform that the options name.

    Raises
    ------
    WrongUsage
        An option of another format came with it, or the output's name does not fit.
    OperationFailed
        The extra `onnx` is missing, or the graph does not predict what the model predicts.
    """
    if options.format != "onnx" and options.input == "features":
        raise WrongUsage(
            f"--input features must come with --format onnx, but it is {options.format}. Leave --input out."
        )
    if options.format != "freqtrade" and options.events is not None:
        raise WrongUsage(f"--events must come with --format freqtrade, but it is {options.format}. Leave it out.")
    return {"onnx": export, "mt5": export_mt5, "freqtrade": export_freqtrade}[options.format](options)


def export_mt5(options: ExportOptions) -> dict[str, Any]:
    """Write the graph of prices, an indicator that loads it, and a check of it with a table of windows.

    Raises
    ------
    WrongUsage
        The output is a file, or the model predicts no pointers.
    OperationFailed
        The extra `onnx` is missing, or the graph does not predict what the model predicts.
    """
    if options.output.is_file() or options.output.suffix:
        raise WrongUsage(
            f"--output must be a folder for --format mt5, but it is {options.output}. Give a name without an ending."
        )
    model = _pointing(read_model(options.model), options)
    model, content, off = checked_graph(options.model, OHLC)
    header, table = expected_table(model)
    given = _described(options, replace(model, presence=model.live_presence)) | {
        "classes": [_mql_text(name) for name in model.class_names],
        "zone": trusted_zone(model),
        "max_overlap": ScanOptions.max_overlap,
        "max_gap_hours": f"{_max_gap_hours(model):g}",
        "model_path": _mql_path(MODEL),
        "table_path": _mql_path(TABLE),
        "n_windows": len(table),
        "n_columns": len(header),
        "tolerance": f"{TOLERANCE:.5f}",
    }
    written = {
        INDICATOR: _rendered("moola_events.mq5.j2", given).encode("utf-8-sig"),
        CHECK: _rendered("moola_check.mq5.j2", given).encode("utf-8-sig"),
        MODEL: content,
        TABLE: "".join(f"{line}\n" for line in [",".join(header), *table]).encode(),
    }
    for path, text in written.items():
        write_atomic(options.output / path, text)
    return {
        "output": str(options.output),
        "files": [str(options.output / path) for path in written],
        "size_bytes": sum(len(text) for text in written.values()),
        "n_windows": len(table),
        "largest_difference": off,
    } | facts(model, OHLC)


def expected_table(model: ModelFile) -> tuple[list[str], list[str]]:
    """Return the columns and lines of made windows with what `predict` gives for them.

    Prices are those of float32, written to the last digit and without exponents; bars are counted from 0.
    """
    n_bars = model.n_seen_bars
    ohlc = checked_windows(N_TABLED, n_bars, seed=5)
    expected = predicted(model, ohlc)
    header = [f"{kind}_{bar}" for bar in range(n_bars) for kind in PRICES]
    header += [f"{CLASS_OUTPUT}_{number}" for number in range(len(model.class_names))]
    header += [f"{end}_{what}" for what in (PAIR_OUTPUT, NEAR_OUTPUT) for end in ("start", "end")]
    lines = []
    for row, window in enumerate(ohlc.astype(np.float32)):
        outputs = [*expected[CLASS_OUTPUT][row], *expected[PAIR_OUTPUT][row], *expected[NEAR_OUTPUT][row]]
        cells = [np.format_float_positional(price, trim="-") for price in window.ravel()]
        lines.append(",".join([*cells, *(f"{value:.9f}" for value in outputs)]))
    return header, lines


def export_freqtrade(options: ExportOptions) -> dict[str, Any]:
    """Write a strategy that reads the events of a live scan.

    Raises
    ------
    WrongUsage
        The output is no .py file, no events are named or in another form than the strategy reads, the model predicts
        no pointers or cannot scan live, or its bars have a length that freqtrade does not know.
    """
    if options.output.suffix != ".py":
        raise WrongUsage(f"--output must end in .py for --format freqtrade, but it is {options.output}. Rename it.")
    if options.events is None or options.events.suffix not in (".jsonl", ".csv"):
        raise WrongUsage(
            "--events must name the .jsonl or .csv that scan --follow or --live writes, but "
            f"{'it is not given' if options.events is None else f'it is {options.events}'}. Name that file, which may "
            "not be there yet."
        )
    model = _pointing(read_model(options.model), options)
    if model.presence is not None and model.live_presence is None:
        raise WrongUsage(
            f"--format freqtrade must have a model that scans live, but {options.model} learned from spans without "
            "--live-presence. Train it with that, or without --spans."
        )
    seconds = recorded_interval_s(model.training)
    timeframe = TIMEFRAMES.get(round(seconds)) if seconds is not None else None
    if seconds is None or timeframe is None:
        found = "are not recorded" if seconds is None else f"of {seconds:g} s have no name there"
        raise WrongUsage(
            f"the model's bars must have a length that freqtrade knows, but those of {options.model} {found}. Train "
            f"on windows with times, of bars of {', '.join(TIMEFRAMES.values())}."
        )
    scan = command_line("moola", "scan", "--model", options.model, "--follow", "<bars>", "--output", options.events)
    given = _described(options, replace(model, presence=model.live_presence)) | {
        "classes": json.dumps(model.class_names, ensure_ascii=False),
        "events": json.dumps(str(options.events.absolute()), ensure_ascii=False),
        "bar_seconds": round(seconds),
        "timeframe": timeframe,
        "follow_command": scan.replace("\\", "\\\\").replace('"""', "'''"),
    }
    text = _rendered("moola_strategy.py.j2", given)
    # What a path or a class may hold must not have broken the source.
    ast.parse(text, str(options.output))
    write_atomic(options.output, text.encode())
    return {
        "output": str(options.output),
        "size_bytes": len(text.encode()),
        "events": str(options.events),
        "timeframe": timeframe,
        "class_names": list(model.class_names),
        "follow": scan,
    }


def _pointing(model: ModelFile, options: ExportOptions) -> ModelFile:
    if not model.network.predict_pointers:
        raise WrongUsage(
            f"--format {options.format} must have a model that predicts pointers, but {options.model} was trained "
            "without. Train one with --predict-pointers true."
        )
    return model


def _described(options: ExportOptions, model: ModelFile) -> dict[str, Any]:
    learned, seconds = model.training.get("time_range"), recorded_interval_s(model.training)
    bars = "bars of a length that it does not record" if seconds is None else f"bars of {seconds:g} s"
    return {
        "version": __version__,
        "sha256": sha256_file(options.model),
        "n_bars": model.n_seen_bars,
        "min_prob": f"{least_prob(model):.4g}",
        "hit_bars": HIT_BARS,
        "learned": f"{bars}{f' from {learned[0]} to {learned[1]}' if learned else ''}",
    }


def _max_gap_hours(model: ModelFile) -> float:
    """Return the longest gap of a window that a scan of such bars allows; none where their length is not known."""
    seconds = recorded_interval_s(model.training)
    if seconds is None:
        return ANY_GAP_H
    return allowed_gap_s(np.arange(model.window_bars) * round(seconds * 1e6), None) / 3600


def _mql_text(text: str) -> str:
    """Return text between quotes as MQL5 and C read it."""
    return json.dumps("".join(sign if sign.isprintable() else " " for sign in text), ensure_ascii=False)


def _mql_path(path: Path) -> str:
    """Return a path below MQL5/Files between the quotes of MQL5."""
    return "\\\\".join(path.parts[2:])


def _rendered(name: str, given: dict[str, Any]) -> str:
    environment = Environment(autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    text = resources.files("moola.stages.platforms").joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(text).render(given)
