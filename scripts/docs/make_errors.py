#!/usr/bin/env python3
"""Write docs/errors.md from the error family, so that the page cannot drift."""

from __future__ import annotations

import inspect
from pathlib import Path

from moola import errors
from moola.errors import MoolaError
from moola.files import write_atomic

PAGE = Path(__file__).resolve().parents[2] / "docs/errors.md"
HEAD = """# Errors and exit codes

A message says what must hold, what was found with a count, where, and one thing to do:
`<what must hold>, but <what was found> (<file, column, first row>). <one next step>.` There is no traceback
without `--debug`; with `--json` the message and the code are one object on stdout. A command that fails changes
nothing that stood before. Which fault ends in which message: [faults](faults.md). Kills and stops: [crash](crash.md).

## Exit codes

| code | means |
|---:|---|
| 0 | done |
| 1 | the operation failed: missing file, full disk, no such device; or a fault of moola itself |
| 2 | wrong usage: options that do not exist or do not go together; nothing was written |
| 3 | the input data breaks its contract, or `leakcheck` found a leak |
| 4 | the gate did not say promote |
| 5 | a file is corrupt, foreign or untrusted; nothing of it was used |
| 130 | interrupted by Ctrl-C; what continues is printed |
| 143 | ended by SIGTERM; as 130 |

## The family

In `src/moola/errors.py`; Python callers catch `MoolaError`.

| error | under | exit code | when |
|---|---|---:|---|
"""


def page() -> str:
    """Return the whole page."""
    family = [getattr(errors, name) for name in errors.__all__]
    rows = []
    for kind in family:
        if issubclass(kind, MoolaError):
            said = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
            rows.append(f"| `{kind.__name__}` | `{kind.__mro__[1].__name__}` | {kind.exit_code} | {said} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    write_atomic(PAGE, page().encode())
    print(f"{PAGE.name} written")
