#!/usr/bin/env python3
"""Write the bill of materials of a release: what the base install brings along, as CycloneDX 1.6 in JSON.

Usage: python scripts/supply/sbom.py [OUTPUT]   default dist/moola-<version>.cdx.json

Names, versions and hashes are those of requirements-locked.txt, licences those that the installed packages state.
The same tree gives the same bytes: no time, no serial number.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import moola
from moola.files import json_bytes, write_atomic

ROOT = Path(__file__).resolve().parents[2]
LOCKED_LINE = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$")
PREFIX = "License :: OSI Approved :: "


@dataclass(frozen=True)
class Vendored:
    """A file of another's that lies in the source, the package it is from, and where its notice and licence stand."""

    path: str
    name: str
    version: str
    purl: str
    licence: str
    notice: str
    licence_text: str


STATIC = "src/moola/label/static/vendor"
BARS = "src/moola/tables/sample_bars"
VENDORED = (
    Vendored(
        f"{STATIC}/lightweight-charts.standalone.production.mjs",
        "lightweight-charts",
        "5.2.1",
        "pkg:npm/lightweight-charts@5.2.1",
        "Apache-2.0",
        f"{STATIC}/NOTICE.txt",
        f"{STATIC}/LICENSE.lightweight-charts.txt",
    ),
    Vendored(
        f"{BARS}/eurusd_1h_2017.parquet",
        "gym-anytrading",
        "2.0.0",
        "pkg:pypi/gym-anytrading@2.0.0",
        "MIT",
        f"{BARS}/NOTICE.txt",
        f"{BARS}/NOTICE.txt",
    ),
    Vendored(
        f"{BARS}/eurusd_1h_2007_2018.parquet",
        "QuantConnect/Lean",
        "master",
        "pkg:github/QuantConnect/Lean@master",
        "Apache-2.0",
        f"{BARS}/eurusd_1h_2007_2018.NOTICE.txt",
        f"{BARS}/LICENSE.eurusd_1h_2007_2018.txt",
    ),
)


def locked() -> list[tuple[str, str, str]]:
    """Return name, version and SHA-256 of every locked wheel."""
    lines = (ROOT / "requirements-locked.txt").read_text().splitlines()
    return [match.groups() for line in lines if (match := LOCKED_LINE.match(line))]  # type: ignore[misc]


def bill() -> dict[str, Any]:
    """Return the whole bill."""
    wheels = locked()
    refs = {canonicalize_name(name): _purl(name, version) for name, version, _ in wheels}
    own = {"type": "application", "bom-ref": "moola", "name": "moola", "version": moola.__version__}
    own |= {"licenses": [{"license": {"id": "Apache-2.0"}}]}
    vendored = [_vendored(file) for file in VENDORED]
    first = sorted({*_needed("moola", refs), *(part["bom-ref"] for part in vendored)})
    graph = [{"ref": "moola", "dependsOn": first}]
    graph += [{"ref": refs[name], "dependsOn": _needed(name, refs)} for name in sorted(refs)]
    graph += [{"ref": part["bom-ref"], "dependsOn": []} for part in vendored]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own, "tools": {"components": [{"type": "application", "name": "moola sbom.py"}]}},
        "components": [_wheel(*wheel) for wheel in wheels] + vendored,
        "dependencies": graph,
    }


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{canonicalize_name(name)}@{version.replace('+', '%2B')}"


def _wheel(name: str, version: str, digest: str) -> dict[str, Any]:
    part = {"type": "library", "bom-ref": _purl(name, version), "name": name, "version": version}
    part |= {"purl": _purl(name, version), "hashes": [{"alg": "SHA-256", "content": digest}]}
    return part | {"licenses": _licences(name, version)}


def _licences(name: str, version: str) -> list[dict[str, Any]]:
    """Return what a package states: an SPDX expression, else its classifiers, else the first line of its text.

    Raises
    ------
    SystemExit
        The package is not installed, or in another version, whose licence may be another.
    """
    stated = next((one.metadata for one in metadata.distributions(name=name)), None)
    found = "none" if stated is None else stated["Version"]
    # torch of another build (+cpu, +cu128) is the same source.
    if stated is None or found.partition("+")[0] != version.partition("+")[0]:
        raise SystemExit(f"{name} {version} must be installed to tell its licence, but {found} is. Run `make setup`.")
    if expression := stated.get("License-Expression"):
        return [{"expression": expression}]
    classes = [line.removeprefix(PREFIX) for line in stated.get_all("Classifier") or [] if line.startswith(PREFIX)]
    text = (stated.get("License") or "").strip().splitlines()
    return [{"license": {"name": one}} for one in classes or text[:1]]


def _vendored(file: Vendored) -> dict[str, Any]:
    digest = hashlib.sha256((ROOT / file.path).read_bytes()).hexdigest()
    part: dict[str, Any] = {"type": "file", "bom-ref": f"file:{file.path}", "name": file.name, "version": file.version}
    part |= {"purl": file.purl, "hashes": [{"alg": "SHA-256", "content": digest}]}
    return part | {
        "licenses": [{"license": {"id": file.licence}}],
        "evidence": {"occurrences": [{"location": file.path}]},
    }


def _needed(name: str, refs: dict[str, str]) -> list[str]:
    """Return what a package needs here of what is locked."""
    wanted = [Requirement(line) for line in metadata.requires(name) or []]
    names = [canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return sorted({refs[name] for name in names if name in refs})


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / f"dist/moola-{moola.__version__}.cdx.json"
    write_atomic(output, json_bytes(bill()))
    print(output)
