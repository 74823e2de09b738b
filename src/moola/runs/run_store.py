"""The run store: one folder a run, complete when its manifest is there and every file is as recorded; and what a run
may be called."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from moola.errors import Interrupted, InvalidData, OperationFailed, UntrustedFile, WrongUsage
from moola.files import (
    SAFE_NAME,
    json_bytes,
    missing_folders,
    read_json,
    remove_empty,
    remove_leftovers,
    safe_name,
    same_place,
    sha256_bytes,
    sha256_file,
    write_atomic,
)
from moola.locks import alone, lock_beside

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


# What a run's manifest must say, and that every file is as recorded.


# What every manifest has.
ALWAYS = frozenset({"files", "finished_at", "git_commit", "machine", "run_id", "versions"})
OWN_HASH = "manifest_sha256"


def own_hash(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of all else in a manifest."""
    return sha256_bytes(json_bytes({key: value for key, value in manifest.items() if key != OWN_HASH}))


def check_files(folder: Path, manifest: dict[str, Any], hashed: Iterable[str]) -> None:
    """Check a manifest and every file that it lists.

    Parameters
    ----------
    hashed
        Names of files that must be listed where they are there.

    Raises
    ------
    UntrustedFile
        The manifest is not whole, of another run or altered; a file is missing, not listed or altered.
    """
    files = _files_of(folder, manifest)
    if unlisted := [name for name in hashed if name not in files and (folder / name).exists()]:
        raise _refuse(folder, "list the run's files", f"lacks {', '.join(unlisted)}")
    for name, expected in files.items():
        if not all(SAFE_NAME.fullmatch(part) for part in str(name).split("/")) or str(name).count("/") > 1:
            raise _refuse(folder, "name files of its own folder", f"names {str(name)[:100]!r}")
        path = folder / name
        if not path.is_file() or sha256_file(path) != expected:
            state = "differs from its SHA-256 in the manifest" if path.is_file() else "is missing"
            raise UntrustedFile(
                f"every file of run {folder.name} must be as the run left it, but {path} {state}. Train the run again."
            )


