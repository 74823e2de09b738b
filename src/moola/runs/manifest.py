"""What a run's manifest must say, and that every file is as it says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moola.errors import UntrustedFile
from moola.files import SAFE_NAME, json_bytes, sha256_bytes, sha256_file

# What every manifest has.
ALWAYS = frozenset({"files", "finished_at", "git_commit", "machine", "run_id", "versions"})
OWN_HASH = "manifest_sha256"


def own_hash(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of all else that a manifest says."""
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
                f"every file of run {folder.name} must be as the run left it, but {path} {state}. Train the run anew."
            )


def _files_of(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise _refuse(folder, "list the run's files", "lists none")
    if lacking := sorted(ALWAYS - manifest.keys()):
        raise _refuse(folder, "be whole", f"lacks {', '.join(lacking)}")
    if manifest["run_id"] != folder.name:
        raise _refuse(folder, "be this run's", f"is of run {str(manifest['run_id'])[:100]!r}")
    # The first manifests of 0.1.0 have no hash of their own.
    if manifest.get(OWN_HASH, own := own_hash(manifest)) != own:
        raise _refuse(folder, "be as the run left it", "differs from its own SHA-256")
    return files


def _refuse(folder: Path, must: str, found: str) -> UntrustedFile:
    return UntrustedFile(f"{folder / 'manifest.json'} must {must}, but it {found}. Train the run anew.")
