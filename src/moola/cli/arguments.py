"""Command lines made uniform: `--x true`, `--x=true`, `--x`, `--x false` and `--no-x` all work."""

from __future__ import annotations

from typing import Any

from moola.config.sources import boolean_options, file_settings

WORDS = {"true", "false", "yes", "no", "1", "0"}


def join_booleans(arguments: list[str]) -> list[str]:
    """Join a boolean option and its value to `--x=value`; everything else stays as it is."""
    flags = boolean_options()
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument not in flags:
            joined.append(argument)
            continue
        following = next(rest, None)
        if following is not None and following.lower() in WORDS:
            joined.append(f"{argument}={following.lower()}")
            continue
        joined.append(argument)
        if following is not None:
            # The next one may be a flag itself.
            joined += join_booleans([following, *rest])
    return joined


def from_file(app: Any, commands: tuple[str, ...], arguments: Any) -> None:
    """Fill options that neither the command line nor the environment gave from `moola.toml`."""
    from cyclopts.config import Dict

    settings = file_settings(" ".join(commands))
    if settings:
        Dict(settings, source="moola.toml", use_commands_as_keys=False)(app, commands, arguments)
