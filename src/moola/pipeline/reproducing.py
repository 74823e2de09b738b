"""The command lines that make a run again, from the options it kept."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from moola.config.command_lines import command_line as shell_line
from moola.config.train_options import TrainOptions

# What `train` found out for itself, and what does not change the model.
FOUND_OR_IDLE = ("resume", "save_run", "input_dim")
NEW_RUN = "<RUN_ID>"


def training_command(config: dict[str, Any]) -> str:
    """Write the `moola train` line of a run's options."""
    return command_line("train", TrainOptions, config)


def command_line(command: str, options: type, config: dict[str, Any]) -> str:
    """Write the line of a command whose options a config has, naming each that is not at its default."""
    words: list[Any] = ["moola", command]
    for field in fields(options):
        value = config.get(field.name)
        default = None if field.default is MISSING else field.default
        plain_default = list(default) if isinstance(default, tuple) else default
        if field.name in FOUND_OR_IDLE or value is None or value == plain_default:
            continue
        words.append(f"--{field.name.replace('_', '-')}")
        words += value if isinstance(value, list) else [value]
    return shell_line(*words)
