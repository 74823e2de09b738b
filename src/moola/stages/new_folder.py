"""Stage `new`: a folder to work in, with settings that are explained and change nothing until they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moola.errors import OperationFailed, WrongUsage
from moola.files import write_atomic
from moola.options.option_sources import CONFIG_FILE

SETTINGS = """\
# Settings of moola for this folder: every command that is run here reads them.
#
# A key is the name of an option, with _ in place of -. At the top it holds for each command that has such an option,
# under [a command] for that one. What is typed goes first, then MOOLA_<OPTION> in the environment, then this file, then
# the default. A line that begins with # does nothing: take the sign away to set it. A key that no command has is an
# error.
#
# moola <command> --help-all lists every option.

# Random numbers: the same seed gives the same result on the same machine.
# seed = 17
# auto takes a GPU where there is one, else the CPU.
# device = "auto"
# CPU threads of a model; 0 takes one for each core.
# threads = 1

["bars import"]
# Zone of times that carry none.
# timezone = "Europe/Berlin"
# Of 03/04/2024, whether 3 is the day.
# day_first = true

[label]
# bars = "data/raw/bars.parquet"
# store = "data/labels.db"
# Your own classes; each names what you see, such as the state of the market before the move.
# classes = ["consolidation", "retracement"]

[train]
# data = "data/processed/labeled/windows.parquet"
# split = "data/splits/split.json"
# The encoder that comes with moola: few labels are then enough for heads on it.
# pretrained_encoder = "base"
# For live use: let the model see a window only to the end of its inner zone, so that it needs no bars behind an event.
# visible_bars = 75

[gate]
# Smallest gain in Brier score that is worth another model.
# min_gain = 0.01

[scan]
# A model file, the id of a run or the beginning of it, or latest.
# model = "latest"
# Bars from one window to the next: fewer are slower, and let more windows see each event.
# stride = 5
# Least probability of an event.
# min_prob = 0.2
# With --follow, a program of yours that gets each event as a JSON line on its stdin.
# on_event = "python3 notify.py"
"""


def new_folder(folder: Path) -> dict[str, Any]:
    """Make a folder with a `moola.toml` of comments.

    Raises
    ------
    WrongUsage
        It has a `moola.toml` already, or is no folder; nothing was changed.
    OperationFailed
        It cannot be written.
    """
    settings = folder / CONFIG_FILE
    if settings.exists() or settings.is_symlink():
        raise WrongUsage(
            f"new must make a folder, but {settings} is there already. Name another one, or edit that file."
        )
    if folder.exists() and not folder.is_dir():
        raise WrongUsage(f"new must make a folder, but {folder} is a file. Name another one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationFailed(f"{folder} must be writable, but {error.strerror}. Choose another place.") from error
    write_atomic(settings, SETTINGS.encode())
    return {"folder": str(folder), "settings": str(settings)}
