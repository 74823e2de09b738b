"""The command that shows synthetic windows."""

from __future__ import annotations

from typing import Annotated

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.config.command_lines import window_bars_words
from moola.config.cpsa_options import CpsaPreviewOptions


def preview(*, options: Annotated[CpsaPreviewOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Draw synthetic windows beside their parents, and count the rejected.

    Trains nothing.

    Example: moola cpsa preview --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json --augmentations mirror warp --output artifacts/plots/cpsa.png
    """
    from moola.pipeline import augmenting
    from moola.plots import made_windows_plot

    result, pairs = augmenting.preview(options)

    made_windows_plot(
        options.output,
        pairs,
        "Training windows (left) and what was made of them (right). Violet: expansion; dashed: where the parent's was; "
        "grey: outside the inner zone",
    )
    screen = Screen(console)
    screen.say(
        f"{result['n_made']} synthetic windows made of {result['n_parents']} of {result['n_train']} training rows, "
        f"{result['n_rejected']} rejected."
    )
    screen.table(["made with", "windows"], [[name, str(count)] for name, count in result["made"].items()])
    screen.table(["rejected", "windows"], [[reason, str(count)] for reason, count in result["rejected"].items()])
    screen.say(f"{len(pairs)} of them beside their parents in {options.output}")
    words = ["moola", "train", "--data", options.data, "--split", options.split, "--augment-data", "true"]
    words += ["--augmentations", *options.augmentations]
    words += ["--bars", options.bars] if options.bars is not None else []
    screen.next_command(*words, *window_bars_words(options.window_bars))
    screen.result(result)
    return 0
