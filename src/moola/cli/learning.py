"""Commands that learn and predict."""

from __future__ import annotations

from typing import Annotated

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.cli.progress import EpochProgress
from moola.config.command_lines import window_bars_words
from moola.config.predict_options import PredictOptions
from moola.config.pretrain_options import PretrainOptions, PretrainTs2VecOptions
from moola.config.train_options import TrainOptions
from moola.errors import Interrupted


def pretrain_bilstm(*, options: Annotated[PretrainOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Pretrain an encoder on bars without labels: hidden bars, structure, moves.

    Structure is that around each bar; moves are those of random definitions.

    Example: moola pretrain-bilstm --input data/processed/unlabeled/windows.parquet
    --split data/splits/fwd_chain_v3.json --output artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt
    """
    return _pretrain(options, Screen(console))


def pretrain_ts2vec(*, options: Annotated[PretrainTs2VecOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Pretrain an encoder by contrast of two crops (TS2Vec with soft weights).

    Example: moola pretrain-ts2vec --input data/processed/unlabeled/windows.parquet
    --split data/splits/fwd_chain_v3.json --output artifacts/encoders/pretrained/ts2vec_11d_v1.pt
    """
    return _pretrain(options.as_pretraining(), Screen(console))


def _pretrain(options: PretrainOptions, screen: Screen) -> int:
    from moola.pipeline import pretraining
    from moola.pipeline.engines.teams import run_together

    checkpoint = pretraining.checkpoint_of(options.output)
    try:
        with EpochProgress("pretrain", options.epochs) as progress:
            result, team = run_together(pretraining.pretrain, pretraining.look, options, checkpoint, progress)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Interrupted; finished epochs are in {checkpoint}.", go_on=("--resume",)) from stop
    if not team.leads:
        return 0
    if result["n_held_out"]:
        screen.say(f"Left out {result['n_held_out']} of {result['n_windows']} windows: {result['held_out_reason']}.")
    by_arm = "".join(f"; {name} {loss:.3f}" for name, loss in result["val_loss_by_arm"].items())
    screen.say(
        f"Trained on {result['n_train_windows']} windows, validated on {result['n_val_windows']} later ones: "
        f"loss {result['val_loss']:.3f} at epoch {result['best_epoch']} of {result['epochs_run']} "
        f"(1 is what knowing nothing gets{by_arm}), {result['seconds']:.0f} s on {result['device']}."
    )
    screen.say(f"Encoder in {result['output']}")
    words = ("moola", "train", "--data", "<windows>", "--split", "<split>", "--pretrained-encoder")
    screen.next_command(*words, options.output, *window_bars_words(options.window_bars))
    screen.result(result)
    return 0


def train(*, options: Annotated[TrainOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Fine-tune on labelled windows, calibrate, and keep the run.

    The last line on stdout is the run's id.

    Example: moola train --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json
    """
    from moola.pipeline import training

    with EpochProgress("train", options.epochs) as progress:
        result = training.train(options, progress)
    screen = Screen(console)
    proof = result["encoder"]
    moved = (
        "equal before and after" if proof["frozen"] else f"{proof['digest_before'][:8]} -> {proof['digest_after'][:8]}"
    )
    screen.say(f"Encoder {'frozen' if proof['frozen'] else 'trained'}: digest {moved}.")
    if options.visible_bars is not None:
        screen.say(f"The network sees the first {options.visible_bars} of {options.window_bars} bars.")
    counts = result["n_windows"]
    screen.say(
        f"Best epoch {result['best_epoch']} of {result['epochs_run']} on {counts['train']} train and "
        f"{counts['val']} val windows, temperature {result['temperature']:.2f}, "
        f"{result['seconds']:.0f} s on {result['device']}."
    )
    if "val" in result["trained_on"]:
        screen.say(
            "Then trained anew on train and val rows together: that model is kept, and test rows judge it. Val figures "
            "are of the model before."
        )
    elif not counts["test"]:
        screen.say(
            "There is no test part, so the kept model trained on train rows alone: val rows, which chose its epoch and "
            "temperature, judge it."
        )
    if result["labelled_by"]:
        screen.say(f"Labels by {', '.join(result['labelled_by'])}.")
    if result["run_id"]:
        screen.next_command("moola", "eval", "--run", result["run"])
        screen.say(result["run_id"])
    screen.result(result)
    return 0


def predict(*, options: Annotated[PredictOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Predict class and pointers of windows with a model file.

    Example: moola predict --model artifacts/models/supervised/enhanced_baseline_v2_relative.pt
    --data data/processed/unlabeled/windows.parquet --output predictions.parquet
    """
    from moola.pipeline import predicting
    from moola.pipeline.seen import seen_sentence

    result = predicting.predict(options)
    screen = Screen(console)
    said = ", ".join(f"{count} {name}" for name, count in result["predicted"].items())
    screen.say(f"{result['n_windows']} windows predicted ({said}) in {result['output']}")
    if seen := seen_sentence(result["n_learned"], f"{result['n_windows']} windows", result["learned_time_range"]):
        screen.say(seen)
    screen.result(result)
    return 0
