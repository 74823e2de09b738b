"""What a run may be called: its id, `latest`, or the beginning of its id."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from moola.errors import OperationFailed, WrongUsage

LATEST = "latest"
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9_]+-s\d+-[0-9a-f]{8}(-\d+)?")
MANIFEST = "manifest.json"
MOST_LISTED = 10
log = logging.getLogger(__name__)


def full_name(name: str, roots: Sequence[Path], complete: bool = True) -> str:
    """Return the id that a bare name means, and report which one was taken where it is not the name itself.

    Parameters
    ----------
    name
        An id, the beginning of one, or `latest`: the newest complete run of the first root, or, where runs to continue
        are meant, the newest incomplete one.
    roots
        Folders of runs that the beginning of an id is looked for in.
    complete
        Whether a complete run is meant, or one to continue.

    Raises
    ------
    WrongUsage
        Several runs begin so; lists them.
    OperationFailed
        There is no latest one. A name that nothing begins with is given back, for the reader of the run to refuse.
    """
    if not name or "/" in name or any((root / name).exists() for root in roots):
        return name
    if name == LATEST:
        found = [one.name for one in _folders(roots[0]) if (one / MANIFEST).is_file() == complete]
        if not found:
            kind = "complete" if complete else "interrupted"
            raise OperationFailed(
                f"{LATEST} must mean a run, but there is no {kind} one under {roots[0]}. See `moola runs list`."
            )
        log.info("%s is %s.", LATEST, found[-1])
        return found[-1]
    beginning = sorted(one.name for root in roots for one in _folders(root) if one.name.startswith(name))
    if len(beginning) > 1:
        more = f" and {len(beginning) - MOST_LISTED} more" if len(beginning) > MOST_LISTED else ""
        raise WrongUsage(
            f"the beginning of a run's id must fit one run, but {name!r} fits {len(beginning)}: "
            f"{', '.join(beginning[:MOST_LISTED])}{more}. Give more of it."
        )
    if beginning:
        log.info("%s is %s.", name, beginning[0])
        return beginning[0]
    return name


def _folders(root: Path) -> list[Path]:
    """Return the folders of a root that are runs by their names, oldest first."""
    if not root.is_dir():
        return []
    return sorted(one for one in root.iterdir() if one.is_dir() and not one.is_symlink() and RUN_ID.fullmatch(one.name))
