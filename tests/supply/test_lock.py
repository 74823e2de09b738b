"""requirements-locked.txt says what constraints.txt says, with one hash a name."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.conftest import ROOT


def pinned() -> dict[str, str]:
    lines = [line.split("==") for line in (ROOT / "constraints.txt").read_text().split()]
    return {canonicalize_name(name): version for name, version in lines}


def test_every_line_is_one_name_with_one_version_and_one_hash(sbom):
    lines = [line for line in (ROOT / "requirements-locked.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(sbom.LOCKED_LINE.match(line) for line in lines)
    names = [canonicalize_name(name) for name, _, _ in sbom.locked()]
    assert len(names) == len(set(names)) == len(lines) > 30


def test_locked_versions_are_those_of_the_constraints(sbom):
    # The CPU build of torch is its version with +cpu.
    locked = {canonicalize_name(name): version.removesuffix("+cpu") for name, version, _ in sbom.locked()}
    assert {name: pinned().get(name) for name in locked} == locked


def test_every_dependency_of_the_base_install_is_locked_within_its_bounds(sbom):
    locked = {canonicalize_name(name): version for name, version, _ in sbom.locked()}
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        needed = Requirement(line)
        assert needed.specifier.contains(locked[canonicalize_name(needed.name)]), line


def installed(name: str, **info: object) -> dict:
    return {"metadata": {"name": name, "version": "1.0"}, "download_info": {"archive_info": info}}


def test_a_report_becomes_lines_by_name(lock):
    report = {"install": [installed(name, hashes={"sha256": digit * 64}) for name, digit in (("b", "1"), ("A", "2"))]}
    assert lock.locked_lines(report) == [f"A==1.0 --hash=sha256:{'2' * 64}", f"b==1.0 --hash=sha256:{'1' * 64}"]


def test_a_wheel_without_a_hash_is_refused(lock):
    with pytest.raises(SystemExit, match=r"SHA-256 of every wheel, but not of b 1\.0"):
        lock.locked_lines({"install": [installed("b", hashes={"md5": "0"})]})