def _files_of(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise _refuse(folder, "list the run's files", "lists none")
    if lacking := sorted(ALWAYS - manifest.keys()):
        raise _refuse(folder, "be complete", f"lacks {', '.join(lacking)}")
    if manifest["run_id"] != folder.name:
        raise _refuse(folder, "be this run's", f"is of run {str(manifest['run_id'])[:100]!r}")
    # The first manifests of 0.1.0 have no hash of their own.
    if manifest.get(OWN_HASH, own := own_hash(manifest)) != own:
        raise _refuse(folder, "be as the run left it", "differs from its own SHA-256")
    return files


def _refuse(folder: Path, must: str, found: str) -> UntrustedFile:
    return UntrustedFile(f"{folder / 'manifest.json'} must {must}, but it {found}. Train the run again.")


MODEL = "model.pkl"
# The model that predicted val rows, where the one that is kept trained on them.
MODEL_BEFORE_REFIT = "model_before_refit.pkl"
PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
HISTORY = "history.jsonl"
CONFIG = "config.json"
FACTS = "training_facts.json"
# Figures of cheap references on the run's val and test rows.
REFERENCES = "references.json"
CHECKPOINT = "checkpoint.pt"
CHECKPOINTS = "checkpoint*.pt"
# Follows from the other files and may be written again, so the manifest does not hash it.
CARD = "model_card.md"
VERSIONED = ("moola", "torch", "numpy", "polars", "scipy")
HASHED = (CONFIG, FACTS, HISTORY, METRICS, MODEL, MODEL_BEFORE_REFIT, PREDICTIONS, REFERENCES)


@dataclass(frozen=True)
class Run:
    """A run's folder; `manifest` is None while the run is incomplete."""

    folder: Path
    manifest: dict[str, Any] | None

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def record(self) -> dict[str, Any]:
        """The manifest of a complete run."""
        if self.manifest is None:
            raise ValueError(f"run {self.run_id} is incomplete: it has no record")
        return self.manifest

    def path(self, name: str) -> Path:
        """Return the path of one of the run's files."""
        return self.folder / name

    def read(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files."""
        return read_json(self.path(name), f"{name} of run {self.run_id}", "Train the run again.")


def how_fitted(record: Mapping[str, Any]) -> str:
    """Describe how a run was fitted, by its manifest: the epoch that is kept, or the penalties of linear heads."""
    found = record.get("penalties")
    if found is None:
        return f"best epoch {record.get('best_epoch')} of {record.get('epochs_run')}"
    penalties = ", ".join(f"{name} {found[name]:g}" for name in ("start", "end", "class") if name in found)
    by = (
        "chosen over blocks of time" if found["by_blocks"] else "as usual, for there are no blocks of time to choose by"
    )
    return f"linear heads: penalties {penalties} {by}"


def chosen_by_val(record: Mapping[str, Any]) -> str:
    """Name what val rows chose for a run, by its manifest."""
    if record.get("penalties") is None:
        return "the epoch and the temperature"
    return "the pointer threshold" if "start" in record["penalties"] else "nothing"


def new_run_id(model: str, seed: int, options_digest: str) -> str:
    """Name a run after its time, model, seed and options."""
    now = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{now}-{model}-s{seed}-{options_digest[:8]}"


def create_run(root: Path, run_id: str) -> Run:
    """Make an empty run folder; a second run of the same second gets a number behind its name."""
    safe_name(run_id, "a run id")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            folder = root / (run_id if attempt == 1 else f"{run_id}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return Run(folder, None)
    except OSError as error:
        raise OperationFailed(
            f"runs must be kept under {root}, but it cannot be written ({error.strerror}). "
            "Free space or fix its permissions."
        ) from error
    raise OperationFailed(f"a run must have a free name, but 999 runs are called {run_id}. Wait a second.")


@contextlib.contextmanager
def opened(root: Path, kind: str, new_id: str, config: dict[str, Any], resume: str | None) -> Iterator[Run]:
    """Hold a run while it is worked on: a new one with its config, or an interrupted one that continues.

    Parameters
    ----------
    kind
        `run` or `cv`, for messages.
    config
        Written into a new run; its `digest` is of all that decides the result.
    resume
        Id or folder of the run to continue with; None begins `new_id`.

    Raises
    ------
    WrongUsage
        The run to continue with was started with another digest.
    OperationFailed
        It is complete, or another process works on it.
    Interrupted
        The block was stopped; names what continues with the run.
    """
    # A run that could not even keep its config leaves no folder.
    made = missing_folders(root)
    run = create_run(root, new_id) if resume is None else find_run(root, resume, complete=False)
    try:
        with alone(lock_beside(run.folder), f"work on {kind} {run.run_id}"):
            if resume is None:
                write_run_json(run, CONFIG, config)
            else:
                _require_same(run, kind, config["digest"])
                remove_leftovers(run.folder)
            log.info("%s %s", kind.capitalize(), run.folder)
            yield run
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Interrupted; what was finished is in {run.folder}.", go_on=("--resume", run.run_id)
        ) from stop
    finally:
        remove_empty((run.folder, *made))


def _require_same(run: Run, kind: str, key: str) -> None:
    # Checked again under the lock: its holder may have finished the run.
    if run.path(MANIFEST).is_file():
        raise OperationFailed(
            f"--resume must name an interrupted {kind}, but {run.run_id} is complete. Leave --resume out to start over."
        )
    if run.read(CONFIG).get("digest") != key:
        raise WrongUsage(
            f"--resume must continue with the options it was started with, but {run.run_id} was started with others "
            "(or other data). Give the same options."
        )


def find_run(root: Path, name: str | Path, complete: bool = True) -> Run:
    """Find a run by id, the beginning of one, `latest` or folder, and check its files against the manifest.

    Raises
    ------
    WrongUsage
        The name is no plain run id and no folder, or several runs begin so.
    OperationFailed
        There is no such run, or it is incomplete and `complete` is asked.
    UntrustedFile
        A file is missing or differs from its hash in the manifest, or the manifest from its own or from the folder.
    """
    given = safe_name(_name_under(root, Path(name)), "a run id")
    folder = root / full_name(given, (root,), complete)
    if folder.is_symlink():
        raise UntrustedFile(f"a run must be a folder of its own, but {folder} is a link to elsewhere. Copy it here.")
    if not folder.is_dir():
        raise OperationFailed(f"the run must exist, but there is no folder {folder}. See `moola runs list`.")
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        if complete:
            raise OperationFailed(
                f"the run must be complete, but {folder} has no {MANIFEST}: it was interrupted. "
                f"Continue with the same command and --resume {folder.name}."
            )
        return Run(folder, None)
    run = Run(folder, read_json(manifest_path, f"the manifest of {folder.name}", "Train the run again."))
    check_files(folder, run.record, HASHED)
    return run


def _name_under(root: Path, path: Path) -> str:
    """Return the run's name if the path is a bare id or lies right under the root; nothing else is looked at."""
    if path.parent == Path(".") or same_place(path.parent, root):
        return path.name
    raise WrongUsage(
        f"a run must be under {root}, but {str(path)[:200]!r} does not. Give its id, see `moola runs list`."
    )


def list_runs(root: Path) -> list[Run]:
    """Return the runs under a root, oldest first, with no check of their files."""
    if not root.is_dir():
        return []
    runs = []
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and RUN_ID.fullmatch(folder.name):
            runs.append(Run(folder, _manifest_of(folder)))
    return runs


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """Read a manifest; one that cannot be read is reported, and must not hide the other runs."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return read_json(path, "a manifest", "Train the run again.")
    except (InvalidData, OperationFailed) as error:
        log.warning("%s", error)
        return None


def newest_matching(root: Path, other_than: str = "", **wanted: Any) -> Run | None:
    """Return the newest complete run, other than one, whose manifest has these values."""
    for run in reversed(list_runs(root)):
        if run.run_id == other_than:
            continue
        if run.manifest is not None and all(run.record.get(key) == value for key, value in wanted.items()):
            return find_run(root, run.run_id)
    return None


def write_run_json(run: Run, name: str, content: Any) -> None:
    """Write one of the run's JSON files."""
    write_atomic(run.path(name), json_bytes(content))


def unchanged(manifest: Mapping[str, Any], config: Mapping[str, Any], name: str) -> Path | None:
    """Return the file that an option of a run names, where it is still what the run read."""
    path = Path(str(config.get(name)))
    return path if path.is_file() and sha256_file(path) == manifest.get(f"{name}_sha256") else None


def finish_run(run: Run, record: dict[str, Any]) -> Run:
    """Write the manifest, last, with every file's hash: the run is complete, and its checkpoint goes."""
    # Hidden files are what a killed write left behind.
    checkpoints = list(run.folder.glob(CHECKPOINTS))
    passing = {MANIFEST, CARD, *(path.name for path in checkpoints)}
    found = [path for path in run.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    names = sorted(name for path in found if (name := path.relative_to(run.folder).as_posix()) not in passing)
    manifest = record | {
        "run_id": run.run_id,
        "finished_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "files": {name: sha256_file(run.path(name)) for name in names},
        "versions": versions(),
        "machine": machine(),
        "git_commit": git_commit(),
    }
    manifest[OWN_HASH] = own_hash(manifest)
    write_run_json(run, MANIFEST, manifest)
    for path in checkpoints:
        path.unlink(missing_ok=True)
    return Run(run.folder, manifest)


def versions() -> dict[str, str]:
    """Return the versions of Python and of what computes."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Return what a reader needs of the machine, and nothing that names it."""
    return {"system": platform.system(), "processor": platform.machine(), "cpu_count": os.cpu_count()}


def git_commit() -> str | None:
    """Return the commit of the working folder, None where there is none."""
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
