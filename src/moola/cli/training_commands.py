"""Commands that learn, predict, tune, benchmark and export."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, EpochProgress, FitProgress, Flat, Screen, TrialProgress
from moola.errors import Interrupted
from moola.locks import alone, lock_beside
from moola.options.option_sources import CONFIG_FILE, command_line, command_words, window_bars_words
from moola.options.study_options import BenchmarkOptions, TuneOptions
from moola.options.training_options import (
    ExportOptions,
    PredictOptions,
    PretrainOptions,
    PretrainTs2VecOptions,
    TrainOptions,
)


def pretrain_bilstm(*, options: Annotated[PretrainOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Pretrain an encoder on bars without labels.

    Example: moola pretrain-bilstm --input data/processed/unlabeled/windows.parquet
    --split data/splits/fwd_chain_v3.json --output artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt
    """
    return _pretrain(options, Screen(console))


def pretrain_ts2vec(*, options: Annotated[PretrainTs2VecOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Pretrain an encoder by contrastive learning (TS2Vec).

    Example: moola pretrain-ts2vec --input data/processed/unlabeled/windows.parquet
    --split data/splits/fwd_chain_v3.json --output artifacts/encoders/pretrained/ts2vec_11d_v1.pt
    """
    return _pretrain(options.as_pretraining(), Screen(console))


def _pretrain(options: PretrainOptions, screen: Screen) -> int:
    from moola.fit.process_group import run_together
    from moola.stages import pretrain

    checkpoint = pretrain.checkpoint_of(options.output)
    try:
        with EpochProgress("pretrain", options.epochs) as progress:
            result, team = run_together(pretrain.pretrain, pretrain.check_inputs, options, progress)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Interrupted; finished epochs are in {checkpoint}.", go_on=("--resume",)) from stop
    if not team.leads:
        return 0
    if result["n_held_out"]:
        screen.write(f"Left out {result['n_held_out']} of {result['n_windows']} windows: {result['held_out_reason']}.")
    by_arm = "".join(f"; {name} {loss:.3f}" for name, loss in result["val_loss_by_arm"].items())
    screen.write(
        f"Trained on {result['n_train_windows']} windows, validated on {result['n_val_windows']} later ones: "
        f"loss {result['val_loss']:.3f} at epoch {result['best_epoch']} of {result['epochs_run']} "
        f"(1.0 = uninformed baseline{by_arm}), {result['seconds']:.0f} s on {result['device']}."
    )
    screen.write(f"Encoder in {result['output']}")
    words = ("moola", "train", "--data", "<windows>", "--split", "<split>", "--pretrained-encoder")
    screen.next_command(*words, options.output, *window_bars_words(options.window_bars))
    screen.result(result)
    return 0


def train(*, options: Annotated[TrainOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Train on labelled windows, calibrate, and keep the run.

    The last line on stdout is the run's id.

    Example: moola train --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json
    """
    from moola.runs import run_store
    from moola.stages import train

    with EpochProgress("train", options.epochs) as progress:
        result = train.train(options, progress)
    screen = Screen(console)
    proof = result["encoder"]
    moved = (
        "equal before and after" if proof["frozen"] else f"{proof['digest_before'][:8]} -> {proof['digest_after'][:8]}"
    )
    screen.write(f"Encoder {'frozen' if proof['frozen'] else 'trained'}: digest {moved}.")
    if options.visible_bars is not None:
        screen.write(f"The network sees the first {options.visible_bars} of {options.window_bars} bars.")
    counts = result["n_windows"]
    how = run_store.how_fitted(result)
    how = f"{how[:1].upper()}{how[1:]}"
    screen.write(
        f"{how} on {counts['train']} train and {counts['val']} val windows, "
        f"temperature {result['temperature']:.2f}, {result['seconds']:.0f} s on {result['device']}."
    )
    if "val" in result["trained_on"]:
        screen.write(
            "Then retrained on train and val rows together: that model is kept and evaluated on test rows. Val metrics "
            "are of the model before."
        )
    elif not counts["test"]:
        screen.write(
            "There is no test part, so the kept model is trained on train rows alone and evaluated on val rows, which "
            f"also selected {run_store.chosen_by_val(result)}."
        )
    if result["labelled_by"]:
        screen.write(f"Labels by {', '.join(result['labelled_by'])}.")
    if result["run_id"]:
        screen.next_command("moola", "eval", "--run", result["run"])
        screen.write(result["run_id"])
    screen.result(result)
    return 0


def predict(*, options: Annotated[PredictOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Predict class and pointers of windows with a model file.

    Example: moola predict --model artifacts/models/supervised/enhanced_baseline_v2_relative.pt
    --data data/processed/unlabeled/windows.parquet --output predictions.parquet
    """
    from moola.fit import predicting
    from moola.provenance.learned_times import seen_sentence

    result = predicting.predict(options)
    screen = Screen(console)
    names = ", ".join(f"{count} {name}" for name, count in result["predicted"].items())
    screen.write(f"{result['n_windows']} windows predicted ({names}) in {result['output']}")
    if seen := seen_sentence(result["n_learned"], f"{result['n_windows']} windows", result["learned_time_range"]):
        screen.write(seen)
    screen.result(result)
    return 0


# Command that chooses options of train: tune.


def tune(*, options: Annotated[TuneOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Tune options of train on purged folds inside the train rows.

    Val and test rows are never used. The defaults stay unless the best trial
    beats them. An option given here is fixed. Needs the extra "moola[tune]".

    Example: moola tune --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json --trials 30
    """
    from moola.stages import tune

    try:
        with TrialProgress(options.trials, options.metric) as progress:
            result = tune.tune(options, progress)
    except KeyboardInterrupt as stop:
        where = options.study or "the newest file of artifacts/tuning"
        raise Interrupted(f"Interrupted; finished trials are in {where}.", go_on=()) from stop
    screen = Screen(console)
    _show(screen, result)
    if result["backup"]:
        screen.write(f"What {result['output']} was is in {result['backup']}")
    screen.write(f"Settings in {result['output']}, study in {result['study']}")
    where = "" if options.output == CONFIG_FILE else f" (with {options.output} as {CONFIG_FILE}, which train reads)"
    held = command_words({name: value for name, value in result["held"].items() if name not in result["chosen"]})
    screen.next_step(command_line("moola", "train", "--data", options.data, "--split", options.split, *held) + where)
    screen.result(result)
    return 0


def _show(screen: Screen, result: dict[str, Any]) -> None:
    folds = ", ".join(f"{fold['train']}/{fold['val']}/{fold['test']}" for fold in result["folds"])
    states = ", ".join(f"{count} {state}" for state, count in result["trials"].items())
    screen.write(
        f"{result['n_trials']} trials ({states}) on {len(result['folds'])} inner folds of the train rows "
        f"(train/val/test windows: {folds}), {result['seconds']:.0f} s"
    )
    for note in result["notes"]:
        screen.write(f"  NOTE: {note}.")
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
    screen.write(result["sentence"])


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


# The command that compares models on one benchmark.


WIDEST = 400


def benchmark(
    *, options: Annotated[BenchmarkOptions, Flat] = BenchmarkOptions(), console: Console = ConsoleOptions()
) -> int:
    """Compare references, peers and networks on few labels or spans.

    Example: moola benchmark --train train.parquet --test test.parquet --models summary_trees scratch
    """
    from moola.stages import benchmark, benchmark_spans

    work = benchmark.benchmark if options.spans is None else benchmark_spans.benchmark_spans
    try:
        with (
            alone(lock_beside(options.output), f"benchmark into {options.output}"),
            FitProgress("benchmark") as progress,
        ):
            result = work(options, progress)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Interrupted; finished fits and encoders are in {options.output}.", go_on=()) from stop
    screen = Screen(console)
    screen.write(f"{benchmark.introduction(result)}; {result['n_fits']} fits, {result['seconds']:.0f} s")
    screen.write(_table(*benchmark.standing_rows(result)))
    if result["differences"]:
        screen.write("Paired differences; in brackets, in how many draws the model is better:")
        screen.write(_table(*benchmark.difference_rows(result)))
    for note in benchmark.notes(result):
        screen.write(f"  {note}")
    screen.write(f"Tables in {Path(result['output']) / benchmark.RESULT} and {benchmark.PAGE} beside it")
    screen.result(result)
    return 0


def _table(header: list[str], rows: list[list[str]]) -> str:
    """Draw a table as wide as it needs to be: a figure that is folded in two cannot be read."""
    from rich import box
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    drawn = io.StringIO()
    RichConsole(file=drawn, width=WIDEST, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines() if line.strip())


# The command that writes a model for other platforms.


def export(*, options: Annotated[ExportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Export a model to ONNX, MetaTrader 5 or freqtrade.

    Calibrated probabilities come out; the graph's metadata says all else. Needs the extra: pip install "moola[onnx]"
    (freqtrade needs none).

    Example: moola export --model artifacts/models/supervised/enhanced_baseline_v2_relative.pt --input ohlc
    --output model.onnx
    """
    from moola.stages import export_platforms

    result = export_platforms.export_for(options)
    screen = Screen(console)
    {"onnx": _show_graph, "mt5": _show_mt5, "freqtrade": _show_freqtrade}[options.format](screen, result)
    screen.result(result)
    return 0


def _show_graph(screen: Screen, result: dict[str, Any]) -> None:
    [(name, shape)] = result["input"].items()
    sizes = ", ".join(str(size) for size in shape)
    *others, last = result["outputs"]
    names = f"{', '.join(others)} and {last}" if others else last
    screen.write(
        f"{result['output']} ({result['size_bytes'] / 1e3:.0f} kB): {name} [{sizes}] in, {names} out; classes "
        f"{', '.join(result['class_names'])}."
    )
    off = result["largest_difference"]
    if off is None:
        screen.write("Not compared with the model: onnxruntime is not installed.")
    else:
        screen.write(f"In onnxruntime its probabilities are those of the model to {off:.1g}.")


def _show_mt5(screen: Screen, result: dict[str, Any]) -> None:
    _show_graph(screen, result)
    screen.write(f"{len(result['files'])} files for MetaTrader 5:")
    for path in result["files"]:
        screen.write(f"  {path}")
    screen.next_step(
        f"copy {result['output']}/MQL5 over the MQL5 of File > Open Data Folder, compile both sources in MetaEditor, "
        f"run the script moola_check ({result['n_windows']} windows; it prints PASSED), put moola_events on a chart."
    )


def _show_freqtrade(screen: Screen, result: dict[str, Any]) -> None:
    screen.write(
        f"Strategy MoolaEvents in {result['output']}: candles of {result['timeframe']}, events of {result['events']} "
        f"from the candle on at whose close each was known; classes {', '.join(result['class_names'])}."
    )
    screen.next_step(result["follow"])
