"""Command lines that a reader copies: quoted for the shell, with the options that the next command needs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

# What a reader fills in, such as <RUN_ID> or <windows or bars>; a path may hold these signs, but no path begins and
# ends with them and has plain words between.
PLACEHOLDER = re.compile(r"<[A-Za-z0-9_. -]+>")


def command_line(*words: Any) -> str:
    """Join words to a line for the shell: each quoted where it must be, `<what a reader fills in>` left readable."""
    return " ".join(_word(word) for word in words)


def _word(word: Any) -> str:
    text = str(word).lower() if isinstance(word, bool) else str(word)
    # A path is always one that exists or will.
    is_placeholder = not isinstance(word, Path) and PLACEHOLDER.fullmatch(text)
    return text if is_placeholder else shlex.quote(text)


def command_words(options: dict[str, Any]) -> list[Any]:
    """Return options and their values as words; a list gives a word an entry."""
    words: list[Any] = []
    for name, value in options.items():
        words += [f"--{name.strip('_').replace('_', '-')}", *(value if isinstance(value, list | tuple) else [value])]
    return words


def window_bars_words(window_bars: int | None) -> tuple[str, ...]:
    """Return the option that a following command needs for windows of another length than the default."""
    # `moola --help` needs no numbers, and reads this file.
    from moola.core.windows import WINDOW_BARS

    return () if window_bars in (None, WINDOW_BARS) else ("--window-bars", str(window_bars))
