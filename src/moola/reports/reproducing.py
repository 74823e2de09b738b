"""The lines that make a run and its page again."""

from __future__ import annotations

import shlex
from typing import Any

from moola.config.command_lines import command_line as shell_line
from moola.config.report_options import ReportOptions
from moola.pipeline.reproducing import NEW_RUN, command_line, training_command

__all__ = ["command_line", "commands_of", "training_command"]


def commands_of(manifest: dict[str, Any], config: dict[str, Any], options: ReportOptions) -> list[str]:
    """Return the commands, in order; the training line names each option that is not at its default."""
    commands = []
    if manifest.get("git_commit"):
        commands.append(shlex.join(["git", "checkout", str(manifest["git_commit"])]))
    commands.append(training_command(config))
    for command in ("eval", "gate", "report"):
        words = ["moola", command, "--run", NEW_RUN, "--seed", str(options.seed)]
        if options.baseline is not None and command != "eval":
            words += ["--baseline", str(options.baseline)]
        commands.append(shell_line(*words))
    return commands
