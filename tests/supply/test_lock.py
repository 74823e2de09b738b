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


def entries(name: str) -> dict[str, str]:
    """Versions in one of the locks of set-up."""
    lines = (ROOT / f"scripts/supply/locks/{name}.txt").read_text().splitlines()
    found = [line.split()[0].split("==") for line in lines if line[:1] not in ("#", " ")]
    assert len({canonicalize_name(key) for key, _ in found}) == len(found)
    return {canonicalize_name(key): version for key, version in found}


def test_locks_of_set_up_have_the_pinned_versions_and_all_of_the_base():
    base, dev, cuda = (entries(name) for name in ("base", "dev", "cuda"))
    assert {name: pinned().get(name) for name in dev} == dev
    assert cuda["torch"] == pinned()["torch"]
    assert set(base) < set(dev)
    # Whoever has the CPU build installs nothing of CUDA, and what builds moola is locked too.
    assert not set(cuda) & set(dev)
    assert "hatchling" in base
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"][1:]]:
        assert canonicalize_name(Requirement(line).name) in {*dev, "torch"}, line


def cpu_lock() -> str:
    return (ROOT / "scripts/supply/locks/cpu.txt").read_text()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_python_and_machine_has_one_cpu_build_of_the_pinned_torch(lock, python, machine):
    where = {"python_version": python, "platform_machine": machine}
    requirements = [Requirement(entry.split(" \\")[0]) for entry in lock.entries_of(cpu_lock())]
    [found] = [requirement for requirement in requirements if requirement.marker.evaluate(where)]
    assert (found.name, str(found.specifier)) == ("torch", f"=={pinned()['torch']}+cpu")


def test_each_cpu_build_is_a_file_of_its_own_and_one_is_that_of_the_base_install(lock, sbom):
    hashes = [entry.split("--hash=sha256:")[1] for entry in lock.entries_of(cpu_lock())]
    assert len(set(hashes)) == len(hashes) == 6
    [of_base] = [digest for name, _, digest in sbom.locked() if name == "torch"]
    assert hashes[0] == of_base
    assert not any(digest in (lock.LOCKS / "cuda.txt").read_text() for digest in hashes)


def test_a_cpu_build_that_no_index_has_stays_locked(lock):
    wanted = f"torch=={pinned()['torch']}+cpu"
    assert lock.cpu_entries(wanted, cpu_lock(), lambda *_: None) == lock.entries_of(cpu_lock())
    with pytest.raises(SystemExit, match=r"An index must have torch==9\+cpu for Python 3\.11 on x86_64, but none has"):
        lock.cpu_entries("torch==9+cpu", cpu_lock(), lambda *_: None)


def test_a_cpu_build_of_an_index_is_locked_unless_another_was(lock):
    entries = lock.cpu_entries("torch==9+cpu", cpu_lock(), lambda *which: "sha256:" + "-".join(which[1:]))
    assert entries[3].startswith("torch==9+cpu ; python_version == '3.12' and platform_machine == 'aarch64' \\\n")
    assert entries[3].endswith("    --hash=sha256:3.12-aarch64")
    with pytest.raises(
        SystemExit, match=r"must be the locked sha256:[0-9a-f]{64}, but the index has sha256:0\. Find out why"
    ):
        lock.cpu_entries(f"torch=={pinned()['torch']}+cpu", cpu_lock(), lambda *_: "sha256:0")


def test_every_entry_of_a_lock_has_a_hash_and_none_names_an_index(lock):
    for path in lock.LOCKS.iterdir():
        text = path.read_text()
        assert "://" not in text
        assert all("--hash=sha256:" in entry for entry in lock.entries_of(text))


def test_what_holds_for_a_whole_lock_is_said_by_no_line(lock):
    everywhere = lock.EVERYWHERE
    text = f"a==1 ; {everywhere} \\\n    --hash=sha256:1\nb==2 ; {everywhere} and c == 'd' \\\n    --hash=sha256:2\n"
    assert lock.entries_of(text) == ["a==1 \\\n    --hash=sha256:1", "b==2 ; c == 'd' \\\n    --hash=sha256:2"]
    with pytest.raises(SystemExit, match=r"SHA-256 of every package, but not of a==1"):
        lock.entries_of("a==1\n")
