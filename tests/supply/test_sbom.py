"""The bill of materials names everything that a user gets, and is the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import moola
from tests.supply.conftest import ROOT


@pytest.fixture(scope="module")
def bill(sbom) -> dict:
    return sbom.bill()


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path):
    written = []
    for name in ("one.json", "two.json"):
        command = [sys.executable, str(ROOT / "scripts/supply/sbom.py"), str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    told = json.loads(written[0])
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    assert told["metadata"]["component"]["version"] == moola.__version__


def test_every_locked_wheel_is_named_with_version_licence_and_hash(sbom, bill):
    found = {part["name"]: part for part in bill["components"] if part["type"] == "library"}
    assert len(found) == len(sbom.locked())
    for name, version, digest in sbom.locked():
        assert found[name]["version"] == version
        assert found[name]["hashes"] == [{"alg": "SHA-256", "content": digest}]
        assert found[name]["licenses"], name


def test_every_vendored_file_is_named_with_version_licence_and_hash(sbom, bill):
    found = {part["bom-ref"].removeprefix("file:"): part for part in bill["components"] if part["type"] == "file"}
    assert set(found) == {file.path for file in sbom.VENDORED}
    for file in sbom.VENDORED:
        part = found[file.path]
        assert (part["name"], part["version"]) == (file.name, file.version)
        digest = hashlib.sha256((ROOT / file.path).read_bytes()).hexdigest()
        assert part["hashes"] == [{"alg": "SHA-256", "content": digest}]
        assert part["licenses"] == [{"license": {"id": file.licence}}]


def test_the_graph_is_whole_and_begins_with_what_moola_needs(sbom, bill):
    parts = {part["bom-ref"] for part in bill["components"]}
    graph = {node["ref"]: set(node["dependsOn"]) for node in bill["dependencies"]}
    assert set(graph) == parts | {"moola"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    wheels = {canonicalize_name(name): sbom._purl(name, version) for name, version, _ in sbom.locked()}
    assert graph["moola"] == {wheels[name] for name in names} | {f"file:{file.path}" for file in sbom.VENDORED}
    # Nothing is locked that nothing needs.
    assert set().union(*graph.values()) == parts


def test_another_version_than_the_locked_one_tells_no_licence(sbom):
    with pytest.raises(SystemExit, match=r"numpy 0\.1 must be installed to tell its licence, but \d"):
        sbom._licences("numpy", "0.1")
    with pytest.raises(SystemExit, match="but none is"):
        sbom._licences("no-such-package", "0.1")


# Stands for `python -m venv FOLDER`: an environment whose pip and pip-audit do as a case says.
PYTHON = """#!/bin/sh
mkdir -p "$3/bin" && cd "$3/bin"
printf '#!/bin/sh\\n%s\\n' '{pip}' >pip
printf '#!/bin/sh\\nwhile [ "$1" != --requirement ]; do shift; done; cp "$2" {asked}\\n%s\\n' '{audit}' >pip-audit
chmod +x pip pip-audit
"""

CASES = {
    "clean": ("exit 0", "echo none >&2; exit 0", 0, "none with a known vulnerability"),
    "vulnerable": ("exit 0", "echo numpy 2.4.6 PYSEC-1; exit 1", 1, "must have no known vulnerability"),
    "unreached": ("exit 0", "echo no route >&2; exit 1", 1, "Run it where pypi.org can be reached"),
    "not installed": ("echo no route >&2; exit 1", "exit 0", 1, "pip-audit could not be installed"),
}


@pytest.mark.parametrize(("pip", "audit", "code", "said"), CASES.values(), ids=CASES)
def test_the_audit_says_what_it_found_or_that_it_judged_nothing(tmp_path, pip, audit, code, said):
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(PYTHON.format(pip=pip, audit=audit, asked=asked))
    python.chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/supply/audit.sh"],
        env=os.environ | {"PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert ("PYSEC-1" in done.stdout) == ("PYSEC-1" in audit)
    if asked.exists():
        versions = asked.read_text().split()
        # torch by its plain version, and each name once.
        assert "torch==2.13.0" in versions
        assert len({line.lower().split("==")[0] for line in versions}) == len(versions) > 100
    else:
        assert "no route" in done.stderr
