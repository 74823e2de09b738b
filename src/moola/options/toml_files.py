"""TOML that a person wrote: read whole, in UTF-8 with or without its mark, or refused in a sentence."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

from moola.errors import WrongUsage

# Looked at before a byte is read; what a person writes has some kilobytes.
MAX_BYTES = 1 << 20


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a TOML file; `what` names it to the user.

    Raises
    ------
    WrongUsage
        It cannot be read, is no file, larger than 1 MiB, not in UTF-8, or no TOML.
    """
    try:
        return tomllib.loads(read_text(path, what))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise WrongUsage(f"{what} must be TOML, but it is not ({error}). Fix it or remove it.") from error


def read_text(path: Path, what: str) -> str:
    """Return the text of such a file, which may be no TOML yet."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is a folder or a device, and no file")
        if found.st_size > MAX_BYTES:
            raise OSError(f"it has {found.st_size:,} bytes, and at most {MAX_BYTES:,} are read")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise WrongUsage(f"{what} must be a TOML file, but {error.strerror or error}. Fix it or remove it.") from error
    except UnicodeDecodeError as error:
        raise WrongUsage(
            f"{what} must be text in UTF-8, but byte {error.start + 1} is not. Save it again in UTF-8."
        ) from error
